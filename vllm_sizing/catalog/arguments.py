"""
A ``vllm serve`` command as values: the model, `EngineArgs`, and what else it says.

Reads as vLLM's own parser does; opens no file and runs nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from vllm_sizing.catalog.flag_words import Use, read_words
from vllm_sizing.catalog.flags import flag_table
from vllm_sizing.catalog.names import quote
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.specs.engine import EngineArgs, thaw
from vllm_sizing.specs.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vllm_sizing.catalog.flags import Flag

_ENGINE = frozenset(EngineArgs.__annotations__) - {"extra_args"}
# vLLM 0.33 engine/arg_utils.py:create_speculative_config
_SPECULATIVE = {"spec_method": "method", "spec_model": "model", "spec_tokens": "num_speculative_tokens"}
# vLLM 0.33 entrypoints/common/cli_args.py:validate_parsed_serve_args
_NEEDS = {"enable_auto_tool_choice": "tool_call_parser", "enable_log_outputs": "enable_log_requests"}
# vLLM 0.33 config/kv_transfer.py and ec_transfer.py: a connector needs its role.
_ROLES = {
    "kv_transfer_config": ("kv_connector", "kv_role"),
    "ec_transfer_config": ("ec_connector", "ec_role"),
}
_SECRET = re.compile(r"hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY")
_CODE_KEY = re.compile(r"_module_path$|_cls$")


class ParsedArguments(NamedTuple):
    """
    What a command line says.

    Attributes:
        model: As named on it; None: vLLM would serve its own default model.

        engine_args: The flags that a plan knows; the others as words in ``extra_args``.

        findings: What vLLM reads otherwise than it may look, and what no plan takes into account.
    """

    model: str | None
    engine_args: EngineArgs
    findings: tuple[Finding, ...]


def parse_engine_args(words: Sequence[str], vllm_version: str, *, allow_unsafe: bool = False) -> ParsedArguments:
    """
    The words of a command, with or without ``vllm serve`` before them.

    Args:
        words: One argument each, as a shell hands them over.

        vllm_version: Whose flags they are.

        allow_unsafe: Accept flags that load code, open files to clients or carry a secret; a
            finding names them, and a secret is left out of the result.

    Raises:
        UnsupportedError: vLLM of this version would refuse the words, or they are unsafe.

        InvalidValueError: A value is not what its flag reads, or could not work.

    >>> parsed = parse_engine_args(["vllm", "serve", "m", "-tp", "2", "--seed", "7"], "0.33.0")
    >>> parsed.model, parsed.engine_args.tensor_parallel_size, parsed.engine_args.extra_args
    ('m', 2, ('--seed', '7'))
    """
    own = words[_program_words(words) :]
    if not allow_unsafe:
        refuse_secrets(own)
    model, uses = read_words(own, flag_table(vllm_version))
    last, findings = _last_wins(uses)
    if model is None:
        findings.append(_NO_MODEL)
    _check_needs(last)
    for use in last.values():
        for reason in _unsafe(use):
            if not allow_unsafe:
                raise _refusal(use.flag, f"{reason}; {_way_out(use.flag)}")
            findings.append(Finding(code="unsafe-flag", severity="warning", message=reason))
        findings += _remarks(use)
    return ParsedArguments(model, _engine_args(last), tuple(findings))


def check_extra_args(
    words: Sequence[str],
    vllm_version: str,
    planned: EngineArgs,
    *,
    also_planned: Iterable[str] = (),
    allow_unsafe: bool = False,
) -> tuple[str, ...]:
    """
    Words to be passed through to ``vllm serve``, or the reason why they cannot be.

    Args:
        words: Flags and their values, one word each.

        vllm_version: Whose flags they must be.

        planned: What the plan sets itself.

        also_planned: Names of further flags that are set elsewhere, such as ``port``.

        allow_unsafe: Accept flags that load code or open files to clients (secrets never).

    Raises:
        UnsupportedError: Unknown to this version, in conflict with the plan, unsafe or secret.

        InvalidValueError: A value is not what its flag reads.

    >>> check_extra_args(["--seed", "7"], "0.33.0", EngineArgs())
    ('--seed', '7')
    """
    refuse_secrets(words)
    model, uses = read_words(words, flag_table(vllm_version), complete=False)
    if model is not None:
        message = f"{quote(model)} belongs to no flag; give a flag and each of its values as one word"
        raise UnsupportedError(message, field="extra_args", value=model)
    seen: dict[str, Use] = {}
    taken = {*planned.fixed(), *also_planned}
    for use in uses:
        flag, dest = use.flag, use.flag.dest
        if dest in taken:
            message = f"extra_args set {dest} again, which the plan sets; change it there"
        elif dest in _ENGINE - {"served_model_name"} or dest in _SPECULATIVE:
            name = "speculative_config" if dest in _SPECULATIVE else dest
            message = f"extra_args set {dest}, which changes the plan; give it as the engine argument {name}"
        elif flag.name in seen and flag.kind != "append_text":
            message = f"extra_args set {dest} twice; keep one"
        elif "secret" in flag.marks:
            message = f"extra_args set {dest}, which would be written into every output; {flag.hint}"
        elif not allow_unsafe and (reasons := list(_unsafe(use))):
            message = f"{reasons[0]}; {_way_out(flag)}"
        else:
            seen[flag.name] = use
            continue
        raise _refusal(flag, message)
    _check_needs(seen)
    return tuple(words)


def _last_wins(uses: Iterable[Use]) -> tuple[dict[str, Use], list[Finding]]:
    """
    Of each flag the use that counts, by name.
    """
    last: dict[str, Use] = {}
    findings = []
    for use in uses:
        flag, first = use.flag, last.get(use.flag.name)
        if first is not None and flag.kind == "append_text":
            last[flag.name] = Use(flag, first.value + use.value, first.words + use.words)
            continue
        if first is not None:
            findings.append(_twice(first, use))
        last[flag.name] = use
    return last, findings


def _engine_args(uses: dict[str, Use]) -> EngineArgs:
    engine: dict[str, Any] = {}
    extra: list[str] = []
    for use in uses.values():
        dest, value = use.flag.dest, use.value
        if dest == "served_model_name" and len(value) == 1:
            engine[dest] = value[0]
        elif dest in _ENGINE and dest != "served_model_name":
            engine[dest] = value
        elif dest not in _SPECULATIVE and "secret" not in use.flag.marks:
            extra += use.words
    if speculation := _speculation(engine.get("speculative_config"), uses):
        engine["speculative_config"] = speculation
    return EngineArgs(**engine, extra_args=extra)


def _speculation(config: dict[str, Any] | None, uses: dict[str, Use]) -> dict[str, Any]:
    """
    speculative_config with what ``--spec-method`` and its like add.
    """
    config = dict(config or {})
    for use in uses.values():
        key = _SPECULATIVE.get(use.flag.dest)
        if key is None or use.value is None:
            continue
        if key in config:
            raise _refusal(use.flag, f"{use.flag.dest} and speculative_config both give {key}; keep one")
        config[key] = use.value
    return config


def _program_words(words: Sequence[str]) -> int:
    """
    How many words name the program.
    """
    name = words[0].rpartition("/")[2] if words else ""
    following = tuple(words[1:3])
    if name == "vllm" and following[:1] == ("serve",):
        return 2
    if name.startswith("python") and following == ("-m", "vllm.entrypoints.openai.api_server"):
        return 3
    return 1 if name == "serve" else 0


def unsafe_reasons(words: Sequence[str], vllm_version: str) -> list[str]:
    """
    Why words that were accepted with ``allow_unsafe`` should be looked at once more.

    >>> unsafe_reasons(["--middleware", "a.b"], "0.33.0")
    ['middleware makes vLLM load code or settings that nobody has checked here']
    """
    _, uses = read_words(words, flag_table(vllm_version), complete=False)
    return [reason for use in uses for reason in _unsafe(use)]


def refuse_unsafe(flag: Flag, value: Any) -> None:
    """
    Refuse a value that makes vLLM load code or open files to clients.

    Raises:
        UnsupportedError: With the reason.
    """
    for reason in _unsafe(Use(flag, thaw(value), ())):
        raise _refusal(flag, f"{reason}; {_way_out(flag)}")


def refuse_secrets(words: Iterable[str]) -> None:
    """
    Refuse what looks like a token or a key; the message does not repeat it.

    Raises:
        UnsupportedError: A word looks like a secret.
    """
    if any(_SECRET.search(word) for word in words):
        message = (
            "a word looks like a secret (hf_..., sk-... or a private key), which would be written into every "
            "output; set the environment variable HF_TOKEN or VLLM_API_KEY where the server runs"
        )
        raise UnsupportedError(message, field="extra_args", value=None)


def _unsafe(use: Use) -> Iterator[str]:
    """
    Why a use is not safe to take over from somewhere.
    """
    flag = use.flag
    if "secret" in flag.marks:
        yield f"{flag.dest} is a secret on the command line, which other processes can read"
    if use.value is False or _is_default(flag, use.value):
        return
    if "code" in flag.marks or (flag.dest == "distributed_executor_backend" and "." in str(use.value)):
        yield f"{flag.dest} makes vLLM load code or settings that nobody has checked here"
    if "reach" in flag.marks:
        yield f"{flag.dest} lets clients read files of the server"
    for key in _keys(use.value):
        if _CODE_KEY.search(key):
            yield f"{key} in {flag.dest} makes vLLM load code that nobody has checked here"


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if item is not None:
                yield key
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)


def _is_default(flag: Flag, value: Any) -> bool:
    import json

    return bool(flag.default) and json.loads(flag.default) == value


def _way_out(flag: Flag) -> str:
    return flag.hint or "leave it out, or pass allow_unsafe=True if you know what it loads"


def _remarks(use: Use) -> Iterator[Finding]:
    flag = use.flag
    if "deprecated" in flag.marks:
        yield Finding(code="deprecated-flag", message=f"{flag.dest} is on the way out", hint=flag.hint)
    if "memory" in flag.marks and not _is_default(flag, use.value):
        yield Finding(
            code="flag-not-modelled",
            severity="warning",
            message=f"{flag.dest} changes the memory that vLLM needs and is not part of the plan",
        )
    if flag.dest == "config":
        yield Finding(
            code="config-file-not-read",
            severity="warning",
            message=f"the flags in {quote(use.value)} are not known here",
        )


def _twice(first: Use, second: Use) -> Finding:
    return Finding(
        code="flag-given-twice",
        severity="info" if first.value == second.value else "warning",
        message=f"{second.flag.dest} is given twice; vLLM takes the last one",
        hint="keep one",
    )


def _refusal(flag: Flag, message: str) -> UnsupportedError:
    return UnsupportedError(message, field=flag.dest, value=None)


def _check_needs(uses: dict[str, Use]) -> None:
    values = {use.flag.dest: use.value for use in uses.values()}
    for name, needed in _NEEDS.items():
        if values.get(name) and not values.get(needed):
            message = f"{name} needs {needed}; set it too"
            raise UnsupportedError(message, field=name, value=values[name])
    for name, (connector, role) in _ROLES.items():
        config = values.get(name) or {}
        if config.get(connector) and not config.get(role):
            message = f"{name} has {connector} but no {role}; add it"
            raise UnsupportedError(message, field=name, value=config[connector])


_NO_MODEL = Finding(
    code="no-model",
    severity="warning",
    message="no model is named; vLLM then serves Qwen/Qwen3-0.6B",
    hint="name the model as the first word after vllm serve",
)
