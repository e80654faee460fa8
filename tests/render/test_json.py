"""
JSON for programs: names of the API, finite, ASCII, as the schema says.
"""

import json as stdlib
import math

import attrs
import jsonschema
import pytest

from tests import schema
from tests.render import samples
from vllm_sizing.errors import InvalidValueError
from vllm_sizing.render.json import json
from vllm_sizing.serialize import plan_from_dict

VALIDATOR = jsonschema.Draft202012Validator(schema.plan_schema())


@pytest.mark.parametrize("name", ["fits", "does-not-fit"])
def test_json(name, golden):
    assert json(samples.PLANS[name]()) == golden("json")


def test_the_schema_in_the_reference_is_the_one_of_the_classes():
    """
    If this fails: ``python -m tests.schema``.
    """
    assert schema.PLACE.read_text() == schema.text(schema.plan_schema())


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema.plan_schema())


@pytest.mark.parametrize("full", [False, True])
def test_every_plan_is_as_the_schema_says(plan, full):
    VALIDATOR.validate(stdlib.loads(json(plan, full=full)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.update(surprise=1),
        lambda data: data["memory"].update(surprise=1),
        lambda data: data.pop("kv_cache"),
        lambda data: data["memory"].update(total_bytes="80 GB"),
        lambda data: data["performance"]["ttft_ms"].pop("low"),
        lambda data: data["decisions"][0].update(flag=None),
    ],
)
def test_the_schema_refuses_what_a_plan_is_not(spoil):
    data = stdlib.loads(json(samples.fits()))
    spoil(data)

    assert not VALIDATOR.is_valid(data)


def test_names_and_values_are_those_of_the_api():
    plan = samples.fits()
    data = stdlib.loads(json(plan))

    assert data["fits"] is plan.fits
    assert data["num_gpus"] == plan.num_gpus
    assert data["gpu"]["memory_bytes"] == plan.gpu.memory_bytes
    assert data["memory"]["kv_cache_bytes"] == plan.memory.kv_cache_bytes
    assert data["kv_cache"]["size_tokens_interval"]["high"] == plan.kv_cache.size_tokens_interval.high
    assert data["engine_args"]["compilation_config"] == {
        "cudagraph_capture_sizes": [1, 2, 4],
        "pass_config": {},
    }


def test_the_verdict_stands_first():
    assert list(stdlib.loads(json(samples.fits())))[:2] == ["fits", "oom_risk"]


def test_the_tensors_are_there_only_if_asked_for():
    plan = samples.fits()

    assert "tensors" not in stdlib.loads(json(plan))["model"]
    assert len(stdlib.loads(json(plan, full=True))["model"]["tensors"]) == len(plan.model.tensors)


def test_written_in_full_it_reads_back_as_the_same_plan(plan):
    assert plan_from_dict(stdlib.loads(json(plan, full=True))) == plan


def test_equal_plans_give_equal_text_that_ends_its_line():
    assert json(samples.hybrid()) == json(samples.hybrid())
    assert json(samples.hybrid()).endswith("}\n")


def test_it_is_ascii_whatever_the_names(plan):
    text = json(plan)

    assert text.isascii()
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_that_json_lacks_is_refused(number):
    plan = samples.fits()
    plan = attrs.evolve(plan, kv_cache=attrs.evolve(plan.kv_cache, max_concurrency=number))

    with pytest.raises(InvalidValueError, match="must be finite"):
        json(plan)
