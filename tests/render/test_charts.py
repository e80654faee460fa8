"""
The charts: what is drawn lies where its numbers say, inside the frame, and the numbers stand beside it.
"""

import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.render import results, samples
from vllm_sizing.render import charts, svg
from vllm_sizing.specs.workload import LatencyTarget

POSITIVE = st.floats(1e-3, 1e9)


@given(high=POSITIVE)
def test_a_linear_axis_has_few_round_ticks_and_room_for_all(high):
    axis = svg.linear_axis("ms", high)

    assert axis.low == 0
    assert axis.high >= high
    assert 3 <= len(axis.ticks) <= 7
    assert len({text for _, text in axis.ticks}) == len(axis.ticks)


@given(low=st.integers(1, 10**7), factor=st.floats(1, 1e6))
def test_a_log_axis_has_few_ticks_and_room_for_all(low, factor):
    axis = svg.log_axis("tokens", low, low * factor)

    assert axis.low <= low
    assert axis.high >= low * factor
    assert 2 <= len(axis.ticks) <= 7
    assert axis.share(axis.low) == 0
    assert axis.share(axis.high) == 1


@given(values=st.lists(st.floats(0, 1e6), min_size=2, max_size=2), log=st.booleans())
def test_more_is_further_along(values, log):
    axis = svg.log_axis("n", 1, 1e6) if log else svg.linear_axis("n", 1e6)
    low, high = sorted(values)

    assert 0 <= axis.share(low) <= axis.share(high) <= 1


def test_an_axis_without_length_puts_everything_in_its_middle():
    assert svg.Axis("n", 3, 3, ()).share(3) == 0.5


@given(points=st.lists(st.tuples(st.floats(-1e6, 1e7), st.floats(-1e6, 1e7)), min_size=1, max_size=6))
def test_nothing_is_drawn_outside_the_picture(points):
    drawn = svg.chart(
        title="t",
        about="a",
        x=svg.linear_axis("x", 100),
        y=svg.linear_axis("y", 100),
        line=points,
        band=[(x, y - 5, y + 5) for x, y in points],
        marks=[svg.Mark(x, y, "here") for x, y in points],
        limits=[svg.Limit(99, "high"), svg.Limit(1, "low")],
    )

    for name, most in (("cx|x1|x2", svg.WIDTH), ("cy|y1|y2", svg.HEIGHT)):
        for value in re.findall(rf'(?:{name})="([\d.-]+)"', drawn):
            assert 0 <= float(value) <= most


@given(value=st.floats(0, 100), limit=st.floats(0, 100), at=st.floats(0, 100))
def test_the_limit_s_words_and_the_point_s_do_not_stand_on_each_other(value, limit, at):
    drawn = svg.chart(
        title="t",
        about="a",
        x=svg.linear_axis("x", 100),
        y=svg.linear_axis("y", 100),
        line=[(0, 0), (100, 100)],
        marks=[svg.Mark(at, value, "here")],
        limits=[svg.Limit(limit, "at most")],
    )
    (one,) = re.findall(r'<text class="mark[^>]* y="([\d.]+)"', drawn)
    (other,) = re.findall(r'<text class="tick limit[^>]* y="([\d.]+)"', drawn)

    assert abs(float(one) - float(other)) >= 10.8


def test_words_are_escaped():
    drawn = svg.chart(
        title="<t>",
        about="<a>",
        x=svg.linear_axis("<x>", 1),
        y=svg.log_axis("y", 1, 2),
        line=[(0, 1), (1, 2)],
        marks=[svg.Mark(1, 2, "<m>")],
        limits=[svg.Limit(1, "<l>")],
    )

    assert not re.search("<[taxml]>", drawn)


def test_a_plan_that_does_not_fit_has_no_curves():
    assert charts.capacity(samples.does_not_fit()) == charts.load(samples.does_not_fit()) == []
    assert charts.figures([]) == ""


def test_the_chosen_point_and_the_target_are_shown():
    plan = samples.fits()
    ttft, tpot, output = charts.load(plan)

    assert "32 at once: 121" in ttft.svg
    assert 'class="limit"' not in ttft.svg
    assert "at most 50 ms" in tpot.svg
    assert "32 at once: 1,870" in output.svg
    assert [row[0] for row in tpot.rows] == ["1", "4", "16", "32", "64"]
    (held,) = charts.capacity(plan)
    assert f"{plan.kv_cache.max_concurrency_at_workload:,} of 1,280" in held.svg


def test_a_limit_far_above_is_only_told():
    plan = samples.fits()
    target = LatencyTarget(tpot_ms=1e6)
    _, tpot, _ = charts.load(attrs.evolve(plan, workload=attrs.evolve(plan.workload, target=target)))

    assert 'class="limit"' not in tpot.svg
    assert "the limit is 1e+06 ms" in tpot.svg


def test_the_point_of_an_open_loop_is_what_its_rate_comes_to():
    plan = samples.fits()
    plan = attrs.evolve(plan, workload=attrs.evolve(plan.workload, request_rate=2.0))

    assert all("2 per s: " in figure.svg for figure in charts.load(plan))


def test_a_workload_that_is_too_long_is_no_point():
    plan = samples.fits()
    (held,) = charts.capacity(attrs.evolve(plan, workload=attrs.evolve(plan.workload, input_tokens=10**6)))

    assert "mark" not in held.svg


def test_a_model_without_cache_has_no_capacity():
    assert charts.capacity(samples.encoder_only()) == []


def test_the_front_is_drawn_with_the_cheapest():
    fits = samples.fits()
    slow = attrs.evolve(fits.performance, e2el_ms=results.Estimate(9e3, 9e3, 9e3))
    offers = [results.offer(1), results.offer(2, attrs.evolve(fits, performance=slow))]

    (front,) = charts.front(offers, offers[0])
    assert "the cheapest" in front.svg
    assert len(front.rows) == 2
    (alone,) = charts.front(offers, None)
    assert "the cheapest" not in alone.svg
    assert charts.front(offers[:1], None) == []
    blind = results.offer(3, attrs.evolve(fits, performance=None))
    assert charts.front([blind, blind], None) == []
    assert "the cheapest" not in charts.front(offers, blind)[0].svg


@pytest.mark.parametrize("name", ["fits", "hybrid", "lora-and-draft", "does-not-fit"])
def test_stretches_of_the_memory_follow_each_other(name):
    drawn = charts.memory_bar(samples.PLANS[name]())
    stretches = [tuple(map(float, pair)) for pair in re.findall(r'<svg x="([\d.]+)%" width="([\d.]+)%"', drawn)]

    at = 0.0
    for start, width in stretches:
        assert start == pytest.approx(at, abs=0.01)
        at += width
    assert at == pytest.approx(100, abs=0.01)
