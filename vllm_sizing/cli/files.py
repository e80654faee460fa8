"""
Writing artifacts: all of them or none, and nothing that was there before without leave.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from vllm_sizing.errors import SourceError
from vllm_sizing.specs.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Not on Windows, where names are resolved anew each time.
_BY_DESCRIPTOR = os.open in os.supports_dir_fd
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class File(Value):
    """
    A file to write.

    Attributes:
        name: Inside the folder.

        mode: Less what the umask takes.
    """

    name: str
    text: str
    mode: int = 0o644


def write_files(folder: Path, files: Sequence[File], *, force: bool = False) -> list[Path]:
    """
    Writes the files into the folder, which is made if need be; returns their paths.

    All are written beside their places first and moved there last: a reader sees the old file or the
    new one, and a fault (a full disk, a name that is a folder) leaves what was there.  A file that has
    its text already is left alone.

    Raises:
        SourceError: Another file exists and `force` is not set, something is a link, or the folder cannot
            be written.
    """
    made = _make(folder)
    try:
        with _opened(folder) as place:
            _replace(place, [file for file in files if place.read(file.name) != file.text.encode()], force=force)
    except BaseException as error:
        for parent in made:
            with contextlib.suppress(OSError, ValueError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise _unwritable(folder, error) from None
        raise
    return [folder / file.name for file in files]


class _Place(NamedTuple):
    """
    The folder that was looked at: what happens to its name later does not matter.
    """

    path: Path
    descriptor: int | None

    def at(self, name: str) -> tuple[str | Path, dict[str, Any]]:
        """
        How the functions of `os` are given a name in it.
        """
        return (self.path / name, {}) if self.descriptor is None else (name, {"dir_fd": self.descriptor})

    def mode(self, name: str) -> int | None:
        """
        What a name is, links not followed; None: nothing.
        """
        path, where = self.at(name)
        try:
            return os.lstat(path, **where).st_mode
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes | None:
        """
        What a file holds; None: it is no file.
        """
        mode = self.mode(name)
        if mode is None or not stat.S_ISREG(mode):
            return None
        path, where = self.at(name)
        with open(os.open(path, os.O_RDONLY | _NO_FOLLOW, **where), "rb") as stream:  # noqa: PTH123
            return stream.read()

    def write(self, name: str, file: File) -> None:
        """
        A new file, on the disk when this returns.
        """
        path, where = self.at(name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, file.mode, **where)
        with open(descriptor, "wb") as stream:  # noqa: PTH123
            stream.write(file.text.encode())
            stream.flush()
            os.fsync(descriptor)

    def move(self, old: str, new: str) -> None:
        """
        Puts a file in the place of another.
        """
        (source, _), (target, _) = self.at(old), self.at(new)
        where = {} if self.descriptor is None else {"src_dir_fd": self.descriptor, "dst_dir_fd": self.descriptor}
        os.replace(source, target, **where)  # noqa: PTH105

    def keep(self, old: str, new: str) -> None:
        """
        A second name for a file that is there; where the disk knows none, there is none.
        """
        (source, _), (target, _) = self.at(old), self.at(new)
        where = {} if self.descriptor is None else {"src_dir_fd": self.descriptor, "dst_dir_fd": self.descriptor}
        with contextlib.suppress(OSError, NotImplementedError):
            os.link(source, target, **where, follow_symlinks=False)

    def remove(self, name: str) -> None:
        """
        Removes a file, if it is there.
        """
        path, where = self.at(name)
        with contextlib.suppress(OSError):
            os.unlink(path, **where)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[_Place]:
    if folder.is_symlink():
        message = f"{folder} is a link; name the folder that it leads to"
        raise SourceError(message, source=str(folder))
    if not _BY_DESCRIPTOR:
        yield _Place(folder, None)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _NO_FOLLOW)
    try:
        yield _Place(folder, descriptor)
    finally:
        os.close(descriptor)


def _replace(place: _Place, files: Sequence[File], *, force: bool) -> None:
    """
    Writes the files beside their places, then moves each there; undone if anything fails.
    """
    there = _refuse(place, files, force=force)
    names = {file.name: (f".{file.name}.{os.getpid()}.tmp", f".{file.name}.{os.getpid()}.old") for file in files}
    moved: list[str] = []
    try:
        for file in files:
            place.write(names[file.name][0], file)
            if file.name in there:
                place.keep(file.name, names[file.name][1])
        for name, (beside, _) in names.items():
            place.move(beside, name)
            moved.append(name)
    except BaseException:
        for name in moved:
            if name not in there:
                place.remove(name)
                continue
            with contextlib.suppress(OSError):
                place.move(names[name][1], name)
        raise
    finally:
        for pair in names.values():
            for name in pair:
                place.remove(name)


def _refuse(place: _Place, files: Sequence[File], *, force: bool) -> list[str]:
    """
    Names that are there and may be replaced.
    """
    modes = {file.name: place.mode(file.name) for file in files}
    there = {name: mode for name, mode in modes.items() if mode is not None}
    for name, mode in there.items():
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "no file"
            message = f"{place.path / name} is {kind}; remove it, or choose another output folder"
            raise SourceError(message, source=str(place.path))
    if there and not force:
        message = f"{place.path} already has {', '.join(there)}; --force overwrites, or choose another output folder"
        raise SourceError(message, source=str(place.path))
    return list(there)


def _make(folder: Path) -> list[Path]:
    """
    Makes the folder; returns those that were not there, the deepest first.
    """
    missing = [parent for parent in (folder, *folder.parents) if not os.path.lexists(parent)]
    made: list[Path] = []
    try:
        for parent in reversed(missing):
            parent.mkdir(mode=0o755)  # whatever the umask leaves open
            made.insert(0, parent)
        if not folder.is_dir():
            raise NotADirectoryError
    except (OSError, ValueError) as error:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise _unwritable(folder, error) from None
    return made


def _unwritable(folder: Path, error: Exception) -> SourceError:
    is_file = isinstance(error, (FileExistsError, NotADirectoryError))
    reason = "there is a file in its place" if is_file else getattr(error, "strerror", None) or error
    message = f"{str(folder)!r} cannot be written: {reason}; choose another output folder"
    return SourceError(message, source=str(folder))
