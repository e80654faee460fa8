"""
Whatever words are given: an exit code of ours, at most one line of error, never a traceback.
"""

import click
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_sizing.cli import main
from vllm_sizing.cli.app import COMMANDS

COMMAND = main.get_command(click.Context(main), "plan")
OPTIONS = sorted({name for param in COMMAND.params for name in (*param.opts, *param.secondary_opts)} - {"model"})
NASTY = ["", " ", "0", "-1", "1", "2", "8", "1e3", "1e400", "nan", "inf", "None", "auto", "true", "32k", "1.5K"]
NASTY += ["9" * 19, "9" * 5000, "\u0663", "\u00b2", "1_000", "0x10", "{}", "[]", "[1]", '{"a": 1}', '{"a":' * 200]
NASTY += ['{"method": "ngram", "num_speculative_tokens": 3}', '{"image": 1e400}', "null", "-", "--", "a\0b"]
NASTY += [
    "\udcff",
    "\x1b[2J",
    "\u202ex",
    "fp8",
    "../..",
    "/dev/null",
    ".",
    "l4",
    "4xl4",
    "0.10.0",
    "$(x)",
    "=",
    "x" * 9000,
]


def check(words):
    result = CliRunner().invoke(main, words)

    assert result.exit_code in {0, 1, 2, 3}, (words, result.exception)
    assert "internal error" not in result.stderr, (words, result.stderr)
    assert "Traceback" not in result.stderr
    if result.exit_code in {1, 2}:
        assert result.stdout == ""
        lines = [line for line in result.stderr.splitlines() if not line.startswith("Note: ")]
        assert len(lines) == 1, (words, lines)
        assert lines[0].startswith("Error: ")


values = st.sampled_from(NASTY) | st.text(max_size=20)
pairs = st.tuples(st.sampled_from(OPTIONS), values)


@settings(max_examples=150)
@given(given=st.lists(pairs, min_size=1, max_size=3))
def test_any_options_of_plan(given):
    check(["plan", "Qwen/Qwen3-8B", "--gpu", "h100-sxm", "--gpus", "2", *(word for pair in given for word in pair)])


@settings(max_examples=100)
@given(words=st.lists(st.sampled_from([*COMMANDS, *OPTIONS, "-h", "--version"]) | values, min_size=1, max_size=5))
def test_any_words(words):
    check([word for word in words if word not in {"detect", "generate"}] or ["gpus"])
