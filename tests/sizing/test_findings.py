"""
What is said beside the numbers is true, and what it advises is possible.
"""

import attrs
import pytest

import vllm_sizing as vs
from vllm_sizing.units import GIB

QWEN = vs.load_model("Qwen/Qwen3-8B")


def found(code, *args, **kwargs):
    return next((one for one in vs.plan(*args, **kwargs).findings if one.code == code), None)


def test_a_layout_over_pcie_is_warned_of_only_if_somebody_asked_for_it():
    l4 = vs.find_gpu("l4")
    decided = found("slow-link", QWEN, l4, num_gpus=2)
    asked = found("slow-link", QWEN, l4, num_gpus=2, engine_args=vs.EngineArgs(tensor_parallel_size=2))
    assert decided.severity == "info"
    assert decided.hint.endswith("this one is best all the same")
    assert asked.severity == "warning"
    assert "best" not in asked.hint


@pytest.mark.parametrize(("name", "warned"), [("gaudi-3", True), ("tpu-v6e", True), ("mi300x", False), ("l4", False)])
def test_accelerators_of_which_nothing_was_measured_say_so(name, warned):
    assert (found("platform-not-measured", QWEN, vs.find_gpu(name)) is not None) is warned


def test_why_no_speed_is_predicted():
    unknown = attrs.evolve(vs.find_gpu("l4"), peak_flops={})
    slow = attrs.evolve(unknown, memory_bandwidth_bytes_per_s=None)
    assert "compute figures of l4" in found("speed-unknown", QWEN, unknown).message
    assert "memory bandwidth of l4" in found("speed-unknown", QWEN, slow).message
    weightless = attrs.evolve(QWEN, tensors=())
    assert "no layer" in found("speed-unknown", weightless, vs.find_gpu("l4")).message
    pools = found("speed-unknown", QWEN, vs.find_gpu("l4"), engine_args=vs.EngineArgs(runner="pooling"))
    assert "pools" in pools.message
    assert not pools.hint


def test_more_sequences_than_tokens_of_a_step_need_more_tokens():
    args = vs.EngineArgs(max_num_batched_tokens=2048)
    capped = found(
        "max-num-seqs-below-concurrency", QWEN, vs.find_gpu("h100-sxm"), vs.Workload(concurrency=4096), engine_args=args
    )
    assert capped.hint.startswith("raise max_num_batched_tokens")


@pytest.mark.parametrize(
    ("nodes", "args", "told"),
    [
        (1, {}, False),
        (2, {}, True),
        (2, {"distributed_executor_backend": "ray"}, False),
        (2, {"data_parallel_size": 2, "tensor_parallel_size": 1}, False),
    ],
    ids=str,
)
def test_a_command_for_several_nodes_says_what_differs(nodes, args, told):
    l4 = vs.find_gpu("l4")
    one = found("several-nodes", QWEN, l4, num_gpus=2, num_nodes=nodes, engine_args=vs.EngineArgs(**args))
    assert (one is not None) is told
    assert one is None or "2 nodes" in one.message
    assert found("several-nodes", QWEN, l4, num_gpus=2, num_nodes=2, vllm_version="0.10.0") is None


def test_a_high_risk_is_warned_of_as_a_medium_one_is():
    args = vs.EngineArgs(max_model_len=1280)
    gpu = vs.find_gpu("l4")
    risks = {}
    for hundredths in range(1, 400):
        plan = vs.plan(QWEN, gpu, engine_args=args, policy=vs.Policy(headroom_bytes=hundredths * GIB // 50))
        if plan.fits:
            risks[plan.oom_risk] = {one.code for one in plan.findings}
    assert "oom-risk-high" in risks["high"]
    assert "oom-risk-medium" in risks["medium"]
    assert not {"oom-risk-low", "oom-risk-medium"} & risks["low"]


def test_longer_requests_than_the_model_takes_cannot_be_allowed():
    long = vs.Workload(input_tokens=60_000)
    code, gpu = "workload-exceeds-max-model-len", vs.find_gpu("h100-sxm")
    assert found(code, QWEN, gpu, long).hint.endswith("; shorten them")
    short = vs.EngineArgs(max_model_len=2048)
    assert found(code, QWEN, gpu, long, engine_args=short).hint.endswith("or raise max_model_len")
