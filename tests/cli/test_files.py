"""
Files are written whole, all or none, and over nothing that was there.
"""

import os
from pathlib import Path

import pytest

from vllm_sizing.cli.files import File, write_files
from vllm_sizing.errors import SourceError

A, B = File(name="a", text="1"), File(name="b", text="2")


@pytest.fixture
def place():
    """
    An empty folder.
    """
    return Path.cwd()


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("target", ["target", "nowhere"])
def test_a_link_in_place_of_a_file_is_told_and_never_followed(place, target):
    (place / "target").write_text("mine")
    (place / "a").symlink_to(place / target)

    with pytest.raises(SourceError, match="a is a link; remove it"):
        write_files(place, [A], force=True)
    assert names(place) == {"target", "a"}
    assert (place / "target").read_text() == "mine"


def test_a_link_to_a_folder_is_told_and_never_followed(place):
    (place / "real").mkdir()
    (place / "link").symlink_to(place / "real")

    with pytest.raises(SourceError, match="is a link; name the folder that it leads to"):
        write_files(place / "link", [A], force=True)
    assert names(place / "real") == set()


@pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="folders are known by their names alone")
def test_a_folder_that_is_swapped_while_writing_gets_nothing(place, monkeypatch):
    """
    What is written goes into the folder that was looked at, not into what has its name by then.
    """
    write = os.open

    def swapping(path, *args, **where):
        if str(path).startswith(".a.") and (place / "out").exists():
            (place / "out").rename(place / "was")
            (place / "trap").mkdir()
            (place / "out").symlink_to(place / "trap")
        return write(path, *args, **where)

    monkeypatch.setattr("vllm_sizing.cli.files.os.open", swapping)

    write_files(place / "out", [A, B])
    assert names(place / "trap") == set()
    assert names(place / "was") == {"a", "b"}


@pytest.mark.parametrize("descriptors", [True, False])
def test_the_same_text_is_left_alone(place, monkeypatch, descriptors):
    monkeypatch.setattr("vllm_sizing.cli.files._BY_DESCRIPTOR", descriptors)
    write_files(place, [A, B])
    before = (place / "a").stat().st_mtime_ns, (place / "a").stat().st_ino

    assert write_files(place, [A, B]) == [place / "a", place / "b"]
    assert ((place / "a").stat().st_mtime_ns, (place / "a").stat().st_ino) == before
    with pytest.raises(SourceError, match="already has b; --force overwrites"):
        write_files(place, [A, File(name="b", text="3")])


@pytest.mark.parametrize("descriptors", [True, False])
@pytest.mark.parametrize("links", [True, False])
def test_a_fault_while_moving_leaves_the_old_set(place, monkeypatch, descriptors, links):
    (place / "a").write_text("old")
    move, seen = os.replace, []

    def failing(source, target, **where):
        seen.append(str(target))
        if len(seen) == 3:
            raise OSError(5, "Input/output error")
        return move(source, target, **where)

    def unknown(*_, **__):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("vllm_sizing.cli.files._BY_DESCRIPTOR", descriptors)
    monkeypatch.setattr("vllm_sizing.cli.files.os.replace", failing)
    if not links:
        monkeypatch.setattr("vllm_sizing.cli.files.os.link", unknown)

    with pytest.raises(SourceError, match="Input/output error"):
        write_files(place, [A, B, File(name="c", text="3")], force=True)
    assert names(place) == {"a"}
    assert (place / "a").read_text() == ("old" if links else "1")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_nothing_is_for_everybody_to_write_whatever_the_umask(place):
    umask = os.umask(0)
    try:
        write_files(place / "x" / "y", [A, File(name="p", text="", mode=0o755)])
    finally:
        os.umask(umask)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (place / "x").rglob("*")}
    assert modes == {"y": 0o755, "a": 0o644, "p": 0o755}
    assert (place / "x").stat().st_mode & 0o777 == 0o755


def test_a_folder_in_the_way_is_told_even_with_force(place):
    (place / "b").mkdir()

    with pytest.raises(SourceError, match="b is a folder"):
        write_files(place, [A, B], force=True)
    assert names(place) == {"b"}


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_a_fault_while_writing_leaves_nothing(place, monkeypatch, fault):
    write = os.open

    def failing(path, *args, **where):
        if Path(path).name.startswith(".b."):
            raise fault
        return write(path, *args, **where)

    monkeypatch.setattr("vllm_sizing.cli.files.os.open", failing)

    with pytest.raises(SourceError if isinstance(fault, OSError) else type(fault)):
        write_files(place / "new" / "er", [A, B])
    assert names(place) == set()


def test_folders_that_were_there_stay(place):
    with pytest.raises(SourceError):
        write_files(place, [File(name="no/such", text="")])

    assert place.exists()
    assert names(place) == set()


def test_folders_are_made(place):
    assert write_files(place / "x" / "y", [A]) == [place / "x" / "y" / "a"]


def test_a_folder_below_a_file_is_told_and_nothing_is_made(place):
    (place / "file").write_text("mine")

    with pytest.raises(SourceError, match="there is a file in its place"):
        write_files(place / "file" / "x", [A])
    assert names(place) == {"file"}


def test_a_folder_that_cannot_be_written_is_told(place, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("vllm_sizing.cli.files.os.open", refused)

    with pytest.raises(SourceError, match="Permission denied; choose another output folder"):
        write_files(place, [A])


def test_folders_that_were_made_before_a_fault_are_removed(place, monkeypatch):
    make = Path.mkdir

    def failing(self, *args, **more):
        if self.name == "y":
            raise PermissionError(13, "Permission denied")
        return make(self, *args, **more)

    monkeypatch.setattr(Path, "mkdir", failing)

    with pytest.raises(SourceError, match="Permission denied"):
        write_files(place / "x" / "y", [A])
    assert names(place) == set()
