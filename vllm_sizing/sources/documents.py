"""
JSON from strangers: bounded in size and depth, no key twice, no NaN, always an object.
"""

from __future__ import annotations

import json
from typing import Any

from vllm_sizing.errors import ConfigError

# The largest public config.json known is 3 MB: nvidia/MiniMax-M3-NVFP4 lists every quantized expert.
MAX_DOCUMENT_BYTES = 8_000_000

# Real configs nest five or six levels; the bound keeps every later recursion short.
MAX_DEPTH = 64

_SHOWN = 80


def quoted(value: object) -> str:
    r"""
    A stranger's value for a one-line message: escaped and cut.

    >>> quoted("a\nb")
    "'a\\nb'"
    """
    text = ascii(value[: 2 * _SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 4] + "...'"


def parse_json_object(data: bytes, *, where: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> dict[str, Any]:
    """
    The JSON object in data.

    Args:
        where: Names the document in errors, for example ``config.json of Qwen/Qwen3-8B``.

    Raises:
        ConfigError: It is too large, cut off, not UTF-8, not JSON or not an object.

    >>> parse_json_object(b'{"hidden_size": 4096}', where="config.json")
    {'hidden_size': 4096}
    """
    value = parse_json(data, where=where, max_bytes=max_bytes)
    if not isinstance(value, dict):
        message = f"{where} holds {quoted(value)}; it must hold a JSON object"
        raise ConfigError(message, value=value)
    return value


def parse_json(data: bytes, *, where: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> Any:
    """
    The JSON value in data; arguments and errors as of `parse_json_object`.
    """
    if len(data) > max_bytes:
        message = f"{where} is larger than {max_bytes:,} bytes; no real one is, check what it points to"
        raise ConfigError(message, value=len(data))
    text = _decode(data, where)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant)
    except RecursionError:
        message = f"{where} nests deeper than {MAX_DEPTH} levels; it is not a model's file"
        raise ConfigError(message) from None
    except json.JSONDecodeError as error:
        raise ConfigError(_not_json(text, where, error)) from None
    except ValueError as error:
        # From the two hooks, and from Python's bound on the digits of an integer.
        message = f"{where} is not usable JSON: {quoted(str(error))}; fetch the file again or correct it"
        raise ConfigError(message) from None
    if _depth_exceeds(value, MAX_DEPTH):
        message = f"{where} nests deeper than {MAX_DEPTH} levels; it is not a model's file"
        raise ConfigError(message)
    return value


def _decode(data: bytes, where: str) -> str:
    if not data.strip():
        message = f"{where} is empty; fetch the file again"
        raise ConfigError(message)
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) or b"\x00" in data[:4]:
        # vLLM and transformers read UTF-8 without a mark and nothing else.
        message = f"{where} is UTF-16 or has a byte-order mark, or is binary; save it as plain UTF-8"
        raise ConfigError(message)
    if data.startswith(b"version https://git-lfs"):
        message = f"{where} is a Git LFS pointer; run `git lfs pull` in its folder"
        raise ConfigError(message)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        message = f"{where} is not UTF-8 text (byte {error.start:,}); give the path of a JSON file"
        raise ConfigError(message) from None


def _not_json(text: str, where: str, error: json.JSONDecodeError) -> str:
    if text.lstrip().startswith("<"):
        return f"{where} is a web page, not JSON; a login page or a proxy may have answered"
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return f"{where} ends in the middle (after {len(text):,} characters); fetch the file again"
    return f"{where} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}; correct it there"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            message = f"key {quoted(name)} stands there twice"
            raise ValueError(message)
        found[name] = value
    return found


def _constant(word: str) -> float:
    # Infinity is real: Mamba configs have "time_step_limit": [0.0, Infinity].
    if word == "NaN":
        message = "NaN is no value"
        raise ValueError(message)
    return float(word)


def _depth_exceeds(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return False
    return True
