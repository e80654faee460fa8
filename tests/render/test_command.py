import re
import shutil
import subprocess

import attrs
import pytest

import vllm_sizing as vs
from tests.render import samples
from vllm_sizing.errors import InvalidValueError, SizingError, UnsupportedError
from vllm_sizing.render.argv import plan_argv, to_shell
from vllm_sizing.render.command import command
from vllm_sizing.render.script import script
from vllm_sizing.sources.command_text import split_command
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.gpu import Cluster
from vllm_sizing.specs.plan import Decision

BASH = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash to run it")
HOSTILE = (
    "./m;touch P",
    "$(touch P)",
    "`touch P`",
    "${HF_TOKEN}",
    'it\'s "so" \\ called',
    "a: b #c *?[!x] {y,z} ~",
    "模型",
    "'; touch P; '",
)


def named(name, **changes):
    return attrs.evolve(samples.fits(), model=attrs.evolve(samples.QWEN, name=name), **changes)


@pytest.fixture
def start(tmp_path):
    """
    Runs shell text in a folder where ``vllm`` shows its words.
    """
    stub = tmp_path / "bin" / "vllm"
    stub.parent.mkdir()
    stub.write_text('#!/bin/sh\nprintf "%s\\0" vllm "$@"\n')
    stub.chmod(0o755)

    def run(text, **environment):
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=tmp_path,
            env={"PATH": f"{stub.parent}:/usr/bin:/bin", "VLLM_API_KEY": "k", **environment},
            capture_output=True,
            check=True,
        )
        assert [path.name for path in tmp_path.iterdir()] == ["bin"]
        return tuple(done.stdout.decode().split("\0")[:-1])

    return run


def test_the_command_of_a_fitting_plan(golden):
    assert command(samples.fits()) == golden("sh")


def test_the_script_of_a_fitting_plan(golden):
    text = re.sub(
        r"vllm-sizing \S+ for (.*); plan [0-9a-f]{12}", r"vllm-sizing VERSION for \1; plan HASH", script(samples.fits())
    )

    assert text == golden("sh")


@pytest.mark.parametrize("name", ["m", *HOSTILE])
def test_the_command_is_the_argument_list(name):
    plan = named(name)

    assert split_command(command(plan)).words == plan_argv(plan)
    assert len(command(plan).splitlines()) == len([word for word in plan_argv(plan) if word.startswith("--")]) + 1


@BASH
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("render", [command, script])
def test_bash_hands_over_exactly_the_argument_list(name, render, start):
    plan = named(name)

    assert start(render(plan)) == plan_argv(plan)


@BASH
def test_hostile_texts_of_a_plan_stay_in_comments(start):
    bad = "x\n touch P\r\u2028$(touch P)\x1b[31m"
    plan = named(
        "m",
        decisions=tuple(
            Decision(flag=flag, value=None, reason=bad, source=bad) for flag in samples.fits().engine_args.fixed()
        ),
        cluster=Cluster(gpu=attrs.evolve(samples.H100, name=bad), num_gpus=2),
        oom_risk="low",
    )
    text = script(plan)

    assert start(text) == plan_argv(plan)
    assert text.replace("\n", "").isprintable()
    assert text.startswith("#!/usr/bin/env bash\n")


@pytest.mark.parametrize("render", [command, script])
def test_a_name_that_is_no_name_is_refused(render):
    for name in ("--host", "a\nb", samples.HOSTILE_NAME):
        with pytest.raises(InvalidValueError):
            render(named(name))


def test_every_sample_but_the_hostile_one_has_a_command(plan):
    if plan.model.name == samples.HOSTILE_NAME:
        with pytest.raises(SizingError) as error:
            command(plan)
        assert error.value.message.isprintable()
    else:
        assert to_shell(plan_argv(plan)[:3]) in command(plan)
        assert command(plan).endswith("\n")


def over_nodes(version="0.33.0", **changes):
    engine_args = EngineArgs(tensor_parallel_size=4, max_model_len=8192, **changes)
    return named(
        "m",
        engine_args=engine_args,
        requested=EngineArgs(),
        vllm_version=version,
        cluster=Cluster(gpu=samples.H100, num_gpus=2, num_nodes=2),
    )


@BASH
def test_a_plan_over_nodes_asks_the_shell_for_the_node(start):
    first = start(script(over_nodes()), MASTER_ADDR="10.0.0.1", NODE_RANK="0")
    second = start(script(over_nodes()), MASTER_ADDR="10.0.0.1", NODE_RANK="1")

    where = ("--nnodes", "2", "--node-rank", "0", "--master-addr", "10.0.0.1")
    assert first == (*plan_argv(over_nodes()), *where)
    assert second[:-1] == (*plan_argv(over_nodes()), *where[:3], "1", *where[4:])
    assert second[-1] == "--headless"
    assert start(command(over_nodes()), MASTER_ADDR="10.0.0.1", NODE_RANK="0") == first


@BASH
def test_a_script_without_a_key_serves_this_machine_only(start):
    plan = named("m")
    chosen = named(
        "m", requested=EngineArgs(extra_args=("--host", "::")), engine_args=EngineArgs(extra_args=("--host", "::"))
    )

    assert start(script(plan), VLLM_API_KEY="") == (*plan_argv(plan), "--host", "127.0.0.1")
    assert start(script(chosen), VLLM_API_KEY="") == plan_argv(chosen)


@BASH
def test_a_script_over_nodes_stops_when_the_node_is_not_named(start):
    with pytest.raises(subprocess.CalledProcessError) as error:
        start(script(over_nodes()), MASTER_ADDR="10.0.0.1")

    assert b"NODE_RANK" in error.value.stderr


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (over_nodes("0.11.0"), "  --distributed-executor-backend ray\n"),
        (over_nodes(distributed_executor_backend="ray"), "  --distributed-executor-backend ray "),
        (over_nodes(nnodes=2), '  --node-rank "$NODE_RANK" \\\n  --master-addr "$MASTER_ADDR"\n'),
        (over_nodes(nnodes=2), "  --nnodes 2 "),
    ],
)
def test_what_spans_nodes_is_said_once(plan, text):
    assert text in command(plan)
    assert command(plan).count("nnodes") + command(plan).count(" ray") == 1


@pytest.mark.parametrize("words", [("--node-rank", "1"), ("--api-server-count", "4"), ("--headless",)])
def test_what_differs_between_nodes_cannot_be_passed_to_all(words):
    with pytest.raises(UnsupportedError, match="cannot be the same on each of 2 nodes"):
        command(over_nodes(extra_args=words))


def test_nodes_that_are_asked_for_are_told_who_they_are():
    one_gpu_each = attrs.evolve(over_nodes(nnodes=4), cluster=Cluster(gpu=samples.H100, num_gpus=8))

    assert "--node-rank" in command(one_gpu_each)


@pytest.mark.parametrize("name", ["command", "html", "json", "script", "to_text"])
def test_renderers_are_functions_whatever_was_imported_before(name):
    assert callable(getattr(vs.render, name))
    assert name in dir(vs.render)


def test_an_unknown_renderer_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'nonsense'"):
        vs.render.nonsense  # noqa: B018
