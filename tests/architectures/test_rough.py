"""
Models of which only the size is known.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vllm_sizing as vs
from vllm_sizing.architectures import model_from_params


@given(st.floats(0.5, 2000))
def test_the_guess_has_the_size_that_was_asked_for(params_b):
    model = model_from_params(params_b)

    assert model.rough
    assert abs(model.num_parameters / 1e9 / params_b - 1) < 0.05


def test_a_rough_plan_says_so():
    plan = vs.plan(model_from_params(70), vs.find_gpu("h100-sxm"), num_gpus=4)

    assert plan.memory.weight_parts[0].quality == "rough"
    assert "model-rough" in {finding.code for finding in plan.findings}


@pytest.mark.parametrize("params_b", [0, -1, float("nan"), float("inf"), True, "8", None, 1e9])
def test_nonsense_sizes_are_refused(params_b):
    with pytest.raises(vs.InvalidValueError, match="params_b"):
        model_from_params(params_b)
