"""
Units: bytes are exact integers; GiB (2**30) and GB (10**9) exist only for display and input.
"""

from __future__ import annotations

import re

from vllm_sizing.errors import InvalidValueError

KIB = 2**10
MIB = 2**20
GIB = 2**30
GB = 10**9

DTYPE_BYTES = {
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "int32": 4,
    "int64": 8,
    "float64": 8,
}

_TOKEN_SUFFIX = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "K": 2**10,
    "M": 2**20,
    "G": 2**30,
    "T": 2**40,
}


def ceil_div(number: int, divisor: int) -> int:
    """
    Integer division, rounded up.

    >>> ceil_div(17, 16)
    2
    """
    return -(-number // divisor)


def round_up(number: int, multiple: int) -> int:
    """
    The smallest multiple that is not less than number.

    >>> round_up(151_936, 64)
    151936
    """
    return -(-number // multiple) * multiple


def format_gib(num_bytes: float, digits: int = 2) -> str:
    """
    Bytes as GiB for people.

    >>> format_gib(85_017_493_504)
    '79.18 GiB'
    """
    return f"{num_bytes / GIB:,.{digits}f} GiB"


def parse_tokens(text: str) -> int:
    """
    A count of tokens as vLLM reads it: ``32k`` is 32,000 and ``32K`` is 32,768.

    Source: vLLM 0.33 ``engine/arg_utils.py:human_readable_int``; a decimal is allowed with a
    decimal suffix only.

    >>> parse_tokens("32k"), parse_tokens("32K"), parse_tokens("25.6k")
    (32000, 32768, 25600)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)([kKmMgGtT]?)\s*", text, re.ASCII)
    if match is None:
        message = f"{text!r} is not a number of tokens; write 32768, 32k (32,000) or 32K (32,768)"
        raise InvalidValueError(message, field="tokens", value=text)
    digits, suffix = match.groups()
    if "." not in digits:
        return int(digits) * _TOKEN_SUFFIX[suffix]
    if suffix.lower() != suffix or not suffix:
        message = f"{text!r}: a decimal needs a decimal suffix (25.6k, not 25.6 or 25.6K)"
        raise InvalidValueError(message, field="tokens", value=text)
    whole, _, fraction = digits.partition(".")
    scale = _TOKEN_SUFFIX[suffix]
    tail: int = int(fraction) * scale // 10 ** len(fraction)
    return int(whole) * scale + tail
