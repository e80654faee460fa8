"""
Every command of the matrix is one that its version of vLLM reads, and means the plan.
"""

import json
from pathlib import Path

import attrs
import pytest

from tests.render import matrix
from vllm_sizing.catalog.arguments import parse_engine_args
from vllm_sizing.catalog.flags import flag_table
from vllm_sizing.render.argv import plan_argv, written_args
from vllm_sizing.sources.command_text import split_command

RECORD = json.loads((Path(__file__).parents[1] / "data" / "artifacts" / "commands-0.33.0.json").read_text())
PLANS = {**matrix.newest(), **matrix.older(), **matrix.hostile()}


def test_the_matrix_is_as_large_as_promised():
    assert len(matrix.newest()) >= 200
    assert len({plan.vllm_version for plan in PLANS.values()}) == len(matrix.VERSIONS) + 1
    assert len({plan.gpu.name for plan in PLANS.values()}) >= 3


def test_every_command_of_the_matrix_passes_the_table_of_its_version_and_means_the_plan():
    for name, plan in PLANS.items():
        words = plan_argv(plan)
        parsed = parse_engine_args(words, plan.vllm_version)

        wanted = written_args(plan)
        assert parsed.model == plan.model.name, name
        # What a deployment pins beside the plan: the commit, the time to drain.
        ours = attrs.evolve(parsed.engine_args, revision=wanted.revision, extra_args=())
        assert ours == attrs.evolve(wanted, extra_args=()), name
        assert set(wanted.extra_args) <= set(words), name
        names = flag_table(plan.vllm_version).names
        assert all(word.partition("=")[0] in names or word.startswith("--no-") for word in words if word[:2] == "--")


def test_no_flag_says_what_vllm_does_anyway():
    """
    Only what was asked for, what was decided otherwise, and what the promise rests on.
    """
    promised = {"max_model_len", "gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens"}
    for name, plan in PLANS.items():
        by_vllm = {decision.flag for decision in plan.decisions if decision.source == "vLLM default"}
        written = set(written_args(plan).fixed()) - set(plan.requested.fixed())

        assert not (written & by_vllm) - promised, name
        assert "--enforce-eager" not in plan_argv(plan) or plan.requested.enforce_eager, name
        assert "--trust-remote-code" not in plan_argv(plan), name


@pytest.mark.parametrize("row", RECORD["commands"], ids=lambda row: row["line"][:80])
def test_what_vllm_itself_accepted_passes_the_table_too(row):
    """
    Verdicts of the real 0.33.0 parser and engine configuration: ``python -m tests.validation.commands``.
    """
    assert row["parser"] == "accepted"
    assert row.get("engine", "accepted") == "accepted"
    assert parse_engine_args(split_command(row["line"]).words, "0.33.0").model


def test_enough_was_asked_of_vllm():
    built = [row for row in RECORD["commands"] if "engine" in row]

    assert RECORD["vllm"] == "0.33.0"
    assert len(RECORD["commands"]) >= 200
    assert len(built) >= 200
