import pickle

import attrs
import pytest

from vllm_sizing.errors import InvalidValueError
from vllm_sizing.specs.engine import EngineArgs, thaw

NESTED = {"b": [], "a": {}, "pairs": [["x", 1]], "object": {"y": {"x": 1}}, "none": None, "flag": True}


def test_json_objects_and_lists_stay_apart():
    assert thaw(EngineArgs(hf_overrides=NESTED).hf_overrides) == NESTED


def test_objects_deeper_than_any_setting_are_refused():
    deep = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(InvalidValueError, match="nested deeper than 64 levels"):
        EngineArgs(hf_overrides=deep)


def test_arguments_with_objects_are_values():
    engine_args = EngineArgs(hf_overrides=NESTED, cudagraph_capture_sizes=[1, 2], extra_args=["--seed", "7"])

    assert engine_args == EngineArgs(**engine_args.fixed())
    assert attrs.evolve(engine_args) == engine_args
    assert pickle.loads(pickle.dumps(engine_args)) == engine_args
    assert thaw(pickle.loads(pickle.dumps(engine_args)).hf_overrides) == NESTED
    assert hash(engine_args) == hash(EngineArgs(**engine_args.fixed()))


def test_only_what_is_set_is_fixed():
    assert EngineArgs(hf_overrides={}, enforce_eager=False).fixed() == {"enforce_eager": False, "hf_overrides": ()}


@pytest.mark.parametrize(
    "values",
    [
        {"limit_mm_per_prompt": [1]},
        {"limit_mm_per_prompt": "image=1"},
        {"hf_overrides": {"a": float("nan")}},
        {"hf_overrides": {"a": [float("inf")]}},
        {"hf_overrides": {"a": {1}}},
        {"cudagraph_capture_sizes": []},
        {"cudagraph_capture_sizes": 3},
        {"cudagraph_capture_sizes": [0]},
        {"cudagraph_capture_sizes": [True]},
        {"kv_cache_dtype_skip_layers": "0"},
        {"kv_cache_dtype_skip_layers": [""]},
        {"optimization_level": 4},
        {"optimization_level": True},
        {"optimization_level": [2]},
        {"enable_lora": 1},
        {"revision": ""},
        {"revision": 7},
        {"max_model_len": 0},
        {"max_model_len": -2},
        {"extra_args": "--seed 7"},
        {"extra_args": [7]},
    ],
)
def test_values_that_cannot_be_meant_are_refused_by_name(values):
    with pytest.raises(InvalidValueError) as error:
        EngineArgs(**values)

    (name,) = values
    assert name in error.value.message or error.value.field == "engine_args"
