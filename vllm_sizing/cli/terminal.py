"""
The terminal: how wide it is, whether it takes colour, and plain tables for it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

WIDTH = 80
_NARROWEST = 40


def width() -> int:
    """
    Columns of the terminal; 80 for a pipe or a file.
    """
    if not _is_terminal():
        return WIDTH
    return max(_NARROWEST, shutil.get_terminal_size((WIDTH, 24)).columns)


def colour() -> bool:
    """
    Whether stdout is a terminal that takes colour and nobody said NO_COLOR.
    """
    return _is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def ascii_only() -> bool:
    """
    Whether stdout cannot print the bars of the report.
    """
    try:
        "█░·→".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """
    Rows under titles, in columns two spaces apart; numbers to the right.

    >>> print(table(["name", "GiB"], [["l4", "22.5"], ["h100-sxm", "79.2"]]))
    name       GiB
    l4        22.5
    h100-sxm  79.2
    """
    columns = list(zip(titles, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    # The first column holds names, and some of them begin with a digit.
    right = [number > 0 and any(cell[:1].isdigit() for cell in column[1:]) for number, column in enumerate(columns)]
    lines = []
    for row in (titles, *rows):
        cells = [
            cell.rjust(size) if number else cell.ljust(size)
            for cell, size, number in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def write(text: str) -> None:
    """
    The result, on stdout; what stdout cannot print becomes a question mark.
    """
    import click

    # click would write UTF-8 to a terminal that says it knows ASCII only.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding), nl=not text.endswith("\n"))


def note(text: str) -> None:
    """
    Something to know, on stderr.
    """
    import click

    click.echo(f"Note: {one_line(text)}.", err=True)


def one_line(text: str) -> str:
    r"""
    Text of others on one line, unable to steer the terminal.

    >>> print(one_line("Choose\n  from:\x1b[31m a"))
    Choose from:\x1b[31m a
    """
    flat = re.sub(r"\s*\n\s*", " ", text.strip())
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in flat)


def print_json(value: Any) -> None:
    """
    One of the API's values, or several, as JSON under the API's names.
    """
    from json import dumps

    from vllm_sizing.serialize import to_plain

    write(dumps(to_plain(value), indent=2, allow_nan=False))
