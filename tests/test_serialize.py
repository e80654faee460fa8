"""
Plain data and back: nothing is lost, and what is wrong is said all at once, each fault with its place.
"""

import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.render import samples
from vllm_sizing.errors import InvalidValueError
from vllm_sizing.serialize import plan_from_dict, plan_to_dict, request_from_dict, request_to_dict
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.request import PlanRequest, Policy
from vllm_sizing.specs.workload import LatencyTarget, Workload

ROOT = Path(__file__).parents[1]
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
COUNTS = st.none() | st.integers(1, 10**9)


@st.composite
def requests(draw):
    return PlanRequest(
        model=draw(st.text(min_size=1)),
        revision=draw(st.none() | st.text()),
        gpu=draw(st.text(min_size=1)),
        num_gpus=draw(COUNTS),
        num_nodes=draw(st.integers(1, 64)),
        params_b=draw(st.none() | st.floats(0.1, 2000)),
        workload=Workload(
            draw(st.integers(1, 10**6)),
            draw(st.integers(1, 10**6)),
            draw(st.integers(1, 10**4)),
            request_rate=draw(st.none() | st.floats(0.01, 1e4)),
            target=LatencyTarget(ttft_ms=draw(st.none() | st.floats(1, 1e5))),
        ),
        engine_args=EngineArgs(
            max_model_len=draw(st.just(-1) | COUNTS),
            tensor_parallel_size=draw(COUNTS),
            enable_prefix_caching=draw(st.none() | st.booleans()),
            gpu_memory_utilization=draw(st.none() | st.floats(0.01, 1.0)),
            speculative_config=draw(st.none() | st.dictionaries(st.text(), JSON_VALUES, max_size=4)),
            cudagraph_capture_sizes=draw(st.none() | st.lists(st.integers(1, 512), min_size=1, max_size=4)),
            extra_args=draw(st.lists(st.text(), max_size=3)),
        ),
        policy=Policy(
            goal=draw(st.sampled_from(["balanced", "latency", "throughput"])),
            headroom_bytes=draw(st.integers(0, 2**40)),
            overhead_bytes=draw(COUNTS),
            allow_quantization=draw(st.booleans()),
        ),
    )


@given(request=requests())
def test_a_request_reads_back_as_itself(request):
    assert request_from_dict(request_to_dict(request)) == request


@given(request=requests())
def test_a_request_is_plain_data(request):
    """
    Such as YAML without tags can write and read.
    """
    data = request_to_dict(request)

    assert yaml.safe_load(yaml.safe_dump(data, allow_unicode=False)) == data


def test_what_is_left_open_is_left_out():
    assert request_to_dict(PlanRequest(model="m"))["workload"] == {
        "input_tokens": 1024,
        "output_tokens": 256,
        "concurrency": 1,
        "prefix_cache_hit_rate": 0.0,
    }
    assert "engine_args" not in request_to_dict(PlanRequest(model="m"))


def test_an_empty_object_that_was_given_is_kept():
    request = PlanRequest(model="m", engine_args=EngineArgs(limit_mm_per_prompt={}))

    assert request_to_dict(request)["engine_args"] == {"limit_mm_per_prompt": {}}


@pytest.mark.parametrize("name", samples.PLANS)
def test_a_plan_reads_back_as_itself(name):
    plan = samples.PLANS[name]()

    assert plan_from_dict(plan_to_dict(plan, full=True)) == plan


@pytest.mark.parametrize("value", [None, True, 3, 0.5, "fp8", (1, 2), (("a", 1), ("b", 2)), ()])
def test_the_value_of_a_decision_reads_back(value):
    plan = samples.fits()
    plan = attrs.evolve(plan, decisions=(attrs.evolve(plan.decisions[0], value=value),))

    assert plan_from_dict(plan_to_dict(plan, full=True)) == plan


def test_an_object_as_the_value_of_a_decision_reads_back():
    plan = samples.fits()
    config = plan.engine_args.compilation_config
    plan = attrs.evolve(plan, decisions=(attrs.evolve(plan.decisions[0], value=config),))
    data = plan_to_dict(plan, full=True)

    assert data["decisions"][0]["value"] == {"cudagraph_capture_sizes": [1, 2, 4], "pass_config": {}}
    assert plan_from_dict(data) == plan


def test_a_plan_without_its_tensors_is_not_read():
    with pytest.raises(InvalidValueError, match="full=True"):
        plan_from_dict(plan_to_dict(samples.fits()))


def faults(data):
    with pytest.raises(InvalidValueError) as refused:
        request_from_dict(data)
    assert "\n" not in refused.value.message
    return refused.value.message.split(" | ")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({}, "this key is missing; add it @ $.model"),
        ({"model": 3}, "3 is not text @ $.model"),
        ({"model": None}, "None is not text @ $.model"),
        ({"model": "m", "num_gpus": "2"}, "'2' is not an integer @ $.num_gpus"),
        ({"model": "m", "num_gpus": True}, "True is not an integer @ $.num_gpus"),
        ({"model": "m", "num_gpus": 2.0}, "2.0 is not an integer @ $.num_gpus"),
        ({"model": "m", "params_b": "8"}, "'8' is not a number @ $.params_b"),
        ({"model": "m", "params_b": True}, "True is not a number @ $.params_b"),
        (
            {"model": "m", "policy": {"allow_quantization": "no"}},
            "'no' is not true or false @ $.policy.allow_quantization",
        ),
        ({"model": "m", "workload": [1]}, "[1] is not an object with keys and values @ $.workload"),
        ({"model": "m", "workload": None}, "None is not an object with keys and values @ $.workload"),
        (
            {"model": "m", "workload": {"input_tokens": 0}},
            "input_tokens is 0; it must be an integer of at least 1 @ $.workload.input_tokens",
        ),
        (
            {"model": "m", "engine_args": {"extra_args": "--seed 7"}},
            "'--seed 7' is not a list @ $.engine_args.extra_args",
        ),
        ({"model": "m", "engine_args": {"extra_args": [7]}}, "7 is not text @ $.engine_args.extra_args[0]"),
        ({"model": "m", "gpuu": "l4"}, "unknown key 'gpuu': did you mean 'gpu'? @ $"),
        ({"model": "m", "num-gpus": 2}, "unknown key 'num-gpus': did you mean 'num_gpus'? @ $"),
        (
            {"model": "m", "max-model-len": 2},
            "unknown key 'max-model-len': did you mean 'engine_args.max_model_len'? @ $",
        ),
        (
            {"model": "m", "workload": {"concurency": 2}},
            "unknown key 'concurency': did you mean 'concurrency'? @ $.workload",
        ),
        (
            {"model": "m", "workload": {"target": {"zzzzz": 2}}},
            "unknown key 'zzzzz': the keys here are ttft_ms, tpot_ms, e2el_ms @ $.workload.target",
        ),
        (
            {"model": "m", "policy": {"goal": "fast"}},
            "goal is 'fast'; it must be one of balanced, latency, throughput @ $.policy.goal",
        ),
    ],
)
def test_a_fault_names_the_value_and_the_place(data, fault):
    assert faults(data) == [fault]


@pytest.mark.parametrize("data", [[], "model: m", None, 3])
def test_data_that_is_no_object_is_refused(data):
    (fault,) = faults(data)

    assert fault.endswith(" is not an object with keys and values @ $")


def test_all_faults_are_told_at_once():
    told = faults(
        {
            "model": 1,
            "workload": {"input_tokens": 0, "output_tokens": "x", "speed": 1},
            "engine_args": {"max_model_len": 0, "block_size": -1, "limit_mm_per_prompt": 3},
            7: 8,
        }
    )

    assert [fault.rpartition(" @ ")[2] for fault in told] == [
        "$.model",
        "$.workload.input_tokens",
        "$.workload.output_tokens",
        "$.workload",
        "$.engine_args.max_model_len",
        "$.engine_args.limit_mm_per_prompt",
        "$.engine_args.block_size",
        "$",
    ]


def test_the_error_names_the_first_field():
    with pytest.raises(InvalidValueError) as refused:
        request_from_dict({"model": "m", "workload": {"input_tokens": 0}})

    assert refused.value.field == "workload.input_tokens"


def test_long_and_hostile_values_are_shortened_and_quoted():
    (fault,) = faults({"model": "m", "num_gpus": "\x1b[31m" + "x" * 1000})

    assert len(fault) < 100
    assert fault.isprintable()


def test_faults_in_a_plan_have_their_place_too():
    data = plan_to_dict(samples.fits(), full=True)
    data["memory"]["weight_parts"][1]["num_bytes"] = "much"
    data["model"]["cache_layers"].append({"type": "Nothing"})
    data["model"]["cache_layers"].append("FullAttention")
    data["gpu"] = data["cluster"]["gpu"] | {"compute_capability": [9]}
    data["cluster"]["gpu"]["compute_capability"] = [9]

    with pytest.raises(InvalidValueError) as refused:
        plan_from_dict(data)

    assert "'much' is not an integer @ $.memory.weight_parts[1].num_bytes" in refused.value.message
    assert "'Nothing' is not the type of a cache layer; these are FullAttention, " in refused.value.message
    assert "@ $.model.cache_layers[1] | None is not the type of a cache layer" in refused.value.message
    assert "@ $.cluster.gpu.compute_capability" in refused.value.message


def test_writing_a_plan_loads_no_cattrs(python_env):
    code = (
        f"import sys; sys.path.append({str(ROOT)!r});"
        "from tests.render import samples; from vllm_sizing.render.json import json;"
        "json(samples.fits()); assert not {'cattrs', 'rich', 'yaml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env=python_env, check=True)
