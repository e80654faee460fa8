"""
vLLM's own flags as options, built from the table of engine options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_sizing.catalog.engine_options import engine_options, read_option
from vllm_sizing.catalog.names import quote
from vllm_sizing.cli.option import Option
from vllm_sizing.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vllm_sizing.catalog.engine_options import EngineOption

# The option that begins a group of the help.
_GROUPS = {
    "served_model_name": "Model, in vLLM's flags",
    "tensor_parallel_size": "Parallel layout, in vLLM's flags",
    "gpu_memory_utilization": "Memory and cache, in vLLM's flags",
    "max_num_seqs": "Scheduling, in vLLM's flags",
    "attention_backend": "Kernels, in vLLM's flags",
    "enable_lora": "Additions, in vLLM's flags",
}
_ALIASES = {"tensor_parallel_size": ["--tp"]}
_ELSEWHERE = ("revision", "trust_remote_code")  # Options of their own, among those of the model.
_NUMBERS = ("int", "ints", "float", "tokens", "tokens_or_auto")
_LONGEST_NUMBER = 15


def flag_options() -> list[Option]:
    """
    One option for each engine argument.
    """
    options, group = [], ""
    for option in engine_options():
        group = _GROUPS.get(option.name, group)
        if option.name not in _ELSEWHERE:
            options.append(_option(option, group))
    return options


def _option(option: EngineOption, group: str) -> Option:
    if option.opposite:
        first, *short = option.spellings
        return Option(f"{first}/{option.opposite}", *short, group=group, default=None, help=option.help)
    return Option(
        *option.spellings,
        group=group,
        aliases=_ALIASES.get(option.name, ()),
        metavar=option.metavar,
        takes_all=option.kind in ("ints", "texts") and option.name != "served_model_name",
        help=option.help,
    )


def read_flags(values: Mapping[str, Any]) -> dict[str, Any]:
    """
    The engine arguments that are given, as their fields take them.

    Raises:
        InvalidValueError: vLLM would refuse a text.
    """
    read = {}
    for option in engine_options():
        given = values.get(option.name)
        if given in (None, ()) or option.name in _ELSEWHERE:
            continue
        text = " ".join(given) if isinstance(given, tuple) else given
        read[option.name] = text if isinstance(text, bool) else _read(option, text)
    return read


def _read(option: EngineOption, text: str) -> Any:
    if option.kind in _NUMBERS and not text.isascii():
        message = f"{option.name} is {quote(text)}; it must be a number in digits 0 to 9"
        raise InvalidValueError(message, field=option.name, value=text)
    value = read_option(option.name, text)
    if isinstance(value, int) and len(str(value)) > _LONGEST_NUMBER:
        message = f"{option.name} is {quote(text)}; no number of that size can be meant"
        raise InvalidValueError(message, field=option.name, value=text)
    return value


def way_out(word: str) -> str:
    """
    What to write for a flag of vLLM that is no option here; empty if vLLM does not know it either.
    """
    from vllm_sizing.catalog.flags import flag_table

    table = flag_table("0.33.0")
    if word not in table.spellings:
        return ""
    flag, is_opposite = table.find(word)
    if any(flag.dest == option.name for option in engine_options()):
        return f"write {'--no-' + flag.name[2:] if is_opposite else flag.name}"
    return f"no plan depends on this flag of vLLM: pass it with --extra-arg={word}"
