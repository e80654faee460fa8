"""
Writing artifacts: all of them or none, and nothing that was there before without leave.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from vllm_sizing.errors import SourceError
from vllm_sizing.specs.value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.frozen(kw_only=True, eq=False, repr=False)
class File(Value):
    """
    A file to write.

    Attributes:
        name: Inside the folder.

        executable: 0o755 instead of 0o644, less what the umask takes.
    """

    name: str
    text: str
    executable: bool = False


def write_files(folder: Path, files: Sequence[File], *, force: bool = False) -> list[Path]:
    """
    Writes the files into the folder, which is made if need be; returns their paths.

    All are written beside their places first and moved there last: a reader sees the old file or the
    new one, and a fault before the moves (a full disk, a name that is a folder) changes nothing.

    Raises:
        SourceError: A file exists and `force` is not set, or the folder cannot be written.
    """
    made = _make(folder)
    staged: list[tuple[Path, Path]] = []
    try:
        _refuse_to_overwrite(folder, files, force=force)
        for file in files:
            place = folder / file.name
            beside = folder / f".{file.name}.{os.getpid()}.tmp"
            staged.append((beside, place))
            _write(beside, file)
        for beside, place in staged:
            beside.replace(place)
    except BaseException as error:
        for leftover, _ in staged:
            leftover.unlink(missing_ok=True)
        _remove(made)
        if isinstance(error, OSError):
            raise _unwritable(folder, error) from None
        raise
    return [place for _, place in staged]


def _make(folder: Path) -> list[Path]:
    """
    Makes the folder; returns those that were not there, the deepest first.
    """
    missing = [parent for parent in (folder, *folder.parents) if not os.path.lexists(parent)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        _remove(missing)
        raise _unwritable(folder, error) from None
    return missing


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):
            folder.rmdir()


def _write(path: Path, file: File) -> None:
    mode = 0o755 if file.executable else 0o644
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as stream:  # noqa: PTH123
        stream.write(file.text.encode())


def _refuse_to_overwrite(folder: Path, files: Sequence[File], *, force: bool) -> None:
    there = [file.name for file in files if os.path.lexists(folder / file.name)]
    folders = [name for name in there if (folder / name).is_dir()]
    if folders:
        message = f"{folder / folders[0]} is a folder; choose another output folder"
        raise SourceError(message, source=str(folder))
    if there and not force:
        message = f"{folder} already has {', '.join(there)}; --force overwrites, or choose another output folder"
        raise SourceError(message, source=str(folder))


def _unwritable(folder: Path, error: Exception) -> SourceError:
    is_file = isinstance(error, (FileExistsError, NotADirectoryError))
    reason = "there is a file in its place" if is_file else getattr(error, "strerror", None) or error
    message = f"{str(folder)!r} cannot be written: {reason}; choose another output folder"
    return SourceError(message, source=str(folder))
