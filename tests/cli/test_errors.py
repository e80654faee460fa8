"""
Bad input: one line that names the fault and the way out, the right exit code, and nothing else.
"""

import os
import re
from pathlib import Path

import pytest

from vllm_sizing.cli.faults import as_options
from vllm_sizing.errors import SizingError

# A model and a GPU with which everything else is right.
GOOD = ("Qwen/Qwen3-8B", "--gpu", "l4")

# What is wrong: the words after `vllm-sizing`, the exit code, what the line must say.
CASES = {
    # Usage (2): commands and options.
    "unknown-command": (["plna"], 2, "Did you mean plan?"),
    "unknown-command-unlike-any": (["zzzzz"], 2, "There are: plan, generate, detect, gpus, models."),
    "empty-command": ([""], 2, "No such command ''"),
    "unknown-option-of-the-program": (["--verison"], 2, "--version"),
    "no-model": (["plan"], 2, "Missing MODEL"),
    "no-model-but-options": (["plan", "--gpu", "l4"], 2, "Missing MODEL"),
    "two-models": (["plan", *GOOD, "another"], 2, "unexpected extra argument"),
    "unknown-option": (["plan", *GOOD, "--max-model-length", "1"], 2, "--max-model-len"),
    "option-without-value": (["plan", *GOOD, "--max-model-len"], 2, "requires an argument"),
    "flag-with-value": (["plan", *GOOD, "--json=yes"], 2, "--json"),
    "empty-model": (["plan", ""], 2, "''"),
    "blank-model": (["plan", "  "], 2, "'  '"),
    "model-with-a-line-break": (["plan", "a\nError: b"], 2, r"a\nError: b"),
    "model-with-an-escape-sequence": (["plan", "\x1b[31mred"], 2, r"\x1b[31mred"),
    "model-with-a-null": (["plan", "a\0b"], 2, r"a\x00b"),
    "model-that-is-not-utf8": (["plan", "a\udcffb"], 2, r"a\udcffb"),
    "very-long-model": (["plan", "x" * 100_000, "--gpu", "l4"], 1, "xxx"),
    # Usage (2): what stands behind them.
    "gpus-not-a-number": (["plan", *GOOD, "--gpus", "two"], 2, "'two'"),
    "gpus-zero": (["plan", *GOOD, "--gpus", "0"], 2, "at least 1"),
    "gpus-negative": (["plan", *GOOD, "--gpus", "-1"], 2, "at least 1"),
    "gpus-fraction": (["plan", *GOOD, "--gpus", "1.5"], 2, "'1.5'"),
    "gpus-underscore": (["plan", *GOOD, "--gpus", "1_0"], 2, "'1_0'"),
    "gpus-unicode-digits": (["plan", *GOOD, "--gpus", "\u0664"], 2, "at least 1"),
    "gpus-superscript": (["plan", *GOOD, "--gpus", "\u00b2"], 2, "at least 1"),
    "gpus-huge": (["plan", *GOOD, "--gpus", "9" * 5000], 2, "at least 1"),
    "nodes-empty": (["plan", *GOOD, "--nodes", ""], 2, "''"),
    "gpu-empty": (["plan", "x", "--gpu", ""], 2, "''"),
    "gpu-zero-of-them": (["plan", "x", "--gpu", "0xl4"], 2, "1xl4"),
    "gpu-number-behind": (["plan", "x", "--gpu", "l4x2"], 2, "2xl4"),
    "gpu-counts-contradict": (["plan", "x", "--gpu", "4xl4", "--gpus", "2"], 2, "--gpus 2 contradict"),
    "vram-zero": (["plan", *GOOD, "--vram-gb", "0"], 2, "above 0"),
    "vram-negative": (["plan", *GOOD, "--vram-gb", "-24"], 2, "'-24'"),
    "vram-nan": (["plan", *GOOD, "--vram-gb", "nan"], 2, "'nan'"),
    "vram-infinite": (["plan", *GOOD, "--vram-gb", "inf"], 2, "'inf'"),
    "vram-overflowing": (["plan", *GOOD, "--vram-gb", "1e400"], 2, "'1e400'"),
    "vram-with-unit": (["plan", *GOOD, "--vram-gb", "24GB"], 2, "'24GB'"),
    "vram-of-an-exabyte": (["plan", *GOOD, "--vram-gb", "1e12"], 2, "for one GPU"),
    "headroom-negative": (["plan", *GOOD, "--headroom-gb", "-1"], 2, "at least 0"),
    "overhead-a-word": (["plan", *GOOD, "--overhead-gb", "lots"], 2, "'lots'"),
    "interconnect-unknown": (["plan", *GOOD, "--interconnect", "infiniband"], 2, "'nvlink'"),
    "goal-unknown": (["plan", *GOOD, "--goal", "speed"], 2, "'throughput'"),
    "batching-mode-unknown": (["plan", *GOOD, "--batching-mode", "fast"], 2, "'balanced'"),
    "input-tokens-zero": (["plan", *GOOD, "--input-tokens", "0"], 2, "at least 1"),
    "input-tokens-fraction": (["plan", *GOOD, "--input-tokens", "1.5"], 2, "25.6k"),
    "input-tokens-unicode-digits": (["plan", *GOOD, "--input-tokens", "\u0661\u0662"], 2, "32k"),
    "output-tokens-huge": (["plan", *GOOD, "--output-tokens", "1000T"], 2, "2**40"),
    "gen-tokens-a-word": (["plan", *GOOD, "--gen-tokens", "many"], 2, "'many'"),
    "concurrency-negative": (["plan", *GOOD, "-c", "-3"], 2, "at least 1"),
    "request-rate-zero": (["plan", *GOOD, "--request-rate", "0"], 2, "above 0"),
    "ttft-nan": (["plan", *GOOD, "--target-ttft-ms", "NaN"], 2, "above 0"),
    "tpot-negative": (["plan", *GOOD, "--target-tpot-ms", "-1"], 2, "above 0"),
    "params-zero": (["plan", "x", "--gpu", "l4", "--params-b", "0"], 2, "above 0"),
    "revision-empty": (["plan", *GOOD, "--revision", ""], 2, "''"),
    # Errors (1) of what is named on it.
    "gpu-unknown": (["plan", "x", "--gpu", "h10-sxm"], 1, "did you mean h100-sxm"),
    "gpu-ambiguous": (["plan", "x", "--gpu", "a100"], 1, "a100-sxm-80gb"),
    "gpu-hostile": (["plan", "x", "--gpu", "$(reboot); ../../etc/passwd"], 1, "not in the catalog"),
    "gpus-command-unknown-name": (["gpus", "h10-sxm"], 1, "did you mean h100-sxm"),
    "profile-missing": (["plan", "--profile", "none.yaml"], 1, "No such file"),
    "profile-is-a-folder": (["plan", "--profile", "folder"], 1, "Is a directory"),
    "profile-empty-name": (["plan", "--profile", ""], 1, "cannot be read"),
    "profile-empty": (["plan", "--profile", "empty.yaml"], 1, "keys and values"),
    "profile-not-yaml": (["plan", "--profile", "broken.yaml"], 1, "not usable YAML"),
    "profile-binary": (["plan", "--profile", "binary.yaml"], 1, "not usable YAML"),
    "profile-other-version": (["plan", "--profile", "future.yaml"], 1, "profile_version 99"),
    "profile-without-version": (["plan", "--profile", "unversioned.yaml"], 1, "profile_version"),
    "profile-unknown-key": (["plan", "--profile", "misspelt.yaml"], 1, "did you mean 'num_gpus'?"),
    "profile-wrong-type": (["plan", "--profile", "mistyped.yaml"], 1, "num_gpus"),
    "profile-bomb": (["plan", "--profile", "bomb.yaml"], 1, "aliases"),
    "profile-python": (["plan", "--profile", "python.yaml"], 1, "not usable YAML"),
}

PROFILES = {
    "empty.yaml": b"",
    "broken.yaml": b"model: [",
    "binary.yaml": bytes(range(256)),
    "future.yaml": b"profile_version: 99\nmodel: x",
    "unversioned.yaml": b"model: x",
    "misspelt.yaml": b"profile_version: 1\nmodel: x\nnum_gpu: 2",
    "mistyped.yaml": b"profile_version: 1\nmodel: x\nnum_gpus: two",
    "bomb.yaml": b"profile_version: 1\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
    "python.yaml": b"profile_version: 1\nmodel: !!python/object/apply:os.system [reboot]",
}


@pytest.fixture(autouse=True)
def _files():
    Path("folder").mkdir()
    for name, data in PROFILES.items():
        Path(name).write_bytes(data)


def everything():
    return sorted(str(path) for path in Path().rglob("*"))


@pytest.mark.parametrize(("words", "code", "said"), CASES.values(), ids=CASES)
def test_bad_input_is_told_in_one_line(run, words, code, said):
    before = everything()

    result = run(*words)

    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr), result.stderr
    assert result.stderr.rstrip("\n").isprintable()
    assert len(result.stderr) < 1100
    assert said in result.stderr
    assert "internal error" not in result.stderr
    assert everything() == before


@pytest.mark.parametrize("name", ["unknown-command", "gpus-unicode-digits", "gpu-unknown", "profile-python"])
def test_bad_input_is_told_alike_by_a_process(run, run_process, name):
    words, code, _ = CASES[name]

    result = run_process(*words)

    assert result.returncode == code
    assert result.stdout == b""
    assert result.stderr.decode().splitlines() == run(*words).stderr.splitlines()


def test_a_bug_is_told_in_one_line(run, monkeypatch):
    def broken():
        raise KeyError("x")

    monkeypatch.setattr("vllm_sizing.catalog.gpus.all_gpus", broken)

    result = run("gpus")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: internal error: KeyError('x'); please report it")
    assert result.stderr.count("\n") == 1


def test_a_bug_is_shown_on_request(run, monkeypatch):
    def broken():
        raise KeyError("x")

    monkeypatch.setattr("vllm_sizing.catalog.gpus.all_gpus", broken)
    monkeypatch.setenv("VLLM_SIZING_DEBUG", "1")

    assert isinstance(run("gpus").exception, KeyError)


def test_an_interrupt_is_quiet(run, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("vllm_sizing.catalog.gpus.all_gpus", interrupted)

    result = run("gpus")

    assert result.exit_code == 130
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_long_message_keeps_its_front_and_its_way_out(run, monkeypatch):
    def failing():
        raise SizingError("front " + "x" * 5000 + " way out")

    monkeypatch.setattr("vllm_sizing.catalog.gpus.all_gpus", failing)

    stderr = run("gpus").stderr

    assert stderr.startswith("Error: front ")
    assert stderr.endswith(" way out\n")


@pytest.mark.parametrize(
    ("library", "command_line"),
    [
        ("max_model_len is 0; it must be positive", "--max-model-len is 0; it must be positive"),
        ("fits with tensor_parallel_size=2.", "fits with --tensor-parallel-size 2."),
        ('or with quantization="fp8"', "or with --quantization fp8"),
        ("set enforce_eager=True, or enforce_eager=False", "set --enforce-eager, or --no-enforce-eager"),
        ("num_gpus is 9; give memory_bytes", "--gpus is 9; give --vram-gb"),
        ("name a gpu, for example gpu=h100-sxm", "name a gpu, for example --gpu h100-sxm"),
        ("config.json: text_config.max_model_len is 3", "config.json: text_config.max_model_len is 3"),
        ("unknown key 'max_model_len' @ $.engine_args", "unknown key 'max_model_len' @ $.engine_args"),
        ("rope_theta=10000 in config.json", "rope_theta=10000 in config.json"),
        ("the dtype of the model", "the dtype of the model"),
    ],
)
def test_messages_speak_of_options(library, command_line):
    assert as_options(library) == command_line


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_profile_is_told(run):
    Path("secret.yaml").write_bytes(b"")
    Path("secret.yaml").chmod(0)

    result = run("plan", "--profile", "secret.yaml")

    assert result.exit_code == 1
    assert "Permission denied" in result.stderr
