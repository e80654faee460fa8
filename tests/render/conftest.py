"""
Golden files: what a renderer wrote, under ``tests/golden`` with the suffix that editors know.

``pytest --snapshot-update`` writes them anew; a person looks at the difference.
"""

from pathlib import Path

import attrs
import pytest
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from tests.render.samples import PLANS
from vllm_sizing.sizing import curves
from vllm_sizing.specs.plan import Estimate, LoadPoint

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


@pytest.fixture(autouse=True)
def _curves_by_hand(monkeypatch):
    """
    The samples are made by hand, and so are their curves: golden files change with the renderer alone.
    """
    monkeypatch.setattr(curves, "capacity_curve", capacity_by_hand)
    monkeypatch.setattr(curves, "load_points", load_by_hand)


def capacity_by_hand(plan):
    lengths = (256, 1024, 4096, 16_384, 40_960) if plan.fits else ()
    return tuple(curves.Capacity(length, plan.kv_cache.size_tokens // length) for length in lengths)


def load_by_hand(plan):
    if plan.performance is None or not plan.fits:
        return ()

    def grown(estimate, factor):
        return Estimate(estimate.low * factor, estimate.mid * factor, estimate.high * factor)

    points = []
    for load in sorted({1, 4, 16, plan.workload.concurrency, 64}):
        factor = 0.5 + load / plan.workload.concurrency / 2
        speed = plan.performance
        speed = attrs.evolve(
            speed,
            ttft_ms=grown(speed.ttft_ms, factor),
            tpot_ms=grown(speed.tpot_ms, factor),
            output_tokens_per_s=grown(speed.output_tokens_per_s, load / plan.workload.concurrency / factor),
        )
        points.append(LoadPoint(load, speed))
    return tuple(points)
