"""
Golden files: what a renderer wrote, under ``tests/golden`` with the suffix that editors know.

``pytest --snapshot-update`` writes them anew; a person looks at the difference.
"""

from pathlib import Path

import pytest
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from tests.render.samples import PLANS

GOLDEN = Path(__file__).parents[1] / "golden"


class GoldenFile(SingleFileSnapshotExtension):
    """
    One text file for each snapshot, in a folder with the name of the test module.
    """

    _write_mode = WriteMode.TEXT

    @classmethod
    def dirname(cls, *, test_location):
        return str(GOLDEN / test_location.basename)


@pytest.fixture
def golden(snapshot):
    """
    Makes the golden file of a test with a suffix, to compare a text with.
    """

    def file(suffix):
        return snapshot.use_extension(type(f"Golden_{suffix}", (GoldenFile,), {"file_extension": suffix}))

    return file


@pytest.fixture(params=PLANS)
def plan(request):
    """
    Each of the samples.
    """
    return PLANS[request.param]()
