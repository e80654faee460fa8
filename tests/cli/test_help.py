"""
Help: every command and option has one, the documents name them all, and reading it costs little.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import attrs
import click
import pytest

import vllm_sizing
from vllm_sizing.cli import main
from vllm_sizing.cli.app import COMMANDS
from vllm_sizing.specs.engine import EngineArgs

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
# Options of the contract that are not vLLM's own.
CONTRACT = [
    "--revision",
    "--trust-remote-code",
    "--params-b",
    "--gpu",
    "--gpus",
    "--nodes",
    "--vram-gb",
    "--interconnect",
    "--input-tokens",
    "--output-tokens",
    "--concurrency",
    "--request-rate",
    "--goal",
    "--target-ttft-ms",
    "--target-tpot-ms",
    "--headroom-gb",
    "--overhead-gb",
    "--vllm-version",
    "--extra-arg",
    "--json",
    "--profile",
]
HIDDEN = ["--prompt-tokens", "--gen-tokens", "--batching-mode", "--tp"]


def command_of(name):
    return main.get_command(click.Context(main), name)


def spellings(command):
    return {name for param in command.params for name in (*param.opts, *param.secondary_opts)}


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run, name, flag):
    result = run(name, flag)

    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: vllm-sizing {name} ")
    assert result.stderr == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name):
    assert command_of(name).help.split("\n\n")[0].strip() == COMMANDS[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name):
    bare = [param.name for param in command_of(name).params if isinstance(param, click.Option) and not param.help]

    assert bare == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_json(name):
    assert "--json" in spellings(command_of(name))


@pytest.mark.parametrize("name", ["plan", "generate"])
def test_the_options_of_the_contract_are_there(name):
    assert set(CONTRACT) | set(HIDDEN) <= spellings(command_of(name))


@pytest.mark.parametrize("name", ["plan", "generate"])
def test_every_engine_argument_is_an_option(name):
    fields = {field.name for field in attrs.fields(EngineArgs)}

    assert fields <= {param.name for param in command_of(name).params}


def test_old_spellings_work_but_are_not_shown(run):
    shown = set(re.findall(r"--[a-z-]+", run("plan", "--help").stdout))

    assert not shown & set(HIDDEN)
    assert {"--input-tokens", "--output-tokens", "--goal", "--tensor-parallel-size"} <= shown


def test_help_is_divided_into_groups(run):
    titles = re.findall(r"^([A-Z].*):$", run("plan", "--help").stdout, flags=re.MULTILINE)

    assert titles[:4] == ["Model", "Hardware", "Workload", "Policy"]
    assert titles[-1] == "Output"
    assert len([title for title in titles if title.endswith("in vLLM's flags")]) == 6


def test_help_is_no_wider_than_80_columns(run):
    for name in COMMANDS:
        assert max(map(len, run(name, "--help").stdout.splitlines())) <= 80


def test_every_command_is_documented():
    page = PAGE.read_text()

    for name in COMMANDS:
        assert f"vllm-sizing {name}" in page
    assert ".. click:: vllm_sizing.cli:main" in page


@pytest.mark.parametrize("code", ["0", "1", "2", "3", "130"])
def test_every_exit_code_is_documented(code):
    assert f"| {code} |" in PAGE.read_text()


def test_every_artifact_is_documented():
    from vllm_sizing.render.artifacts import ARTIFACTS

    page = PAGE.read_text()
    for word, artifact in ARTIFACTS.items():
        assert f"`{word}`" in page
        assert f"`{artifact.file}`" in page


def test_the_version_is_the_packages(run):
    assert run("--version").stdout == f"vllm-sizing {vllm_sizing.__version__}\n"


def test_without_words_the_help_is_shown_as_a_usage_error(run):
    result = run()

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Commands:" in result.stderr


def test_a_caller_may_keep_the_process(run):
    assert main.main(["--version"], standalone_mode=False) == 0


def test_commands_complete(run_process, monkeypatch):
    assert complete(run_process, monkeypatch, "vllm-sizing ") == list(COMMANDS)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("plan --max-num-b", "--max-num-batched-tokens"),
        ("plan --gpu H100-s", "h100-sxm"),
        ("plan qwen/qwen3-32b-a", "Qwen/Qwen3-32B-AWQ"),
        ("plan --goal l", "latency"),
        ("gpus rtx-40", "rtx-4090"),
        ("sweep m --gpu H100-s", "h100-sxm"),
        ("sweep m --max-num-seqs a", "auto"),
    ],
)
def test_words_complete(run_process, monkeypatch, line, word):
    assert word in complete(run_process, monkeypatch, f"vllm-sizing {line}")


def complete(run_process, monkeypatch, line):
    monkeypatch.setenv("_VLLM_SIZING_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    found = run_process().stdout.decode().split()
    return [word.removeprefix("plain,") for word in found]


def modules_after(env, *words):
    """
    What a process has loaded when the command line ends.
    """
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        f"sys.argv[1:] = {list(words)!r}\n"
        "from vllm_sizing.cli import main\n"
        "main()\n"
    )
    quiet = {name: value for name, value in env.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", code], env=quiet, capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_the_help_loads_no_command(python_env):
    loaded = modules_after(python_env, "--help")

    assert not loaded & {f"vllm_sizing.cli.{name}" for name in COMMANDS}
    assert not loaded & {"attrs", "attr", "cattrs", "rich", "yaml", "huggingface_hub", "pynvml"}


def test_a_plan_as_json_loads_nothing_heavy(python_env):
    loaded = modules_after(python_env, "plan", "Qwen/Qwen3-8B", "--gpu", "h100-sxm", "--json")

    assert "vllm_sizing.sizing.planner" in loaded
    assert not loaded & {"cattrs", "rich", "yaml", "huggingface_hub", "pynvml", "asyncio", "subprocess"}
    assert "vllm_sizing.cli.engine" not in loaded
