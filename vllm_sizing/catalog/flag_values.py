"""
Values of flags: from the words on a command line, as vLLM's parser reads them, and back.

Source: vLLM 0.33 ``engine/arg_utils.py:_compute_kwargs`` and ``utils/argparse_utils.py``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from vllm_sizing.catalog.flags import NEWEST
from vllm_sizing.catalog.names import quote
from vllm_sizing.errors import InvalidValueError, UnsupportedError
from vllm_sizing.specs.engine import DEEPEST, thaw
from vllm_sizing.units import parse_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from vllm_sizing.catalog.flags import Flag, Release

MANY = ("ints", "texts", "loras")
# vLLM 0.33 config/compilation.py:PassConfig; its parser refuses other keys.
_PASSES = (
    "fuse_norm_quant", "fuse_act_quant", "fuse_attn_quant", "eliminate_noops", "fuse_allreduce_rms",
    "enable_qk_norm_rope_fusion", "fuse_rope_kvcache_cat_mla", "fuse_act_padding", "fuse_mla_dual_rms_norm",
    "fuse_rope_kvcache", "fuse_qk_norm_rope_kvcache", "rope_kvcache_fusion_max_token_num",
    "fi_allreduce_fusion_max_size_mb",
)  # fmt: skip

_AUTO_SINCE: Release = (0, 14, 0)
_STRING = re.compile(r'("(?:[^"\\]|\\.)*")')
_NUMBER_LISTS = frozenset({"compile_ranges_endpoints", "compile_sizes", "cudagraph_capture_sizes"})
_SHORT_NUMBER = re.compile(r"\b[0-9]+(?:\.[0-9]+)?[kKmMgGtT]\b")


def read_value(flag: Flag, word: str) -> Any:
    """
    One word after a flag as the value that vLLM reads; None for ``None`` where that is allowed.

    Raises:
        InvalidValueError: vLLM would refuse the word.

    >>> from vllm_sizing.catalog.flags import check_flag
    >>> read_value(check_flag("max_model_len", "0.33.0"), "32k")
    32000
    """
    if flag.optional and word in ("", "None"):
        return None
    try:
        return _READERS[flag.kind](word)
    except (ValueError, RecursionError):
        message = f"{flag.dest} is {quote(word)}; it must be {_WANTED[flag.kind]}"
        raise InvalidValueError(message, field=flag.dest, value=word) from None


def check_value(flag: Flag, value: Any, release: Release) -> None:
    """
    Refuse what this release does not know as a value of the flag.

    Raises:
        UnsupportedError: With the values that it knows.
    """
    if flag.kind == "tokens_or_auto" and value == -1 and release < _AUTO_SINCE:
        message = f"{flag.dest} is auto; vLLM reads that since 0.14.0: give a number of tokens"
        raise UnsupportedError(message, field=flag.dest, value=value)
    if release != NEWEST or not flag.values or value is None:
        return  # Which words older releases allowed is not recorded.
    if flag.kind != "config":
        if str(value) not in flag.values:
            message = f"{flag.dest} is {quote(value)}; vLLM 0.33.0 allows {_list(flag.values)}"
            raise UnsupportedError(message, field=flag.dest, value=value)
        return
    _check_keys(flag, dict(value), flag.values, flag.dest)
    if flag.dest == "compilation_config":
        passes = dict(value).get("pass_config")
        _check_keys(
            flag, dict(passes) if isinstance(passes, (dict, tuple)) else {}, _PASSES, f"{flag.dest}.pass_config"
        )


def _check_keys(flag: Flag, value: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(value) - set(known))
    if unknown:
        from difflib import get_close_matches

        near = get_close_matches(unknown[0][:80], known, n=2) or known
        message = f"{where} has no key {quote(unknown[0])} in vLLM 0.33.0; it has {_list(near)}"
        raise UnsupportedError(message, field=flag.dest, value=unknown[0])


def write_value(flag: Flag, value: Any, release: Release) -> tuple[str, ...]:
    """
    The words after a flag that give this value.

    Raises:
        UnsupportedError: This release would refuse them.

    >>> from vllm_sizing.catalog.flags import NEWEST, check_flag
    >>> write_value(check_flag("gpu_memory_utilization", "0.33.0"), 0.9, NEWEST)
    ('0.9',)
    """
    if flag.kind in MANY:
        return (value,) if isinstance(value, str) else tuple(str(item) for item in value)
    check_value(flag, value, release)
    if flag.kind == "tokens_or_auto" and value == -1:
        return ("auto",)
    if flag.kind in ("json", "config", "object_or_text"):
        import json

        return (json.dumps(thaw(value), separators=(",", ":"), sort_keys=True),)
    if isinstance(value, float):
        from decimal import Decimal

        # Never 1e-05, which careless readers of a file take for text.
        plain = format(Decimal(repr(value)), "f")
        return (plain.removesuffix(".0"),)
    return (str(value),)


def read_json(word: str) -> Any:
    """
    JSON without NaN and Infinity, which no JSON has.

    Raises:
        ValueError: Not JSON.

        RecursionError: Nested deeper than any setting is.

    >>> read_json("[1, 2]")
    [1, 2]
    """
    import json

    value = json.loads(word, parse_constant=_refuse_constant)
    level, depth = [value], 0
    while level:  # What Python's own reader takes differs between its releases.
        if depth > DEEPEST:
            raise RecursionError
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        ]
        depth += 1
    return value


def read_dotted(word: str) -> Any:
    """
    The value of ``--flag.key value``: JSON, else a number with a suffix, else the word.

    >>> read_dotted("true"), read_dotted("1k"), read_dotted("FULL")
    (True, 1000, 'FULL')
    """
    for read in (read_json, _tokens):
        try:
            return read(word)
        except ValueError:
            continue
    return word


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _finite(word: str) -> float:
    number = float(word)
    if number - number != 0:
        raise ValueError(word)
    return number


def _tokens(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        return parse_tokens(word)


def _tokens_or_auto(word: str) -> int:
    return -1 if word.strip().lower() in ("auto", "-1") else _tokens(word)


def _config(word: str) -> Any:
    parts = _STRING.split(word)
    parts[::2] = [_SHORT_NUMBER.sub(lambda found: str(_tokens(found[0])), part) for part in parts[::2]]
    value = read_json("".join(parts))
    if not isinstance(value, dict):
        raise ValueError(word)  # noqa: TRY004 - a bad value, not a bad call
    # What `--flag.key+ 1,2` puts together are words; vLLM's validation makes these numbers.
    for key in _NUMBER_LISTS & value.keys():
        if isinstance(value[key], list):
            value[key] = [int(item) if str(item).isdecimal() else item for item in value[key]]
    return value


def _lora(word: str) -> str:
    if "=" not in word or "," in word:
        read_json(word)
    return word


def _object_or_text(word: str) -> Any:
    stripped = word.strip()
    return read_json(word) if stripped.startswith("{") and stripped.endswith("}") else word


def _name(word: str) -> str:
    return word.lower().replace("-", "_")


def _list(values: tuple[str, ...] | list[str]) -> str:
    return ", ".join(values[:12]) + (", ..." if len(values) > 12 else "")


_READERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "ints": int,
    "float": _finite,
    "tokens": _tokens,
    "tokens_or_auto": _tokens_or_auto,
    "json": read_json,
    "config": _config,
    "object_or_text": _object_or_text,
    "name": _name,
    "text": str,
    "texts": str,
    "append_text": str,
    "maybe_text": str,
    "loras": _lora,
}
_WANTED = {
    "int": "an integer",
    "ints": "integers with spaces between them",
    "float": "a number",
    "tokens": "an integer, 32k (32,000) or 32K (32,768)",
    "tokens_or_auto": "a number of tokens such as 32768, 32k (32,000) or 32K (32,768), or auto",
    "json": "JSON",
    "config": "a JSON object",
    "object_or_text": "a JSON object",
    "loras": "name=path or a JSON object",
}
