"""
Published measurements of speed against our predictions: the documented errors are not exceeded.

The constants of a fit without a model or a GPU are recorded in ``left_out.json`` by
``python -m tests.validation fit``, whose priors know nothing of these rows.
"""

import statistics

import pytest

from tests.validation import __main__ as tables
from tests.validation import outside, speed
from tests.validation.cases import cases
from tests.validation.left_out import GROUPS, left_out_scores, recorded


@pytest.fixture(scope="module")
def everything():
    return cases()


@pytest.fixture(scope="module")
def scores():
    return tables.speed_table()


def over_cells(found):
    return [found[metric].over_cells for metric in speed.METRICS]


def test_no_row_is_refused(everything):
    assert len(everything) == 717


def test_fitted_on_all_rows(scores):
    ttft, tpot, throughput = over_cells(scores["all rows", ""])

    assert ttft <= 0.13
    assert tpot <= 0.06
    assert throughput <= 0.055


@pytest.mark.parametrize(
    ("group", "limits"),
    [("model", (0.18, 0.10, 0.10)), ("GPU", (0.18, 0.065, 0.065))],
)
def test_what_was_left_out_of_the_fit(everything, group, limits):
    found = over_cells(left_out_scores(everything, group))

    assert all(error <= limit for error, limit in zip(found, limits, strict=True)), found


def test_intervals_cover_what_they_say_of_models_left_out(everything):
    found = left_out_scores(everything, "model")

    for metric in speed.METRICS:
        assert 0.75 <= found[metric].coverage <= 0.88


def test_recorded_fits_are_of_the_groups_that_there_are(everything):
    for name, key in GROUPS.items():
        assert {key(case) for case in everything} == set(recorded()[name])


def test_better_than_an_estimator_with_measured_kernels(scores):
    ours, theirs = (
        over_cells(scores["rows that aiconfigurator answered", name]) for name in ("vllm-sizing", "aiconfigurator 0.12")
    )

    assert all(error < other for error, other in zip(ours, theirs, strict=True))


def test_better_than_plain_rules(scores):
    ours = over_cells(scores["all rows", ""])
    for name in ("original heuristic table", "datasheet roofline", "weights / bandwidth"):
        assert all(
            error < other / 5 for error, other in zip(ours, over_cells(scores["alternative", name]), strict=True)
        )


def test_no_regime_is_far_off_but_the_one_that_waits(scores):
    for (kind, name), found in scores.items():
        if kind == "regime":
            ttft, tpot, throughput = over_cells(found)
            assert ttft <= (0.5 if name == "waiting" else 0.16)
            assert tpot <= (0.13 if name == "waiting" else 0.08)
            assert throughput <= (0.13 if name == "waiting" else 0.08)


def test_other_gpus_and_open_loops_have_the_right_order_of_magnitude():
    """
    GPUs, models and loads that nothing was fitted on; a Radeon without MXFP4 kernels is the documented exception.
    """
    found = [(row, pairs) for row, pairs in outside.compared() if row["load"] != "burst"]
    known = [pair for pair in found if pair[0]["gpu"] != "Radeon AI PRO R9700"]
    table = outside.table(known)
    tpots = [pairs["tpot"] for _, pairs in known if "tpot" in pairs]

    assert len(table) >= 9
    for group in table.values():
        assert all(0.5 <= group[metric][1] <= 1.8 for metric in ("ttft", "tpot", "throughput") if metric in group)
    assert statistics.median(abs(ours.mid / measured - 1) for ours, measured in tpots) <= 0.15
