"""
A whole command: its model, its arguments, everything wrong with it, and the command as it should be.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from vllm_sizing.catalog.arguments import parse_engine_args
from vllm_sizing.catalog.check_rules import finding
from vllm_sizing.catalog.flag_values import MANY
from vllm_sizing.catalog.names import quote
from vllm_sizing.checks.words import Part, read_parts
from vllm_sizing.errors import SizingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from vllm_sizing.catalog.flags import FlagTable, Release
    from vllm_sizing.sources.launch import Launch, Word
    from vllm_sizing.specs.check import CheckFinding
    from vllm_sizing.specs.engine import EngineArgs

DEFAULT_MODEL = "Qwen/Qwen3-0.6B"  # vLLM 0.33 config/model.py
# vllm/vllm-openai: the entrypoint is `vllm serve` since 0.11.2, before it the module of the API server.
_SERVE_SINCE: Release = (0, 11, 2)
_QUEUE_SINCE: Release = (0, 29, 0)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Flags that do nothing unless another one is given: vLLM 0.33 config/lora.py, entrypoints/openai/api_server.py,
# config/parallel.py, config/cache.py.
_NEEDS = {
    "max_loras": "enable_lora",
    "max_lora_rank": "enable_lora",
    "lora_dtype": "enable_lora",
    "fully_sharded_loras": "enable_lora",
    "max_cpu_loras": "enable_lora",
    "tool_call_parser": "enable_auto_tool_choice",
    "kv_offloading_backend": "kv_offloading_size",
    "all2all_backend": "enable_expert_parallel",
    "eplb_config": "enable_eplb",
}
_SPEED = ("enable_prefix_caching", "enable_chunked_prefill", "async_scheduling")


class ReadCommand(NamedTuple):
    """
    What a command says, as far as it can be understood.

    Attributes:
        model: None: not known.

        args: What vLLM would read of the corrected command; None: there is no such command.

        values: Of every flag that vLLM reads, by argument.

        lines: Where each argument stands; ``model`` is one of them.

        corrected: The words behind ``vllm serve``; empty: not known.
    """

    model: str | None
    args: EngineArgs | None
    values: dict[str, Any]
    lines: dict[str, int]
    findings: tuple[CheckFinding, ...]
    corrected: tuple[str, ...]


def read_command(launch: Launch, table: FlagTable) -> ReadCommand:
    """
    Every word of a launch, read as vLLM of this version reads it.

    >>> from vllm_sizing.catalog.flags import flag_table
    >>> from vllm_sizing.sources.launches import parse_launches
    >>> launch = parse_launches("vllm serve m -tp 2 --swap-space 4").launches[0]
    >>> read = read_command(launch, flag_table("0.33.0"))
    >>> read.model, read.args.tensor_parallel_size, read.corrected
    ('m', 2, ('m', '-tp', '2'))
    >>> [found.code for found in read.findings]
    ['removed-flag', 'unbounded-queue', 'unpinned-revision']
    """
    parts = read_parts(launch.words, table)
    found = [found for part in parts for found in part.findings]
    as_module = launch.program == "module" or (launch.program == "image" and table.release < _SERVE_SINCE)
    model, rest, about_model = _model(launch, parts, as_module=as_module)
    found += about_model
    rest, about_twice = _without_repeats(rest)
    found += about_twice
    shown = [word for part in rest for word in part.corrected or ()]
    known = [word for part in rest if not any(word.unknown for word in part.words) for word in part.corrected or ()]
    name = None if model is None or model.unknown else model.text
    args, about_whole = _whole(name or "m", known, table, launch.line)
    found += about_whole
    values = {part.dest: part.use.value for part in rest if part.use is not None}
    lines = {part.dest: part.line for part in reversed(rest)} | {"model": model.line if model else launch.line}
    found += _remarks(name, args, values, lines, table)
    complete = args is not None and (model is not None or "config" in values)
    corrected = [*([model.text] if model is not None else []), *shown] if complete else []
    return ReadCommand(name, args, values, lines, tuple(found), tuple(corrected))


def _model(
    launch: Launch, parts: Sequence[Part], *, as_module: bool
) -> tuple[Word | None, list[Part], list[CheckFinding]]:
    """
    The model's word, the parts without it, and what is wrong with how it is named.
    """
    by_flag = [part for part in parts if part.dest == "model" and len(part.words) == 2]
    inline = [part for part in parts if part.dest == "model" and "=" in part.words[0].text]
    loose = [part for part in parts if part.positional]
    rest = [part for part in parts if part not in (*by_flag, *inline, *loose)]
    found: list[CheckFinding] = []
    given = [part.words[1] for part in by_flag]
    given += [part.words[0]._replace(text=part.words[0].text.partition("=")[2]) for part in inline]
    word = given[-1] if given else None
    if as_module:
        hint = "write --model before it"
        if word is None and loose:
            message = f"this program wants --model; {quote(loose[0].words[0].text)} is not read as the model, "
            message += f"and {DEFAULT_MODEL} is served"
            found.append(finding("model-flag", message, line=loose[0].line, hint=hint))
            word, loose = loose[0].words[0], loose[1:]
    elif word is None and loose:
        word, loose = loose[0].words[0], loose[1:]
        named = any(part.dest == "served_model_name" for part in parts)
        if named and parts[0].dest and not any(part.dest == "config" for part in parts):
            message = "with served_model_name vLLM wants the model as the first word"
            hint = f"begin with {word.text}"
            found.append(finding("refused", message, line=word.line, hint=hint))
    elif given and launch.program != "module":
        message = "the model is given with --model, which is on the way out"
        hint = "give it as the first word"
        found.append(finding("deprecated-flag", message, line=given[-1].line, hint=hint, severity="info"))
    for part in loose:
        if unknown := part.words[0].unknown:
            message = f"{unknown} is only known when the command runs; what it adds is not taken into account"
            hint = "put its words in its place"
            found.append(finding("unknown-word", message, line=part.line, hint=hint))
            rest.append(part)
            continue
        if not part.words[0].text.strip():
            message = "a backslash with a blank behind it does not continue the line: the command ends here"
            found.append(
                finding("stray-word", message, line=part.line, hint="take out what stands behind the backslash")
            )
            continue
        message = f"{quote(part.words[0].text)} belongs to no flag"
        message += f", and the model is already {quote(word.text)}" if word else ""
        hint = "a switch takes no value; flag and value are two words"
        found.append(finding("stray-word", message, line=part.line, hint=hint))
    if word is None and not any(part.dest == "config" for part in parts):
        found.append(_no_model(launch, parts))
    if word is not None and word.unknown:
        message = f"the model is {word.unknown}, which is only known when the command runs"
        hint = "put the model's name in its place"
        found.append(finding("unknown-word", message, line=word.line, hint=hint))
    return word, rest, found


def _no_model(launch: Launch, parts: Sequence[Part]) -> CheckFinding:
    greedy = [part for part in parts if part.use and part.use.flag.kind in MANY and len(part.words) > 2]
    if greedy:
        last = greedy[-1]
        message = f"{last.dest} takes all words behind it, {quote(last.words[-1].text)} too; no model is left"
        message += f", and vLLM serves {DEFAULT_MODEL}"
        return finding("words-swallowed", message, line=last.line, hint="name the model as the first word")
    message = f"no model is named; vLLM then serves {DEFAULT_MODEL}"
    return finding("default-model", message, line=launch.line, hint="name the model as the first word")


def _without_repeats(parts: Sequence[Part]) -> tuple[list[Part], list[CheckFinding]]:
    """
    Of each flag the use that counts.
    """
    found: list[CheckFinding] = []
    kept: dict[str, Part] = {}
    order: list[Part] = []
    for part in parts:
        flag = part.use.flag if part.use else None
        first = kept.get(part.dest)
        if flag is None or flag.kind == "append_text" or "." in part.words[0].text.partition("=")[0]:
            order.append(part)
            continue
        if first is not None and first.use is not None and part.use is not None:
            order.remove(first)
            same = first.use.value == part.use.value
            message = f"{part.dest} is given twice, in lines {first.line} and {part.line}; vLLM takes the last one"
            severity = "info" if same else "warning"
            found.append(finding("flag-given-twice", message, line=first.line, hint="keep one", severity=severity))
        kept[part.dest] = part
        order.append(part)
    return order, found


def _whole(model: str, known: list[str], table: FlagTable, line: int) -> tuple[EngineArgs | None, list[CheckFinding]]:
    """
    The arguments together: what single flags do not show.
    """
    try:
        parsed = parse_engine_args([model, *known], table.version, allow_unsafe=True)
    except SizingError as error:
        return None, [finding("refused", error.message, line=line)]
    return parsed.engine_args, []


def _remarks(
    model: str | None, args: EngineArgs | None, values: dict[str, Any], lines: dict[str, int], table: FlagTable
) -> Iterator[CheckFinding]:
    for dest, needed in _NEEDS.items():
        if values.get(dest) not in (None, False) and not values.get(needed):
            message = f"{dest} does nothing without {needed}"
            hint = f"add {needed}, or leave {dest} out"
            yield finding("ignored-flag", message, line=lines[dest], hint=hint)
    if values.get("kv_cache_memory_bytes") and values.get("gpu_memory_utilization") is not None:
        message = "gpu_memory_utilization does not size the cache where kv_cache_memory_bytes is given"
        yield finding("ignored-flag", message, line=lines["gpu_memory_utilization"], hint="keep one of the two")
    if values.get("enforce_eager"):
        message = "enforce_eager switches CUDA graphs off: every token takes longer"
        yield finding("eager", message, line=lines["enforce_eager"], hint="leave it out unless memory forces it")
        for dest in ("cudagraph_capture_sizes", "max_cudagraph_capture_size"):
            if values.get(dest):
                yield finding("ignored-flag", f"{dest} does nothing with enforce_eager", line=lines[dest])
    for dest in _SPEED:
        if values.get(dest) is False:
            message = f"{dest} is on by default and switched off here"
            yield finding("speed-switched-off", message, line=lines[dest], hint="leave it out unless there is a reason")
    port = values.get("port")
    if port is not None and not 0 < port < 65_536:
        message = f"port is {port}; it must be from 1 to 65535"
        yield finding("value-refused", message, line=lines["port"])
    bounded = {"max_num_queued_reqs", "max_num_queued_tokens", "headless"} & lines.keys()
    if table.release >= _QUEUE_SINCE and not bounded:
        message = "nothing limits how many requests wait in the queue"
        hint = "add --max-num-queued-reqs where clients retry"
        yield finding("unbounded-queue", message, line=lines["model"], hint=hint)
    yield from _about_trust(model, args, lines)


def _about_trust(model: str | None, args: EngineArgs | None, lines: dict[str, int]) -> Iterator[CheckFinding]:
    if args is None or model is None or model.startswith(("/", "./", "../", "~")):
        return
    pinned = args.revision is not None and _COMMIT.fullmatch(args.revision)
    if pinned:
        return
    if args.trust_remote_code:
        message = "trust_remote_code runs whatever code the repository holds on the day of the start"
        yield finding("unpinned-code", message, line=lines["trust_remote_code"], hint="add --revision with a commit")
    else:
        message = f"the revision of {quote(model)} is not pinned: a later start may load other weights"
        yield finding("unpinned-revision", message, line=lines["model"], hint="add --revision with a commit")
