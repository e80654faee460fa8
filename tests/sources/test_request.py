"""
A request is answered by what its names mean.
"""

import attrs
import pytest

import vllm_sizing as vs
from vllm_sizing.sources.gpus import DetectedGpu, Detection

QWEN = "Qwen/Qwen3-8B"
H100 = vs.find_gpu("h100-sxm")


def ask(**more):
    return vs.plan_request(vs.PlanRequest(model=QWEN, **{"gpu": "h100-sxm", **more}))


def test_the_answer_is_that_of_plan():
    workload, policy, args = vs.Workload(concurrency=8), vs.Policy(goal="latency"), vs.EngineArgs(max_num_seqs=16)

    found = ask(num_gpus=2, workload=workload, policy=policy, engine_args=args, vllm_version="0.20.0")

    assert found == vs.plan(
        vs.load_model(QWEN),
        H100,
        workload,
        num_gpus=2,
        policy=policy,
        engine_args=args,
        vllm_version="0.20.0",
    )


def test_memory_of_the_request_replaces_the_catalogs():
    assert ask(memory_bytes=40 * 2**30).memory.total_bytes == 40 * 2**30


def test_a_size_is_planned_without_reading_the_model():
    plan = vs.plan_request(vs.PlanRequest(model="no/such", params_b=8, gpu="h100-sxm"))

    assert plan.model.rough
    assert plan.model.name == "no/such"


def test_other_checkpoints_of_the_catalog_are_proposed():
    plan = vs.plan_request(vs.PlanRequest(model="Qwen/Qwen3-32B", gpu="rtx-5090"))

    assert not plan.fits
    assert {other.model_name for other in plan.alternatives} - {"Qwen/Qwen3-32B"}


@pytest.mark.parametrize(
    ("args", "version", "said"),
    [
        ({"extra_args": ("--sed", "7")}, "0.33.0", "--seed"),
        ({"extra_args": ("--max-model-len", "7")}, "0.33.0", "max_model_len"),
        ({"extra_args": ("--api-key", "x")}, "0.33.0", "VLLM_API_KEY"),
        ({"extra_args": ("word",)}, "0.33.0", "belongs to no flag"),
        ({"performance_mode": "balanced"}, "0.10.0", "it came with"),
        ({"max_model_len": -1}, "0.10.0", "since 0.14.0"),
        ({"all2all_backend": "pigeon"}, "0.33.0", "allows"),
    ],
)
def test_what_that_version_would_refuse_is_refused_before_the_model_is_read(args, version, said):
    request = vs.PlanRequest(model="no/such", gpu="h100-sxm", engine_args=vs.EngineArgs(**args), vllm_version=version)

    with pytest.raises(vs.UnsupportedError) as caught:
        vs.plan_request(request)
    assert said in caught.value.message


def test_words_that_the_version_knows_are_passed_on():
    assert ask(engine_args=vs.EngineArgs(extra_args=("--seed", "7"))).engine_args.extra_args == ("--seed", "7")


def test_a_misspelt_gpu_is_told_before_the_model_is_read():
    with pytest.raises(vs.UnknownNameError, match="h10-sxm"):
        vs.plan_request(vs.PlanRequest(model="no/such", gpu="h10-sxm"))


@pytest.fixture
def machine(monkeypatch):
    """
    Two H100 with another process on the second.
    """
    free = (80 * 10**9, 30 * 10**9)
    gpus = tuple(
        DetectedGpu(index=index, uuid=str(index), product_name="", gpu=attrs.evolve(H100, free_memory_bytes=num_bytes))
        for index, num_bytes in enumerate(free)
    )
    found = Detection(gpus=gpus, source="NVML", driver_version="", cuda_version="")
    monkeypatch.setattr("vllm_sizing.sources.gpus.detect_machine", lambda: found)


@pytest.mark.parametrize("auto", ["auto", " AUTO "])
def test_auto_takes_every_gpu_and_its_free_memory(machine, auto):
    plan = ask(gpu=auto)

    assert plan.cluster.num_gpus == 2
    assert plan.gpu.free_memory_bytes == 30 * 10**9


def test_memory_of_the_request_replaces_what_was_free(machine):
    gpu = ask(gpu="auto", memory_bytes=40 * 2**30).gpu

    assert (gpu.memory_bytes, gpu.free_memory_bytes) == (40 * 2**30, None)


def test_more_gpus_than_there_are_is_refused(machine):
    with pytest.raises(vs.InvalidValueError, match="num_gpus is 3, but this machine has 2"):
        ask(gpu="auto", num_gpus=3)
