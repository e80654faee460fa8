"""
Text for unit files of systemd and quadlet: one word stays one word.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vllm_sizing.catalog.flag_words import check_word

if TYPE_CHECKING:
    from collections.abc import Iterable

_BARE = re.compile(r"[A-Za-z0-9._/:@+=,-]+")


def unit_word(word: str, *, dollars: bool = True) -> str:
    r"""
    One word of a command in a unit: quoted unless it is plain, without specifiers and variables.

    Args:
        dollars: Double ``$``, which names variables in commands (and in nothing else).

    >>> print(unit_word('100% "$HOME"'))
    "100%% \"$$HOME\""
    """
    check_word(word)
    if _BARE.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + (escaped.replace("$", "$$") if dollars else escaped) + '"'


def unit_sections(sections: Iterable[tuple[str, Iterable[tuple[str, str]]]]) -> str:
    """
    Sections of keys with values, which are already escaped.
    """
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in entries) for name, entries in sections
    )
