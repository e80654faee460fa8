"""
How names are compared: case, spaces, hyphens and underscores do not matter, everything else does.
"""

from __future__ import annotations

from collections.abc import Iterable

_DROPPED = str.maketrans("", "", " \t\n-_()")


def fold(name: str) -> str:
    """
    The form in which two spellings of one name are equal.

    >>> fold("Intel(R) Arc(TM) Pro B60") == fold("intel-arc_pro b60")
    True
    """
    return name.lower().replace("(r)", "").replace("(tm)", "").translate(_DROPPED)


def suggest(name: str, candidates: Iterable[str], limit: int = 5) -> tuple[str, ...]:
    """
    The candidates that look most like a misspelt name, best first; none if none is near.

    >>> suggest("h10-sxm", ["h100-sxm", "h200-sxm", "l4"])
    ('h100-sxm', 'h200-sxm')
    """
    from difflib import get_close_matches

    originals: dict[str, str] = {}
    for candidate in candidates:
        originals.setdefault(fold(candidate), candidate)
    # A name of any length may come in; difflib is quadratic and no name in a catalog is as long.
    near = get_close_matches(fold(name[:100]), originals, n=limit, cutoff=0.6)
    return tuple(originals[folded] for folded in near)


def quote(name: object) -> str:
    """
    A name as it stands in an error: on one line, and not longer than a line.

    >>> quote("l4")
    "'l4'"
    """
    text = repr(name)
    return text if len(text) <= 80 else text[:76] + "...'"
