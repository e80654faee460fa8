"""
A search's result: what it says, how wide it is, and that no name can break it.
"""

import json

import jsonschema
import pytest
from rich.cells import cell_len

from tests import schema
from tests.render import results, samples
from vllm_sizing.render.search import offer_to_dict, search_json, search_text
from vllm_sizing.serialize import plan_to_dict
from vllm_sizing.specs.workload import Workload


@pytest.fixture(params=results.RESULTS)
def result(request):
    return results.RESULTS[request.param]()


@pytest.mark.parametrize("name", results.RESULTS)
def test_text(name, golden):
    assert search_text(results.RESULTS[name]()) == golden("txt")


def test_text_narrow(golden):
    assert search_text(results.found(), width=40) == golden("txt")


@pytest.mark.parametrize("width", [40, 56, 66, 80, 120])
def test_no_line_but_the_command_is_wider_than_the_page(result, width):
    text = search_text(result, width=width)
    if result.best:
        text = text.rpartition("\n\n")[0]

    assert max(map(cell_len, text.splitlines())) <= width


def test_no_name_steers_the_terminal(result):
    assert all(line.isprintable() for line in search_text(result).splitlines())
    assert search_text(result, ascii_only=True).isascii()


def test_a_command_that_ascii_cannot_write_is_not_written():
    plan = results.samples.fits()
    named = results.asked(plan, served_model_name="模")
    plan = results.attrs.evolve(named, engine_args=named.requested)

    text = search_text(results.result([results.offer(1, plan)]), ascii_only=True)

    assert text.endswith("No command: ASCII cannot write it.\n")


def test_colour_marks_words_and_adds_none(result):
    plain = search_text(result)
    colour = search_text(result, color=True)

    assert "\x1b[" in colour
    assert "\x1b[" not in plain


def test_the_first_line_is_the_answer():
    assert search_text(results.found()).startswith("CHEAPEST: 2 x h100-sxm, TP 2, 5.00 USD per hour")
    tokens = search_text(results.result([results.offer()], rank="usd_per_million_tokens"))
    assert tokens.startswith("CHEAPEST TOKENS:")
    pools = results.offer(usd_per_million_tokens=None)
    assert search_text(results.result([pools], rank="usd_per_million_tokens")).startswith("CHEAPEST:")
    assert search_text(results.missed()).startswith("NOTHING MEETS THE TARGETS: the nearest is 2 x h100-sxm")
    assert search_text(results.nothing_fits()).startswith("NOTHING FITS: the nearest is")
    assert "although there is memory enough" in search_text(results.nothing_fits(shortfall=0)).replace("\n", " ")
    assert search_text(results.result()).startswith("NOTHING FOUND")


def test_what_has_no_price_and_no_speed_is_shown_without():
    plan = results.attrs.evolve(samples.fits(), performance=None)
    text = search_text(results.result([results.offer(1, plan, None)]))

    assert text.startswith("CHEAPEST: 2 x h100-sxm, TP 2, no price of h100-sxm is known")
    assert "      -         -        -" in text


def test_why_tells_what_is_nearest_to_its_limit_and_what_binds():
    assert "very likely, TPOT at 33 % of its limit; bound by memory bandwidth" in whole(
        search_text(results.found(), width=150)
    )
    blind = results.attrs.evolve(samples.fits(), performance=None)
    assert "speed unknown" in whole(search_text(results.result([results.offer(1, blind)])))
    free = results.attrs.evolve(samples.fits(), workload=Workload())
    assert "; very likely; bound by" in whole(search_text(results.result([results.offer(1, free)])))


def whole(text):
    """
    The words of a text, wherever lines broke.
    """
    return " ".join(text.split())


def test_nodes_and_experts_are_told():
    plan = samples.fits()
    cluster = results.attrs.evolve(plan.cluster, num_nodes=2)
    args = results.attrs.evolve(plan.engine_args, enable_expert_parallel=True, pipeline_parallel_size=2)
    plan = results.attrs.evolve(plan, cluster=cluster, engine_args=args)

    assert "4 x h100-sxm on 2 nodes, TP 2, PP 2, EP" in search_text(results.result([results.offer(1, plan)]))


def test_a_long_front_is_thinned_to_its_ends():
    text = search_text(results.found(), most=2)

    assert "12 more in JSON" in text


def test_json_has_every_offer_with_its_plan_and_its_command(result):
    data = json.loads(search_json(result))

    assert [offer["number"] for offer in data["best"]] == [offer.number for offer in result.best]
    assert len(data["front"]) == len(result.front)
    assert (data["closest"] is None) == (result.closest is None)
    for written, offer in zip(data["best"], result.best, strict=True):
        assert written == json.loads(json.dumps(offer_to_dict(offer)))
        assert written["plan"] == json.loads(json.dumps(plan_to_dict(offer.plan)))
        assert written["command"]
        assert written["meets"] is True
    assert search_json(result).isascii()


def test_the_json_is_as_the_schema_says(result):
    jsonschema.Draft202012Validator(schema.sweep_schema()).validate(json.loads(search_json(result)))


def test_the_schema_in_the_reference_is_the_one_of_the_classes():
    """
    If this fails: ``python -m tests.schema``.
    """
    jsonschema.Draft202012Validator.check_schema(schema.sweep_schema())
    assert schema.SWEEP_PLACE.read_text() == schema.text(schema.sweep_schema())
