"""
Bash scripts: words that stay words, comments that stay comments.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vllm_sizing.render.yaml import comment_block

if TYPE_CHECKING:
    from collections.abc import Iterable

_BARE = re.compile(r"[A-Za-z0-9._/:@+=-]+")


def shell_word(word: str) -> str:
    r"""
    One word for bash, in single quotes unless it is plain.

    >>> print(shell_word("it's $HOME"))
    'it'\''s $HOME'
    """
    if _BARE.fullmatch(word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def bash_array(name: str, groups: Iterable[Iterable[str]]) -> str:
    """
    An array of words, one group a line.
    """
    lines = "".join(f"  {' '.join(map(shell_word, group))}\n" for group in groups)
    return f"{name}=(\n{lines})\n"


def exports(variables: Iterable[tuple[str, str]]) -> str:
    r"""
    Variables for the programs that follow.

    >>> exports([("A", "1")])
    'export A=1\n'
    """
    return "".join(f"export {name}={shell_word(value)}\n" for name, value in variables)


def bash_script(head: Iterable[str], *parts: str) -> str:
    """
    A script that stops at the first fault, below a block of comments.
    """
    body = "\n".join(parts)
    # Single quotes are what keeps data from being expanded; shellcheck would ask whether that is meant.
    doubts = [code for code, sign in (("SC2016", "'[^']*[$`]"), ("SC1003", r"\\'")) if re.search(sign, body)]
    quiet = f"# shellcheck disable={','.join(doubts)}\n" if doubts else ""
    return f"#!/usr/bin/env bash\n#\n{comment_block(head)}{quiet}\nset -euo pipefail\n\n{body}"
