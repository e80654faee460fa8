"""
What the planner decides, keeps and refuses.
"""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vllm_sizing as vs
from vllm_sizing.units import GIB

QWEN = vs.load_model("Qwen/Qwen3-8B")
MOE = vs.load_model("Qwen/Qwen3-30B-A3B")
LLAMA = vs.load_model("meta-llama/Llama-3.1-70B-Instruct")
H100 = vs.find_gpu("h100-sxm")
A100 = vs.find_gpu("a100-sxm-80gb")
T4 = vs.find_gpu("t4")


def codes(plan):
    return {finding.code for finding in plan.findings}


def decision(plan, flag):
    return next(found for found in plan.decisions if found.flag == flag)


@pytest.mark.parametrize(
    ("version", "gpu", "utilization", "tokens", "seqs"),
    [
        ("0.33.0", H100, 0.92, 8192, 1024),
        ("0.19.1", H100, 0.9, 8192, 1024),
        ("0.20.0", A100, 0.92, 2048, 256),
        ("0.33.0", vs.find_gpu("b200"), 0.92, 16384, 1024),
        ("0.27.0", vs.find_gpu("b200"), 0.92, 8192, 1024),
        ("0.33.0", vs.find_gpu("gb10"), 0.92, 2048, 256),
        ("0.32.0", vs.find_gpu("gb10"), 0.92, 8192, 1024),
        ("0.33.0", vs.find_gpu("l4"), 0.92, 2048, 256),
    ],
)
def test_defaults_are_those_of_the_release_and_the_gpu(version, gpu, utilization, tokens, seqs):
    args = vs.plan(QWEN, gpu, vllm_version=version, engine_args=vs.EngineArgs(max_model_len=4096)).engine_args

    assert (args.gpu_memory_utilization, args.max_num_batched_tokens, args.max_num_seqs) == (utilization, tokens, seqs)


def test_a_length_that_does_not_fit_is_shortened_to_one_that_does():
    """
    70B on two H100 leaves little: less than the model's 131,072 tokens, and that safely.
    """
    plan = vs.plan(LLAMA, H100, num_gpus=2)

    assert plan.fits
    assert plan.oom_risk == "low"
    assert 1280 <= plan.engine_args.max_model_len < 131072
    assert plan.engine_args.max_model_len % 1024 == 0
    assert "131,072 would not fit" in decision(plan, "max_model_len").reason


def test_a_length_the_user_fixed_is_kept_even_if_it_does_not_fit():
    args = vs.EngineArgs(max_model_len=131072, tensor_parallel_size=2)
    plan = vs.plan(LLAMA, H100, num_gpus=2, engine_args=args)

    assert not plan.fits
    assert plan.oom_risk == "high"
    assert plan.engine_args.max_model_len == 131072
    assert plan.shortfall_bytes > 0
    assert plan.kv_cache.max_model_len_that_fits < 131072
    assert decision(plan, "max_model_len").source == "user"


def test_auto_length_is_the_longest_that_fits():
    """
    -1 is vLLM's ``auto``: one token more would be refused.
    """
    args = vs.EngineArgs(max_model_len=-1, tensor_parallel_size=2)
    plan = vs.plan(LLAMA, H100, num_gpus=2, engine_args=args)
    length = plan.engine_args.max_model_len
    longer = attrs.evolve(args, max_model_len=length + 16)

    assert plan.fits
    assert not vs.plan(LLAMA, H100, num_gpus=2, engine_args=longer).fits


def test_concurrency_beyond_the_default_raises_max_num_seqs():
    plan = vs.plan(QWEN, A100, vs.Workload(256, 64, 400))

    assert plan.engine_args.max_num_seqs == 400
    assert "400" in decision(plan, "max_num_seqs").reason


def test_more_gpus_are_used_as_one_or_as_replicas():
    """
    One request at a time wants one fast replica, many want several.
    """
    fast = vs.plan(QWEN, H100, vs.Workload(1024, 256, 1), num_gpus=4, policy=vs.Policy(goal="latency"))
    wide = vs.plan(QWEN, H100, vs.Workload(1024, 256, 800), num_gpus=4, policy=vs.Policy(goal="throughput"))

    assert fast.num_gpus == wide.num_gpus == 4
    assert fast.engine_args.data_parallel_size == 1
    assert wide.engine_args.data_parallel_size > 1


def test_heads_that_do_not_divide_leave_gpus_idle_and_say_so():
    """
    40 heads on three GPUs: three replicas or one rank and stages, never a third of a head.
    """
    plan = vs.plan(vs.load_model("Qwen/Qwen3-14B"), H100, num_gpus=3)

    assert 40 % plan.engine_args.tensor_parallel_size == 0
    assert plan.num_gpus <= 3


def test_two_nodes_are_used():
    plan = vs.plan(LLAMA, H100, num_gpus=1, num_nodes=2)

    assert plan.fits
    assert plan.num_gpus == 2
    assert plan.engine_args.tensor_parallel_size == 1


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({"tensor_parallel_size": 3}, "tensor_parallel_size"),
        ({"tensor_parallel_size": 16}, "tensor_parallel_size"),
        ({"max_model_len": 50000}, "max_model_len"),
        ({"kv_cache_dtype": "fp7"}, "kv_cache_dtype"),
        ({"kv_cache_dtype": "fp8_ds_mla"}, "kv_cache_dtype"),
        ({"max_num_seqs": 512, "max_num_batched_tokens": 256}, "max_num_batched_tokens"),
        ({"enable_chunked_prefill": False, "max_num_batched_tokens": 4096}, "max_num_batched_tokens"),
        ({"enable_expert_parallel": True}, "enable_expert_parallel"),
        ({"decode_context_parallel_size": 2, "tensor_parallel_size": 4}, "decode_context_parallel_size"),
        ({"decode_context_parallel_size": 3, "tensor_parallel_size": 4}, "decode_context_parallel_size"),
        ({"speculative_config": {"method": "mtp", "num_speculative_tokens": 1}}, "speculative_config"),
        ({"speculative_config": {"method": "eagle", "model": "x"}}, "speculative_config"),
        ({"quantization": "awq"}, "quantization"),
        ({"mm_encoder_only": True}, "mm_encoder_only"),
    ],
)
def test_what_vllm_refuses_is_refused_by_name(args, field):
    with pytest.raises(vs.UnsupportedError) as caught:
        vs.plan(QWEN, H100, num_gpus=8, engine_args=vs.EngineArgs(**args))

    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_bfloat16_needs_ampere():
    plan = vs.plan(QWEN, T4, num_gpus=4)

    assert plan.engine_args.dtype == "float16"
    with pytest.raises(vs.UnsupportedError, match="float16"):
        vs.plan(QWEN, T4, num_gpus=4, engine_args=vs.EngineArgs(dtype="bfloat16"))


@pytest.mark.parametrize("version", ["", "x", "0.34.0", "1.0", "0.7.3", None, "0"])
def test_unknown_versions_are_refused(version):
    with pytest.raises(vs.InvalidValueError, match="vllm_version"):
        vs.plan(QWEN, H100, vllm_version=version)


def test_old_versions_are_planned_by_the_oldest_rules_and_say_so():
    plan = vs.plan(QWEN, H100, vllm_version="0.9.2")

    assert "vllm-version-old" in codes(plan)


@pytest.mark.parametrize(
    "arguments",
    [
        {"model": "Qwen/Qwen3-8B"},
        {"gpu": "h100"},
        {"workload": 3},
        {"engine_args": {"max_model_len": 3}},
        {"num_gpus": 0},
        {"num_gpus": 1.5},
        {"num_nodes": -1},
        {"interconnect": "string"},
    ],
)
def test_calls_that_cannot_be_meant_are_refused(arguments):
    with pytest.raises(vs.InvalidValueError):
        vs.plan(**{"model": QWEN, "gpu": H100, **arguments})


def test_what_does_not_fit_gets_verified_ways_out():
    plan = vs.plan(LLAMA, H100)

    assert not plan.fits
    assert "does-not-fit-weights" in codes(plan)
    changes = [alternative.change for alternative in plan.alternatives]
    assert "2 GPUs" in changes
    assert all(alternative.kv_cache_bytes > 0 for alternative in plan.alternatives)


def test_siblings_that_exist_are_proposed():
    sibling = vs.load_model("Qwen/Qwen3-32B-AWQ")
    plan = vs.plan(vs.load_model("Qwen/Qwen3-32B"), vs.find_gpu("l40s"), siblings=(sibling,))

    assert not plan.fits
    assert any(alternative.model_name == sibling.name for alternative in plan.alternatives)


def test_a_policy_may_forbid_quantization():
    forbidden = vs.Policy(allow_quantization=False, allow_kv_cache_dtype=False)
    plan = vs.plan(vs.load_model("Qwen/Qwen3-32B"), vs.find_gpu("l40s"), policy=forbidden)

    assert all(alternative.engine_args.quantization is None for alternative in plan.alternatives)


@pytest.mark.parametrize("quantization", [True, False])
@pytest.mark.parametrize("cache", [True, False])
def test_no_alternative_does_what_the_policy_forbids(quantization, cache):
    policy = vs.Policy(allow_quantization=quantization, allow_kv_cache_dtype=cache)
    plan = vs.plan(vs.load_model("Qwen/Qwen3-32B"), vs.find_gpu("l40s"), policy=policy)
    changed = [alternative.engine_args for alternative in plan.alternatives]

    assert any(args.quantization for args in changed) is quantization
    assert any(args.quantization and args.kv_cache_dtype == "fp8" for args in changed) is (quantization and cache)
    assert cache or not any(args.kv_cache_dtype == "fp8" for args in changed)


@pytest.mark.parametrize("utilization", [0.77, 0.79])
def test_fewer_sequences_are_proposed_where_states_for_some_are_sure(utilization):
    """
    Between nothing and some states at the low end: no count to propose, then one that fits.
    """
    model = vs.load_model("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16")
    args = vs.EngineArgs(gpu_memory_utilization=utilization, max_num_seqs=256, max_model_len=2048)
    plan = vs.plan(model, H100, engine_args=args)
    proposed = [alternative.engine_args.max_num_seqs for alternative in plan.alternatives]

    assert 0 < plan.kv_cache.max_num_seqs_limit < 256
    assert any(8 < number < 256 for number in proposed) is (plan.memory.kv_cache_bytes_interval.low > 0)


def test_sequences_are_capped_at_the_tokens_of_a_batch():
    plan = vs.plan(QWEN, H100, engine_args=vs.EngineArgs(max_num_batched_tokens=512, max_model_len=4096))

    assert plan.engine_args.max_num_seqs == 512
    assert "capped at max_num_batched_tokens" in decision(plan, "max_num_seqs").reason


def test_headroom_is_kept_free():
    """
    What must stay free for others cannot be planned with.
    """
    fixed = vs.EngineArgs(gpu_memory_utilization=0.98, max_model_len=4096)
    free = vs.plan(QWEN, H100, engine_args=fixed)
    tight = vs.plan(QWEN, H100, engine_args=fixed, policy=vs.Policy(headroom_bytes=8 * GIB))

    assert free.fits
    assert not tight.fits


def test_the_users_overhead_replaces_the_modelled_parts():
    plan = vs.plan(QWEN, H100, policy=vs.Policy(overhead_bytes=3 * GIB))
    memory = plan.memory

    assert memory.kv_cache_bytes == memory.requested_bytes - memory.weights_bytes_per_gpu - 3 * GIB
    assert memory.kv_cache_bytes_interval.low == memory.kv_cache_bytes


def test_a_busy_gpu_is_an_error():
    """
    vLLM compares what it requests with what is free, and refuses to start.
    """
    busy = attrs.evolve(H100, free_memory_bytes=40 * GIB)
    plan = vs.plan(QWEN, busy, engine_args=vs.EngineArgs(gpu_memory_utilization=0.9))

    assert not plan.fits
    assert "does-not-fit-not-free" in codes(plan)


@given(free=st.integers(32 * GIB, 79 * GIB), headroom=st.integers(0, 4 * GIB))
def test_a_share_that_nobody_fixed_is_what_is_free(free, headroom):
    """
    Never more than is free, and never more than vLLM's own default.
    """
    busy = attrs.evolve(H100, free_memory_bytes=free)
    plan = vs.plan(QWEN, busy, policy=vs.Policy(headroom_bytes=headroom))

    assert plan.fits
    assert plan.oom_risk == "low"
    assert plan.memory.requested_bytes < free - headroom
    assert plan.engine_args.gpu_memory_utilization <= 0.92


def test_the_whole_gpu_is_never_free():
    """
    The process itself holds some of it when vLLM looks.
    """
    plan = vs.plan(QWEN, H100, engine_args=vs.EngineArgs(gpu_memory_utilization=1.0))

    assert not plan.fits
    assert "does-not-fit-not-free" in codes(plan)


def test_copies_of_the_cache_are_pointed_out():
    plan = vs.plan(MOE, H100, num_gpus=8, engine_args=vs.EngineArgs(tensor_parallel_size=8))

    assert "kv-cache-replicated" in codes(plan)


def test_offloaded_weights_leave_the_gpu():
    kept = vs.plan(QWEN, H100)
    moved = vs.plan(QWEN, H100, engine_args=vs.EngineArgs(cpu_offload_gb=8))

    saved = kept.memory.weights_bytes_per_gpu - moved.memory.weights_bytes_per_gpu
    assert saved == moved.memory.offloaded_bytes_per_gpu
    rounding = kept.memory.loading_bytes_per_gpu - moved.memory.loading_bytes_per_gpu
    assert moved.memory.kv_cache_bytes - kept.memory.kv_cache_bytes == saved + rounding


def test_the_last_offloaded_parameter_goes_over_the_limit():
    """
    A published log of Llama-3.1-8B with 12 GiB: 12.08 GiB went (14.99 GiB loaded, 2.91 GiB left on the GPU).
    """
    model = vs.load_model("meta-llama/Llama-3.1-8B-Instruct")
    plan = vs.plan(model, vs.find_gpu("rtx-3090"), engine_args=vs.EngineArgs(cpu_offload_gb=12), vllm_version="0.17.1")

    assert round(plan.memory.offloaded_bytes_per_gpu / GIB, 2) == 12.08
    assert round((plan.memory.weights_bytes_per_gpu + plan.memory.loading_bytes_per_gpu) / GIB, 2) == 2.91


def test_everything_can_be_offloaded_but_what_is_no_layer():
    """
    Embeddings, last norm and head stay.
    """
    plan = vs.plan(QWEN, H100, engine_args=vs.EngineArgs(cpu_offload_gb=100))

    assert 0 < plan.memory.weights_bytes_per_gpu < 3 * GIB


@pytest.mark.parametrize(
    ("model", "gpu", "gpus"),
    [
        ("mistralai/Mistral-Nemo-Instruct-2407", "rtx-a4000", 2),
        ("Qwen/Qwen3-30B-A3B", "rtx-4090", 3),
        ("LGAI-EXAONE/EXAONE-4.0-32B", "rtx-4070-super", 8),
    ],
)
def test_an_open_length_is_no_riskier_than_the_workloads_own(model, gpu, gpus):
    """
    Where only the middle of the estimates holds longer requests, they are not worth a failed start.
    """
    question = {"model": vs.load_model(model), "gpu": vs.find_gpu(gpu), "num_gpus": gpus}
    risks = ["low", "medium", "high"]
    left_open = vs.plan(**question)
    shortest = vs.plan(**question, engine_args=vs.EngineArgs(max_model_len=1280))
    assert left_open.fits
    assert risks.index(left_open.oom_risk) <= risks.index(shortest.oom_risk) < 2
