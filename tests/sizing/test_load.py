"""
Laws of load: open and closed loops, percentiles, targets, the load curve, and what each setting costs.
"""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vllm_sizing as vs
from vllm_sizing.errors import InvalidValueError

QWEN = vs.load_model("Qwen/Qwen3-8B")
MOE = vs.load_model("Qwen/Qwen3-30B-A3B")
LLAMA = vs.load_model("meta-llama/Llama-3.1-70B-Instruct")
H100, L40S = vs.find_gpu("h100-sxm"), vs.find_gpu("l40s")


def planned(workload, model=QWEN, gpu=H100, **args):
    num_gpus, num_nodes = args.pop("num_gpus", 1), args.pop("num_nodes", 1)
    args = {"tensor_parallel_size": 1, "max_model_len": 8192} | args
    return vs.plan(model, gpu, workload, num_gpus=num_gpus, num_nodes=num_nodes, engine_args=vs.EngineArgs(**args))


def speed(workload, *more, **args):
    return planned(workload, *more, **args).performance


@given(st.floats(0.01, 15.0), st.sampled_from([(1024, 256), (4096, 64), (256, 1024)]))
@settings(max_examples=25, deadline=None)
def test_in_an_open_loop_what_comes_goes_out(rate, lengths):
    found = speed(vs.Workload(*lengths, request_rate=rate))

    assert found.in_flight == pytest.approx(found.requests_per_s.mid * found.e2el_ms.mid / 1e3, rel=1e-6)
    if not found.overloaded:
        assert found.requests_per_s.mid == pytest.approx(rate, rel=0.01)


@given(st.floats(0.1, 12.0))
@settings(max_examples=15, deadline=None)
def test_more_requests_per_second_make_each_slower(rate):
    light, heavy = (speed(vs.Workload(1024, 256, request_rate=number)) for number in (rate, rate * 1.3))

    assert heavy.ttft_ms.mid >= light.ttft_ms.mid * 0.999
    assert heavy.tpot_ms.mid >= light.tpot_ms.mid * 0.999
    assert heavy.ttft_percentiles_ms.p99 >= light.ttft_percentiles_ms.p99 * 0.999


def test_a_rate_that_nobody_serves_is_called_overload():
    plan = planned(vs.Workload(1024, 256, request_rate=1000.0))

    assert plan.performance.overloaded
    assert plan.performance.requests_per_s.mid < 100
    assert "overloaded" in {finding.code for finding in plan.findings}
    assert "without end" in plan.performance.ttft_ms.basis


def test_a_closed_loop_is_never_overloaded():
    assert not speed(vs.Workload(1024, 256, 2000)).overloaded


@given(
    st.integers(1, 300),
    st.sampled_from([(1024, 256), (8192, 32), (64, 2048), (1024, 1)]),
    st.none() | st.floats(0.1, 30),
)
@settings(max_examples=40, deadline=None)
def test_percentiles_rise(concurrency, lengths, rate):
    found = speed(vs.Workload(*lengths, concurrency, request_rate=rate), max_model_len=16384)

    for name in ("ttft", "tpot", "itl", "e2el"):
        spread = getattr(found, f"{name}_percentiles_ms")
        assert 0 < spread.p50 <= spread.p90 <= spread.p99


def test_percentiles_rise_where_prompts_cost_nothing():
    found = speed(vs.Workload(8192, 1024, 400, prefix_cache_hit_rate=1.0), enforce_eager=True, max_model_len=16384)

    assert found.itl_percentiles_ms.p50 <= found.itl_percentiles_ms.p99


def test_a_gap_is_a_decode_step_or_one_with_a_prompt_in_it():
    calm, busy = (speed(vs.Workload(2048, answers, 64)) for answers in (4096, 64))

    assert calm.itl_percentiles_ms.p50 == calm.itl_percentiles_ms.p90
    assert calm.itl_percentiles_ms.p50 < calm.tpot_ms.mid
    assert busy.itl_percentiles_ms.p99 > 2 * calm.itl_percentiles_ms.p50


def test_the_burst_is_slower_than_the_steady_state_and_grows_with_it():
    found = [speed(vs.Workload(1024, 256, number)) for number in (1, 16, 64)]

    assert found[0].burst_ttft_ms.mid <= found[0].ttft_ms.mid
    assert found[1].burst_ttft_ms.mid > 2 * found[1].ttft_ms.mid
    assert found[2].burst_ttft_ms.mid > 2.5 * found[1].burst_ttft_ms.mid


def test_rates_are_told_per_gpu_as_well():
    found = speed(vs.Workload(1024, 256, 32), LLAMA, num_gpus=4, tensor_parallel_size=4)

    assert found.output_tokens_per_s_per_gpu.mid == pytest.approx(found.output_tokens_per_s.mid / 4)
    assert found.total_tokens_per_s_per_gpu.high == pytest.approx(found.total_tokens_per_s.high / 4)


def test_one_answer_token_each_is_all_prompts():
    """
    64 requests of one token: each waits for the others' prompts, and no faster than prompts go.
    """
    found = speed(vs.Workload(1024, 1, 64))
    prompts_per_s = found.prefill_tokens_per_s.mid / 1024

    assert found.requests_per_s.mid == pytest.approx(prompts_per_s, rel=0.1)
    assert found.limit == "compute (prefill)"


@given(st.integers(1, 200), st.sampled_from([2, 8, 64, 512]))
@settings(max_examples=30, deadline=None)
def test_prompts_are_not_served_faster_than_the_gpu_computes(concurrency, answers):
    found = speed(vs.Workload(2048, answers, concurrency))

    assert found.requests_per_s.mid * 2048 <= found.prefill_tokens_per_s.mid * 1.2


@pytest.mark.parametrize(
    "target",
    [vs.LatencyTarget(tpot_ms=15), vs.LatencyTarget(ttft_ms=100), vs.LatencyTarget(e2el_ms=5000, tpot_ms=100)],
)
def test_the_highest_load_keeps_the_targets_and_one_more_does_not(target):
    found = speed(vs.Workload(1024, 256, 8, target=target))
    most, rate = found.max_concurrency_at_target, found.max_request_rate_at_target

    def kept(workload):
        one = speed(workload)
        return target.kept(one.ttft_ms.mid, one.tpot_ms.mid, one.e2el_ms.mid) and not one.overloaded

    assert kept(vs.Workload(1024, 256, most))
    assert not kept(vs.Workload(1024, 256, most + 1))
    assert kept(vs.Workload(1024, 256, request_rate=rate * 0.98))
    assert not kept(vs.Workload(1024, 256, request_rate=rate * 1.05))


def test_targets_that_cannot_be_kept_are_said_so():
    plan = planned(vs.Workload(1024, 256, 8, target=vs.LatencyTarget(tpot_ms=1)))

    assert plan.performance.max_concurrency_at_target == 0
    assert plan.performance.max_request_rate_at_target == 0
    assert "target-missed" in {finding.code for finding in plan.findings}


def test_an_easy_target_is_kept_until_no_more_run_at_once():
    plan = planned(vs.Workload(1024, 256, 8, target=vs.LatencyTarget(e2el_ms=1e7)), max_num_seqs=48)

    assert plan.performance.max_concurrency_at_target == 48


def test_without_targets_there_is_no_highest_load():
    found = speed(vs.Workload(1024, 256, 8))

    assert found.max_concurrency_at_target is None
    assert found.max_request_rate_at_target is None


def test_a_layout_that_keeps_the_targets_is_preferred():
    """
    Two replicas have more throughput, two ranks or stages the shorter prompt.
    """
    free, bound = (
        vs.plan(
            QWEN, H100, vs.Workload(8192, 64, 32, target=target), num_gpus=2, policy=vs.Policy(goal="throughput")
        )
        for target in (vs.LatencyTarget(), vs.LatencyTarget(ttft_ms=400))
    )  # fmt: skip

    assert free.engine_args.data_parallel_size == 2
    assert free.performance.ttft_ms.mid > 400
    assert bound.engine_args.data_parallel_size == 1
    assert bound.performance.ttft_ms.mid <= 400


class TestLoadCurve:
    def test_at_its_own_load_it_is_the_plan(self):
        plan = planned(vs.Workload(1024, 256, 24))
        (point,) = vs.load_curve(plan, [24])

        assert point.concurrency == 24
        assert point.performance == plan.performance

    def test_throughput_rises_to_a_knee_and_latency_all_the_way(self):
        curve = vs.load_curve(planned(vs.Workload(1024, 256, 24), max_num_seqs=64))
        rates = [point.performance.output_tokens_per_s.mid for point in curve]
        times = [point.performance.e2el_ms.mid for point in curve]

        assert [point.concurrency for point in curve] == [1, 2, 4, 8, 16, 24, 32, 64, 128]
        assert rates[:-1] == sorted(rates[:-1])
        assert rates[-1] == pytest.approx(rates[-2], rel=0.15)
        assert times == sorted(times)
        assert curve[-1].performance.limit == "max_num_seqs"

    def test_of_replicas_counts_the_whole_deployment(self):
        one = vs.load_curve(planned(vs.Workload(1024, 256, 8)), [8])
        two = vs.load_curve(planned(vs.Workload(1024, 256, 8), num_gpus=2, data_parallel_size=2), [16])

        assert two[0].performance.tpot_ms == one[0].performance.tpot_ms
        assert two[0].performance.in_flight == 16

    def test_of_an_open_loop_is_a_closed_one(self):
        (point,) = vs.load_curve(planned(vs.Workload(1024, 256, request_rate=2.0)), [4])

        assert point.performance.in_flight == 4

    def test_without_speed_there_is_none(self):
        unknown = attrs.evolve(H100, memory_bandwidth_bytes_per_s=None)

        assert vs.load_curve(planned(vs.Workload(), gpu=unknown)) == ()

    @pytest.mark.parametrize("wrong", [0, -3, 1.5, "8", True])
    def test_a_wrong_concurrency_is_refused(self, wrong):
        with pytest.raises(InvalidValueError, match="concurrency"):
            vs.load_curve(planned(vs.Workload()), [wrong])


class TestSettings:
    def test_pipeline_stages_take_turns(self):
        """
        One request walks through all stages; many keep them busy, so that no rank waits.
        """
        alone, many = (
            [
                speed(vs.Workload(1024, 256, number), LLAMA, num_gpus=4, tensor_parallel_size=tensor, pipeline_parallel_size=4 // tensor)
                for tensor in (4, 1)
            ]
            for number in (1, 256)
        )  # fmt: skip

        assert alone[1].tpot_ms.mid > 2 * alone[0].tpot_ms.mid
        assert many[1].tpot_ms.mid < 1.3 * many[0].tpot_ms.mid

    def test_experts_of_replicas_are_shared_with_and_without_expert_parallel(self):
        """
        Two replicas of a mixture of experts read each expert once, on one of them, and exchange tokens for it.
        """
        for expert in (False, True):
            one = planned(
                vs.Workload(1024, 256, 64), MOE, num_gpus=2, tensor_parallel_size=2, enable_expert_parallel=expert
            )
            two = planned(
                vs.Workload(1024, 256, 64), MOE, num_gpus=2, data_parallel_size=2, enable_expert_parallel=expert
            )
            experts = [
                sum(part.num_bytes for part in plan.memory.weight_parts if part.name == "experts")
                for plan in (one, two)
            ]
            assert experts[0] == experts[1]

    def test_replicas_of_a_dense_model_exchange_nothing(self):
        one = speed(vs.Workload(1024, 256, 8))
        two = speed(vs.Workload(1024, 256, 16), num_gpus=2, data_parallel_size=2)

        assert two.tpot_ms.mid == pytest.approx(one.tpot_ms.mid)

    def test_offloaded_weights_come_over_the_host_link(self):
        found = speed(vs.Workload(1024, 256, 4), cpu_offload_gb=8.0)

        assert found.limit == "host link"
        assert found.tpot_ms.mid >= 8 * 2**30 / H100.pcie_bytes_per_s * 1e3

    def test_adapters_cost_launches(self):
        plain, adapted = (speed(vs.Workload(1024, 256, 4), enable_lora=on) for on in (False, True))

        assert plain.tpot_ms.mid < adapted.tpot_ms.mid < 1.3 * plain.tpot_ms.mid

    def test_unpacking_weights_to_memory_costs_bandwidth(self):
        model = vs.load_model("Qwen/Qwen3-8B")
        packed, spilled = (
            vs.plan(
                model, H100, vs.Workload(1024, 256, 4), vllm_version="0.20.0",
                engine_args=vs.EngineArgs(quantization=method, max_model_len=2048),
            ).performance.tpot_ms.mid
            for method in ("fp8", "bitsandbytes")
        )  # fmt: skip

        assert spilled > packed

    def test_a_link_through_the_host_is_slower(self):
        direct, host = (
            vs.plan(
                LLAMA, H100, vs.Workload(1024, 256, 8), num_gpus=4, interconnect=link,
                engine_args=vs.EngineArgs(tensor_parallel_size=4, max_model_len=2048),
            ).performance
            for link in ("nvlink", "pcie")
        )  # fmt: skip

        assert host.tpot_ms.mid > direct.tpot_ms.mid
        assert host.ttft_ms.mid > 1.5 * direct.ttft_ms.mid

    def test_a_tensor_group_over_two_nodes_is_slower_than_stages(self):
        across = speed(vs.Workload(1024, 256, 8), LLAMA, num_gpus=2, num_nodes=2, tensor_parallel_size=4)
        stages = speed(
            vs.Workload(1024, 256, 8), LLAMA, num_gpus=2, num_nodes=2, tensor_parallel_size=2, pipeline_parallel_size=2
        )
        inside = speed(vs.Workload(1024, 256, 8), LLAMA, num_gpus=4, tensor_parallel_size=4)

        assert across.ttft_ms.mid > stages.ttft_ms.mid
        assert across.tpot_ms.mid > inside.tpot_ms.mid

    def test_piecewise_graphs_launch_slower(self):
        full, piecewise = (
            speed(vs.Workload(1024, 256, 4), compilation_config=config)
            for config in (None, {"cudagraph_mode": "PIECEWISE"})
        )

        assert piecewise.tpot_ms.mid > full.tpot_ms.mid

    def test_hits_without_prefix_caching_are_not_counted(self):
        workload = vs.Workload(4096, 256, 8, prefix_cache_hit_rate=0.9)
        plan = planned(workload, enable_prefix_caching=False)

        assert plan.performance.ttft_ms == speed(vs.Workload(4096, 256, 8)).ttft_ms
        assert "prefix-caching-off" in {finding.code for finding in plan.findings}

    def test_speculation_without_a_rate_gains_nothing_and_says_so(self):
        config = {"method": "ngram", "num_speculative_tokens": 3}
        plan = planned(vs.Workload(1024, 256, 8), speculative_config=config)

        assert plan.performance.tpot_ms.mid >= speed(vs.Workload(1024, 256, 8)).tpot_ms.mid
        assert "acceptance-rate-unknown" in {finding.code for finding in plan.findings}

    def test_a_draft_costs_its_passes(self):
        model = vs.load_model("deepseek-ai/DeepSeek-V3")
        found = [
            speed(
                vs.Workload(1024, 256, 4, acceptance_rate=0.01), model, vs.find_gpu("h200-sxm"), num_gpus=8,
                tensor_parallel_size=8, max_model_len=4096, speculative_config=config,
            ).tpot_ms.mid
            for config in (None, {"method": "mtp", "num_speculative_tokens": 1})
        ]  # fmt: skip

        assert found[1] > found[0]


@pytest.mark.parametrize(
    "name",
    [
        "deepseek-ai/DeepSeek-V3.2",
        "deepseek-ai/DeepSeek-V4-Flash",
        "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4",
        "Qwen/Qwen3.5-27B",
        "google/gemma-3-12b-it",
        "zai-org/GLM-5-FP8",
    ],
)
def test_every_kind_of_cache_is_read_and_longer_contexts_cost_more(name):
    model = vs.load_model(name)
    short, long = (
        vs.plan(
            model, vs.find_gpu("b200"), vs.Workload(tokens, 512, 16), num_gpus=8,
            engine_args=vs.EngineArgs(tensor_parallel_size=8, max_model_len=40_000),
        ).performance
        for tokens in (1024, 32_768)
    )  # fmt: skip

    assert 0 < short.tpot_ms.mid < long.tpot_ms.mid
    assert short.ttft_ms.mid < long.ttft_ms.mid


def test_a_window_bounds_what_a_long_context_costs():
    """
    Gemma 3 keeps five windows to one whole layer: the same layers without windows read several times as much.
    """
    model = vs.load_model("google/gemma-3-12b-it")
    whole = attrs.evolve(
        model, cache_layers=tuple(attrs.evolve(layer, window=10**6) if hasattr(layer, "window") else layer for layer in model.cache_layers),
    )  # fmt: skip

    def gap(one):
        at = [
            vs.plan(
                one, H100, vs.Workload(tokens, 64, 4), engine_args=vs.EngineArgs(max_model_len=33_000)
            ).performance.itl_percentiles_ms.p50
            for tokens in (512, 32_000)
        ]
        return at[1] - at[0]

    assert gap(whole) > 2.5 * gap(model)
