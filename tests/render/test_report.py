"""
The words and numbers of the report, apart from their arrangement.
"""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.render import samples
from vllm_sizing.render import picture, report
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.plan import Estimate


@given(text=st.text())
def test_clean_text_is_printable_and_cleaning_twice_changes_nothing(text):
    cleaned = report.clean(text)

    assert cleaned.isprintable()
    assert report.clean(cleaned) == cleaned


def test_printable_text_is_left_as_it_is():
    assert report.clean("Qwen/Qwen3-8B 模型 [é]") == "Qwen/Qwen3-8B 模型 [é]"


def test_the_parts_add_up_to_the_gpu_or_to_what_is_needed(plan):
    parts = picture.segments(plan)
    needed = sum(part.num_bytes for part in parts if part.key != "free")
    place, _ = picture.end_of_gpu(plan)

    assert sum(part.num_bytes for part in parts) == max(plan.memory.total_bytes, needed)
    assert place == min(1.0, plan.memory.total_bytes / needed)


def test_the_parts_that_vllm_accounts_for_are_its_bytes():
    plan = samples.lora_and_draft()
    shown = {part.key: part.num_bytes for part in picture.segments(plan)}
    memory = plan.memory

    assert shown == {
        "weights": memory.weights_bytes_per_gpu,
        "lora": memory.lora_bytes,
        "draft": memory.draft_bytes,
        "activation": memory.activation_peak_bytes,
        "outside": memory.non_torch_bytes,
        "graphs": memory.cuda_graph_bytes,
        "kv": memory.kv_cache_bytes,
        "free": memory.total_bytes - memory.requested_bytes,
    }


def test_what_other_processes_hold_is_shown():
    shown = {part.key: part.num_bytes for part in picture.segments(samples.hybrid())}

    assert shown["others"] == 3 * 2**30


def test_an_estimate_without_interval_was_given():
    plan = samples.fits()
    exact = Estimate(1.0, 1.0, 1.0, "given by the user")
    plan = attrs.evolve(plan, memory=attrs.evolve(plan.memory, activation_peak_bytes_interval=exact))
    (part,) = (part for part in picture.segments(plan) if part.key == "activation")

    assert picture.certainty(part) == "given"


def test_rough_weights_are_called_rough():
    plan = samples.rough()

    assert picture.certainty(picture.segments(plan)[0]) == "rough"
    assert "8.00B (rough), bfloat16" in report.subject(plan)


def test_offloaded_weights_are_mentioned():
    plan = samples.fits()
    plan = attrs.evolve(plan, memory=attrs.evolve(plan.memory, offloaded_bytes_per_gpu=8 * 2**30))

    assert picture.notes(plan, explain=False) == ["8.00 GiB of weights lie in host memory."]


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (EngineArgs(), "1 x h100-sxm"),
        (EngineArgs(tensor_parallel_size=2), "2 x h100-sxm, TP 2"),
        (EngineArgs(data_parallel_size=8, enable_expert_parallel=True), "8 x h100-sxm, DP 8, EP"),
    ],
)
def test_the_layout_names_what_is_divided(args, shown):
    assert shown in report.subject(attrs.evolve(samples.fits(), engine_args=args))


def test_the_dtype_and_the_quantization_are_those_that_are_used():
    plan = attrs.evolve(samples.fits(), engine_args=EngineArgs(dtype="float16", quantization="fp8"))

    assert "32.8B, float16, fp8" in report.subject(plan)


@pytest.mark.parametrize(("length", "shown"), [(None, 40_960), (-1, 40_960), (4096, 4096)])
def test_the_longest_request_is_the_planned_one(length, shown):
    plan = attrs.evolve(samples.fits(), engine_args=EngineArgs(max_model_len=length))

    assert report.longest_request(plan) == shown


def test_a_cache_that_does_not_grow_says_so():
    plan = samples.fits()
    plan = attrs.evolve(plan, kv_cache=attrs.evolve(plan.kv_cache, bytes_per_token=0))

    assert ("One GiB of cache", "any length", "requests do not grow with their tokens") in report.capacity(plan)


def test_an_exact_cache_is_called_exact():
    plan = samples.fits()
    size = plan.kv_cache.size_tokens
    exact = Estimate(size, size, size, "exact")
    plan = attrs.evolve(plan, kv_cache=attrs.evolve(plan.kv_cache, size_tokens_interval=exact))

    assert report.capacity(plan)[0].remark == "exact"


def test_one_token_and_one_request_are_no_plural():
    plan = attrs.evolve(samples.fits(), workload=attrs.evolve(samples.fits().workload, concurrency=1))

    assert report.demand(plan)[0] == "1 request at once"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "none"), (True, "on"), (False, "off"), (0.92, "0.92"), ("fp8", "fp8"), ((1, 2), "[1, 2]")],
)
def test_values_of_flags_are_shown_as_people_write_them(value, shown):
    plan = samples.fits()
    plan = attrs.evolve(plan, decisions=(attrs.evolve(plan.decisions[0], value=value),))

    assert report.flags(plan, explain=False)[0].value == shown


@given(value=st.floats(min_value=1e-6, max_value=1e15))
def test_a_figure_is_within_half_a_percent(value):
    assert float(report.figure(value).replace(",", "")) == pytest.approx(value, rel=0.0051)


def test_nothing_is_zero():
    assert report.figure(0.0) == "0"


def test_a_speed_that_is_nothing_divides_by_nothing():
    still = Estimate(0.0, 0.0, 0.0, "")
    plan = attrs.evolve(samples.fits(), performance=samples.performance(tpot_ms=still))

    assert report.performance(plan)[1] == ("Time per output token", "0 ms", "0 to 0 ms")


def test_a_model_of_unknown_size_has_none():
    plan = samples.fits()

    assert "bfloat16" in report.subject(attrs.evolve(plan, model=attrs.evolve(plan.model, num_parameters=0)))


def test_small_models_are_counted_in_millions():
    assert "568M, bfloat16" in report.subject(samples.encoder_only())


def test_the_load_within_the_targets_is_told_where_there_are_targets():
    plan = samples.fits()
    asked = attrs.evolve(
        plan,
        performance=attrs.evolve(plan.performance, max_concurrency_at_target=81, max_request_rate_at_target=7.72),
    )

    assert "Within the targets" not in {row.label for row in report.performance(plan)}
    assert report.performance(asked)[-1] == report.Row(
        "Within the targets", "81 at once", "or 7.72 requests/s at random"
    )


def test_targets_that_no_load_keeps():
    plan = samples.fits()
    speed = attrs.evolve(plan.performance, max_concurrency_at_target=0, max_request_rate_at_target=0.0)
    row = report.performance(attrs.evolve(plan, performance=speed))[-1]
    assert row == report.Row("Within the targets", "none", "not even a request alone")


@pytest.mark.parametrize(("concurrency", "longest", "said"), [(1, 9, None), (4, 9, "9 tokens"), (4, 0, "none")])
def test_the_longest_request_beside_others(concurrency, longest, said):
    plan = samples.fits()
    cache = attrs.evolve(plan.kv_cache, max_model_len_at_concurrency=longest)
    workload = attrs.evolve(plan.workload, concurrency=concurrency)
    rows = report.capacity(attrs.evolve(plan, kv_cache=cache, workload=workload))
    assert next((row.value for row in rows if row.remark == f"with {concurrency} at once"), None) == said


def test_what_does_not_start_has_no_speed():
    plan = attrs.evolve(samples.fits(), fits=False)
    assert report.performance(plan) == []
    assert report.performance_title(plan).startswith("none")
