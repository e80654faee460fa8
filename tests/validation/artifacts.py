"""
Writes every output of many plans, for the programs that they are for to look at.

    python -m tests.validation.artifacts FOLDER

One folder for each plan below FOLDER.  ``docs/how-to/deploy.md`` lists what was run over them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.render import matrix
from vllm_sizing.errors import SizingError
from vllm_sizing.render.artifacts import ARTIFACTS


def plans():
    """
    Every hostile name, and every few of the others.
    """
    yield from matrix.hostile().values()
    for number, plan in enumerate((*matrix.newest().values(), *matrix.older().values())):
        if number % 23 == 0:
            yield plan


def main(folder):
    written, refused = 0, 0
    for number, plan in enumerate(plans()):
        place = Path(folder) / f"plan-{number:03}"
        place.mkdir(parents=True)
        for artifact in ARTIFACTS.values():
            try:
                files = artifact.render(plan)
            except SizingError:
                refused += 1
                continue
            for name, text in files.items():
                (place / name).write_text(text)
                written += 1
    print(f"{written} files written, {refused} outputs refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
