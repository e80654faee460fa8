"""
Laws of the speed model, and what it says of deployments that were measured.
"""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vllm_sizing as vs
from vllm_sizing.sizing.machine import Machine
from vllm_sizing.sizing.roofline import distinct_experts, expert_pace, matrix_pace, overlapped
from vllm_sizing.sizing.speed_constants import Constants
from vllm_sizing.sizing.work import Matrices, Work

QWEN = vs.load_model("Qwen/Qwen3-8B")
MOE = vs.load_model("Qwen/Qwen3-30B-A3B")
LLAMA = vs.load_model("meta-llama/Llama-3.1-70B-Instruct")
H100, H200, B200 = (vs.find_gpu(name) for name in ("h100-sxm", "h200-sxm", "b200"))


def speed(model=QWEN, gpu=H100, concurrency=8, lengths=(1024, 256), num_gpus=1, **args):
    args = {"tensor_parallel_size": num_gpus, "max_model_len": sum(lengths) + 256} | args
    workload = vs.Workload(*lengths, concurrency)
    return vs.plan(model, gpu, workload, num_gpus=num_gpus, engine_args=vs.EngineArgs(**args)).performance


MACHINE = Machine(
    bandwidth=3e12, peak={"bf16": 1e15, "fp8": 2e15}, blackwell=False, ranks=1, pipeline=1, expert_tokens=1,
    link_bytes_per_s=4e11, full_graphs=True, largest_graph=512,
)  # fmt: skip


def matrices(num_bytes, flops=2e9, compute="bf16", narrow=0):
    return Matrices(compute=compute, method="", blocks=False, num_bytes=num_bytes, flops_per_token=flops, narrow=narrow)


@given(st.integers(1, 512), st.sampled_from([(1024, 256), (8192, 1024), (512, 4096)]))
@settings(max_examples=25, deadline=None)
def test_more_requests_in_flight_never_make_a_token_faster(concurrency, lengths):
    fewer, more = (speed(concurrency=slots, lengths=lengths) for slots in (concurrency, concurrency + 8))

    assert more.tpot_ms.mid >= fewer.tpot_ms.mid * (1 - 1e-9)
    assert more.ttft_ms.mid >= fewer.ttft_ms.mid * (1 - 1e-9)


@given(st.integers(1, 64), st.floats(1.0, 4.0))
@settings(max_examples=25, deadline=None)
def test_more_bandwidth_never_slows(concurrency, factor):
    faster = attrs.evolve(H100, memory_bandwidth_bytes_per_s=H100.memory_bandwidth_bytes_per_s * factor)

    assert speed(gpu=faster, concurrency=concurrency).tpot_ms.mid <= speed(concurrency=concurrency).tpot_ms.mid


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_more_gpus_never_slow_a_large_model(concurrency):
    found = [speed(LLAMA, H200, concurrency, num_gpus=ranks).tpot_ms.mid for ranks in (2, 4, 8)]

    assert found == sorted(found, reverse=True)


@given(st.integers(1, 300), st.integers(16, 4096), st.integers(2, 2048))
@settings(max_examples=40, deadline=None)
def test_littles_law_holds_between_the_answers(concurrency, prompt, answer):
    found = speed(concurrency=concurrency, lengths=(prompt, answer))
    in_flight = found.requests_per_s.mid * found.e2el_ms.mid / 1e3

    assert in_flight == pytest.approx(concurrency)
    assert found.e2el_ms.mid == pytest.approx(found.ttft_ms.mid + (answer - 1) * found.tpot_ms.mid)
    assert found.output_tokens_per_s.mid == pytest.approx(found.requests_per_s.mid * answer)
    assert found.total_tokens_per_s.mid == pytest.approx(found.requests_per_s.mid * (prompt + answer))


@given(st.integers(1, 300))
@settings(max_examples=20, deadline=None)
def test_intervals_hold_their_middle(concurrency):
    found = speed(concurrency=concurrency)

    for name in ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms", "output_tokens_per_s", "prefill_tokens_per_s"):
        estimate = getattr(found, name)
        assert 0 < estimate.low < estimate.mid < estimate.high


def test_a_gpu_outside_the_fit_is_said_to_be_and_gets_wider_intervals():
    inside, outside = speed(gpu=H100), speed(gpu=vs.find_gpu("l40s"))

    assert "was not among them" not in inside.tpot_ms.basis
    assert "l40s was not among them" in outside.tpot_ms.basis
    assert outside.tpot_ms.high / outside.tpot_ms.low > inside.tpot_ms.high / inside.tpot_ms.low


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        ({"concurrency": 1}, "memory bandwidth (weights)"),
        ({"concurrency": 64, "max_num_seqs": 16}, "max_num_seqs"),
        ({"concurrency": 512, "lengths": (16384, 4096)}, "KV cache"),
        ({"concurrency": 16, "lengths": (8192, 16)}, "compute (prefill)"),
        ({"concurrency": 8, "lengths": (32000, 4000)}, "memory bandwidth (KV cache)"),
        ({"model": MOE, "gpu": B200, "concurrency": 1}, "launch overhead"),
    ],
)
def test_what_binds_is_named(arguments, limit):
    assert speed(**arguments).limit == limit


def test_requests_that_find_no_seat_wait_for_one():
    seated, queued = speed(concurrency=16, max_num_seqs=16), speed(concurrency=64, max_num_seqs=16)

    assert queued.num_running == 16
    assert queued.ttft_ms.mid > seated.ttft_ms.mid + 2 * seated.e2el_ms.mid
    assert queued.output_tokens_per_s.mid == pytest.approx(seated.output_tokens_per_s.mid, rel=0.1)


@given(st.floats(1e6, 1e10), st.floats(1.0, 1e5))
@settings(max_examples=60)
def test_half_the_bytes_help_only_where_memory_binds(num_bytes, tokens):
    whole, half = (
        overlapped(*matrix_pace(matrices(int(size)), MACHINE, Constants()).seconds(tokens))
        for size in (num_bytes, num_bytes / 2)
    )
    arithmetic = tokens * 2e9 / (1e15 * Constants().bf16_compute)

    assert whole / 2 <= half * 1.0001
    assert half <= whole
    assert half >= arithmetic * 0.999


@given(st.integers(2, 512), st.data())
@settings(max_examples=100)
def test_distinct_experts_lie_between_one_tokens_choice_and_all(total, data):
    chosen = data.draw(st.integers(1, total - 1))
    tokens = data.draw(st.floats(1.0, 1e6))
    exponent = data.draw(st.floats(0.5, 1.0))
    found = distinct_experts(total, chosen, tokens, exponent)

    assert chosen * 0.9999 <= found <= total
    assert found <= distinct_experts(total, chosen, tokens * 2, exponent) * 1.0001


def test_few_tokens_read_few_experts():
    work = Work(
        dense=(), head=(), experts=(), caches=(), num_layers=48, num_moe_layers=48, num_split_norms=0, num_experts=128,
        num_experts_per_token=8, activation_bytes_per_token=4096,
    )  # fmt: skip
    experts = matrices(60 * 10**9, flops=1e6, narrow=768)
    one, many = (expert_pace(experts, work, MACHINE, Constants()).seconds(tokens)[0] for tokens in (1, 10_000))

    assert one == pytest.approx(many * 8 / 128, rel=0.1)


def test_replicas_share_the_load():
    one = speed(concurrency=16)
    two = vs.plan(
        QWEN, H100, vs.Workload(1024, 256, 32), num_gpus=2,
        engine_args=vs.EngineArgs(data_parallel_size=2, tensor_parallel_size=1, max_model_len=1536),
    ).performance  # fmt: skip

    assert two.tpot_ms.mid == pytest.approx(one.tpot_ms.mid)
    assert two.output_tokens_per_s.mid == pytest.approx(2 * one.output_tokens_per_s.mid)


def test_a_cached_prefix_shortens_the_first_token_only():
    plain, cached = (
        vs.plan(QWEN, H100, vs.Workload(8192, 256, 8, prefix_cache_hit_rate=rate)).performance for rate in (0.0, 0.9)
    )

    assert cached.ttft_ms.mid < plain.ttft_ms.mid / 2
    assert cached.tpot_ms.mid <= plain.tpot_ms.mid


def test_accepted_drafts_make_tokens_faster_and_rejected_ones_do_not():
    def tpot(rate):
        args = vs.EngineArgs(max_model_len=2048, speculative_config={"method": "ngram", "num_speculative_tokens": 3})
        return vs.plan(QWEN, H100, vs.Workload(acceptance_rate=rate), engine_args=args).performance.tpot_ms.mid

    plain = vs.plan(QWEN, H100, engine_args=vs.EngineArgs(max_model_len=2048)).performance.tpot_ms.mid

    assert tpot(0.7) < plain
    assert tpot(0.01) > plain * 0.95
    assert tpot(0.9) < tpot(0.3)


def test_without_graphs_the_cpu_sets_the_pace():
    assert speed(enforce_eager=True).tpot_ms.mid > 1.5 * speed().tpot_ms.mid


def test_nothing_is_said_of_a_gpu_without_figures():
    unknown = attrs.evolve(H100, memory_bandwidth_bytes_per_s=None)

    assert speed(gpu=unknown) is None


@pytest.mark.parametrize(
    ("gpu", "ranks", "lengths", "concurrency", "measured"),
    [
        # Llama-3.1-70B FP8, InferenceX, mean lengths 0.9 of nominal: TPOT in ms.
        ("h200-sxm", 1, (922, 922), 4, 21.5),
        ("h200-sxm", 8, (922, 922), 4, 7.9),
        ("h100-sxm", 4, (7373, 922), 32, 32.8),
    ],
)
def test_measured_deployments_lie_in_the_interval(gpu, ranks, lengths, concurrency, measured):
    found = speed(
        LLAMA, vs.find_gpu(gpu), concurrency, lengths, ranks, quantization="fp8", kv_cache_dtype="fp8",
        max_num_batched_tokens=8192,
    )  # fmt: skip

    assert found.tpot_ms.low < measured < found.tpot_ms.high


def test_a_model_whose_work_is_not_listed_gets_no_speed():
    """
    A `ModelSpec` made by hand may have a cache and no tensors: what it holds can be said, how fast it is cannot.
    """
    plan = vs.plan(attrs.evolve(vs.load_model("Qwen/Qwen3-8B"), tensors=()), H100)

    assert plan.fits
    assert plan.performance is None
