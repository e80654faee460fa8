"""
Long work: a bar on the terminal that shows how far it is, and processes to share it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.sizing.search import Executor, Progress

LONG = 2_000  # Candidates: about a second.


@contextmanager
def progress(what: str) -> Iterator[Progress | None]:
    """
    What to tell how much is done: a bar on stderr if that is a terminal and the work is long, else nothing.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what)

    def tell(done: int, total: int) -> None:
        if total >= LONG:
            bar.start()  # Again is no harm.
            bar.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        bar.stop()


@contextmanager
def workers(number: int | None) -> Iterator[Executor | None]:
    """
    An executor of so many processes, as many as there are CPUs at most; None: do it here.
    """
    import os

    number = min(number or 1, os.cpu_count() or 1)
    if number == 1:
        yield None
        return

    from concurrent.futures import ProcessPoolExecutor
    from signal import SIG_IGN, SIGINT, signal

    # Ctrl-C reaches all of them; this process alone is to answer it.
    with ProcessPoolExecutor(number, initializer=signal, initargs=(SIGINT, SIG_IGN)) as executor:
        yield executor
