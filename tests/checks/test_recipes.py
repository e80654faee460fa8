"""
Commands as people publish them: nearly every flag is understood, and what is wrong is wrong for vLLM too.
"""

import json
import math
from pathlib import Path

import attrs
import pytest

import vllm_sizing as vs
from vllm_sizing.catalog.arguments import parse_engine_args
from vllm_sizing.catalog.flags import flag_table
from vllm_sizing.checks.command import read_command
from vllm_sizing.checks.words import read_parts
from vllm_sizing.sources.launches import parse_launches

DATA = Path(__file__).parents[1] / "data"
RECIPES = json.loads((DATA / "check" / "recipes.json").read_text())["commands"]
ASKED = json.loads((DATA / "flags" / "commands-0.33.0.json").read_text())["commands"]
TABLE = flag_table("0.33.0")
# The parser of 0.33.0 refuses the first three; the fourth it accepts.
WRONG = {
    "--rope-scaling": "removed-flag",
    "enable_fi_allreduce_fusion": "value-refused",
    "--enable-chunked-prefill true": "stray-word",
    "--api-key": "secret-in-plain-text",
}
# Not vLLM's opinion: it serves a model that nobody meant; and what our own values do not hold.
OTHERWISE = ("vllm serve", "vllm serve Qwen/Qwen3-8B --hf-overrides hello", "vllm serve m --cudagraph-capture-sizes 0")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe["source"])
def test_a_recipe_starts_one_server_and_its_faults_are_known(recipe):
    (launch,) = parse_launches(recipe["text"]).launches

    read = read_command(launch, TABLE)

    errors = {item.code for item in read.findings if item.severity == "error"}
    assert errors == {code for words, code in WRONG.items() if words in recipe["text"]}
    assert read.model
    assert read.args is not None


def test_at_least_95_percent_of_the_recipes_flags_are_understood():
    parts = [
        part
        for recipe in RECIPES
        for launch in parse_launches(recipe["text"]).launches
        for part in read_parts(launch.words, TABLE)
        if part.dest
    ]
    understood = [part for part in parts if part.use is not None or part.dest == "model"]

    assert len(parts) > 250
    assert len(understood) / len(parts) > 0.98
    assert all(part.corrected is not None or part.findings for part in parts)
    assert not [part for part in parts if any(item.code == "unknown-flag" for item in part.findings)]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked["line"][:70])
def test_what_vllm_refuses_is_an_error_and_what_it_accepts_is_none(asked):
    launches = parse_launches(asked["line"]).launches
    assert len(launches) == 1

    found = read_command(launches[0], TABLE).findings

    errors = [item for item in found if item.severity == "error" and item.code != "secret-in-plain-text"]
    assert bool(errors) is (not asked["accepted"] or asked["line"] in OTHERWISE)


@pytest.mark.parametrize(
    "asked", [asked for asked in ASKED if not asked["accepted"]], ids=lambda asked: asked["line"][:70]
)
def test_the_corrected_command_has_no_errors_left(asked):
    import shlex

    (launch,) = parse_launches(asked["line"]).launches
    read = read_command(launch, TABLE)
    if not read.corrected:
        assert [item for item in read.findings if item.code in ("refused", "default-model", "words-swallowed")]
        return

    (again,) = parse_launches(shlex.join(["vllm", "serve", *read.corrected])).launches

    assert [item for item in read_command(again, TABLE).findings if item.severity == "error"] == []


@pytest.mark.parametrize(
    "asked",
    [
        asked
        for asked in ASKED
        if asked["accepted"]
        and asked["line"].startswith("vllm serve Qwen/Qwen3-8B ")
        and asked["line"] not in OTHERWISE
    ],
    ids=lambda asked: asked["line"][:70],
)
def test_the_verdict_is_that_of_plan_with_the_same_arguments(asked, monkeypatch):
    """
    On an H100, whose defaults vLLM's own configuration gives as 1024 requests and 8192 tokens.
    """
    import shlex

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    parsed = parse_engine_args(shlex.split(asked["line"]), "0.33.0", allow_unsafe=True).engine_args
    sizes = {
        name: getattr(parsed, name) or 1
        for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    }
    tokens = parsed.max_num_batched_tokens or (16_384 if parsed.performance_mode == "throughput" else 8192)
    seqs = parsed.max_num_seqs or min(2048 if parsed.performance_mode == "throughput" else 1024, tokens)
    args = attrs.evolve(parsed, **sizes, max_model_len=parsed.max_model_len or 40_960, max_num_seqs=seqs)
    count, nodes = math.prod(sizes.values()), parsed.nnodes or 1
    try:
        planned = vs.plan(
            vs.load_model("Qwen/Qwen3-8B"),
            vs.find_gpu("h100-sxm"),
            num_gpus=-(-count // nodes),
            num_nodes=nodes,
            engine_args=args,
        )
    except vs.SizingError as error:
        planned = error

    server = vs.check_text(asked["line"], gpu="h100-sxm").servers[0]

    if isinstance(planned, vs.SizingError):
        assert server.plan is None
        assert planned.message in {item.message for item in server.findings}
    else:
        assert (server.plan.memory, server.plan.kv_cache, server.fits) == (
            planned.memory,
            planned.kv_cache,
            planned.fits,
        )
