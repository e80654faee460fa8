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


def test_a_link_is_replaced_not_followed(place):
    target = place / "target"
    target.write_text("mine")
    (place / "a").symlink_to(target)

    write_files(place, [A], force=True)

    assert target.read_text() == "mine"
    assert (place / "a").read_text() == "1"


def test_a_link_that_leads_nowhere_is_there(place):
    (place / "a").symlink_to(place / "nowhere")

    with pytest.raises(SourceError, match="already has a"):
        write_files(place, [A])


def test_a_folder_in_the_way_is_told_even_with_force(place):
    (place / "b").mkdir()

    with pytest.raises(SourceError, match="b is a folder"):
        write_files(place, [A, B], force=True)
    assert names(place) == {"b"}


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_a_fault_while_writing_leaves_nothing(place, monkeypatch, fault):
    write = os.open

    def failing(path, *args):
        if Path(path).name.startswith(".b."):
            raise fault
        return write(path, *args)

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
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("vllm_sizing.cli.files.os.open", refused)

    with pytest.raises(SourceError, match="Permission denied; choose another output folder"):
        write_files(place, [A])
