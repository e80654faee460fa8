"""
The one place where the arguments of ``vllm serve`` are computed; every output writes these.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from vllm_sizing.catalog.arguments import check_extra_args, refuse_secrets
from vllm_sizing.catalog.flag_values import write_value
from vllm_sizing.catalog.flag_words import check_word, read_words
from vllm_sizing.catalog.flags import check_flag, flag_table
from vllm_sizing.catalog.names import quote
from vllm_sizing.errors import InvalidValueError
from vllm_sizing.render.drain import can_drain, drain
from vllm_sizing.specs.engine import EngineArgs, thaw

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from vllm_sizing.specs.plan import Plan

# vLLM's defaults of these moved, or differ by GPU; what the plan promises rests on them.
_PROMISED = ("max_model_len", "gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def to_argv(
    model_name: str,
    engine_args: EngineArgs,
    vllm_version: str,
    *,
    host: str | None = None,
    port: int | None = None,
) -> tuple[str, ...]:
    """
    The command as a list of words; every argument that is set is written.

    Raises:
        UnsupportedError: This version of vLLM would refuse an argument.

        InvalidValueError: The model's name cannot stand on a command line.

    >>> to_argv("Qwen/Qwen3-8B", EngineArgs(max_model_len=32768, enable_prefix_caching=False), "0.33.0")
    ('vllm', 'serve', 'Qwen/Qwen3-8B', '--max-model-len', '32768', '--no-enable-prefix-caching')
    """
    groups = argument_groups(engine_args, vllm_version, host=host, port=port)
    return ("vllm", "serve", model_word(model_name), *(word for group in groups for word in group))


def plan_argv(plan: Plan) -> tuple[str, ...]:
    """
    The command of a plan on one node: the model and `plan_groups`.
    """
    words = (word for group in plan_groups(plan) for word in group)
    return ("vllm", "serve", model_word(plan.model.name), *words)


def plan_groups(plan: Plan) -> tuple[tuple[str, ...], ...]:
    """
    The arguments that every output writes, each flag with its values.

    What the user asked for, what was decided, what the promise rests on, the commit that was planned
    for, and the time to let running requests end.

    Raises:
        UnsupportedError: This version of vLLM would refuse an argument.
    """
    groups = argument_groups(written_args(plan), plan.vllm_version)
    commit, settings = pinned(plan), extra_settings(plan)
    if commit and plan.engine_args.revision is None:
        groups += (("--revision", commit),)
    if can_drain(plan) and "shutdown_timeout" not in settings:
        groups += (("--shutdown-timeout", str(drain(plan, settings)[0])),)
    return groups


def pinned(plan: Plan) -> str | None:
    """
    The commit of the model's repository that the plan is for, if it is known.
    """
    revision = plan.engine_args.revision or plan.model.revision
    return revision if revision and _COMMIT.fullmatch(revision) and not is_folder(plan.model.name) else None


def is_folder(model: str) -> bool:
    """
    Whether a model's name is a path and not an id on the Hub.

    >>> is_folder("Qwen/Qwen3-8B"), is_folder("./m"), is_folder("/data/m")
    (False, True, True)
    """
    return model.startswith(("/", "./", "../", "~")) or model in {".", ".."} or model.count("/") > 1


def extra_settings(plan: Plan) -> dict[str, Any]:
    """
    What the extra arguments set, by name.
    """
    if not plan.engine_args.extra_args:
        return {}
    _, uses = read_words(list(plan.engine_args.extra_args), flag_table(plan.vllm_version), complete=False)
    return {use.flag.dest: use.value for use in uses}


def to_shell(argv: Iterable[str]) -> str:
    """
    The words as one line for a POSIX shell.

    >>> to_shell(["vllm", "serve", "a b", "--served-model-name", "$HOME"])
    "vllm serve 'a b' --served-model-name '$HOME'"
    """
    return shlex.join(argv)


def model_word(name: str) -> str:
    """
    The model's name, if it can stand on a command line; for a config.json its folder, which vLLM wants.

    Raises:
        InvalidValueError: It would be read as a flag, or has characters that nobody sees.

    >>> model_word("Qwen/Qwen3-8B"), model_word("./m/config.json")
    ('Qwen/Qwen3-8B', './m')
    """
    check_word(name)
    if not name.strip() or name.startswith("-"):
        message = f"the model is named {quote(name)}, which vLLM would not read as a model; rename it"
        raise InvalidValueError(message, field="model", value=name)
    folder, _, file = name.rpartition("/")
    return (folder or ("/" if name.startswith("/") else ".")) if file == "config.json" else name


def served_name(plan: Plan) -> str:
    """
    What clients call the model; of several names the first, which metrics carry.
    """
    names = extra_settings(plan).get("served_model_name") or [model_word(plan.model.name)]
    return plan.engine_args.served_model_name or str(names[0])


def argument_groups(
    engine_args: EngineArgs, vllm_version: str, *, host: str | None = None, port: int | None = None
) -> tuple[tuple[str, ...], ...]:
    """
    The arguments behind the model, each flag with its values.

    Raises:
        UnsupportedError: This version of vLLM would refuse an argument.

    >>> argument_groups(EngineArgs(cudagraph_capture_sizes=(1, 2)), "0.33.0", port=8001)
    (('--cudagraph-capture-sizes', '1', '2'), ('--port', '8001'))
    """
    if port is not None and not 1 <= port <= 65_535:
        message = f"port is {port}; it must be from 1 to 65535"
        raise InvalidValueError(message, field="port", value=port)
    given = engine_args.fixed()
    refuse_secrets(map(str, given.values()))
    extra = given.pop("extra_args", ())
    given.update((name, value) for name, value in (("host", host), ("port", port)) if value is not None)
    groups = [_group(name, value, vllm_version) for name, value in given.items()]
    if extra:
        # What may load code was for the caller to refuse; here it is only shown.
        words = check_extra_args(extra, vllm_version, engine_args, also_planned=given, allow_unsafe=True)
        groups += _by_flag(words, vllm_version)
    return tuple(groups)


def written_args(plan: Plan) -> EngineArgs:
    """
    The plan's arguments without those that say what vLLM does anyway.
    """
    import json

    asked = plan.requested.fixed()
    left_to_vllm = {decision.flag for decision in plan.decisions if decision.source == "vLLM default"}
    kept: dict[str, Any] = {}
    for name, value in plan.engine_args.fixed().items():
        if name not in asked and name not in (*_PROMISED, "extra_args"):
            default = check_flag(name, "0.33.0").default
            if name in left_to_vllm or (default and json.loads(default) == thaw(value)):
                continue
        kept[name] = value
    return EngineArgs(**kept)


def _group(name: str, value: Any, vllm_version: str) -> tuple[str, ...]:
    flag = check_flag(name, vllm_version)
    if isinstance(value, bool):
        return (flag.name if value else f"--no-{flag.name[2:]}",)
    words = write_value(flag, value, flag_table(vllm_version).release)
    for word in words:
        check_word(word)
        if not word or word.startswith("-") or (flag.optional and word == "None"):
            message = f"{name} is {quote(word)}, which vLLM would read as something else; leave it out"
            raise InvalidValueError(message, field=name, value=value)
    return (flag.name, *words)


def _by_flag(words: Iterable[str], vllm_version: str) -> list[tuple[str, ...]]:
    """
    Words of extra arguments, a new group where a flag begins.
    """
    _, uses = read_words(list(words), flag_table(vllm_version), complete=False)
    return [use.words for use in uses]
