"""
Sizes, times and numbers of GPUs as Docker, Compose and Kubernetes write them.
"""

from __future__ import annotations

import re

_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([A-Za-z]{0,3})")
_DOCKER = {"": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30, "t": 2**40}
_KUBERNETES = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_TIME = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)s)?(?:([0-9]{1,9})ms)?")
_DEVICES = re.compile(r"[\"']*device=([^\"']+)[\"']*")


def parse_size(text: str, *, kubernetes: bool = False) -> int | None:
    """
    Bytes; None for what is no size.

    >>> parse_size("2g"), parse_size("2Gi", kubernetes=True), parse_size("2G", kubernetes=True)
    (2147483648, 2147483648, 2000000000)
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    unit = (_KUBERNETES if kubernetes else _DOCKER).get(match[2] if kubernetes else match[2].lower())
    return None if unit is None else int(float(match[1]) * unit)


def parse_seconds(text: str) -> float | None:
    """
    Seconds of a time such as ``90``, ``90s`` or ``1m30s``; None for what is none.

    >>> parse_seconds("1m30s"), parse_seconds("45"), parse_seconds("soon")
    (90.0, 45.0, None)
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    match = _TIME.fullmatch(text)
    if match is None or not text:
        return None
    hours, minutes, seconds, thousandths = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1000


def parse_gpus(text: str) -> tuple[int | None, bool]:
    """
    How many GPUs ``--gpus`` names (None: all of the machine, or not known), and whether it names any.

    >>> parse_gpus("all"), parse_gpus("2"), parse_gpus('"device=0,1"'), parse_gpus("nvidia.com/gpu=all")
    ((None, True), (2, True), (2, True), (None, True))
    """
    if match := _DEVICES.search(text):
        return len([word for word in match[1].split(",") if word.strip()]), True
    if text.strip().isdecimal() and text.isascii() and len(text) < 7:
        return int(text), int(text) > 0
    return None, text.strip("\"' ") == "all" or "gpu" in text or "capabilities" in text or "dri" in text
