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
    "unknown-command-unlike-any": (["zzzzz"], 2, "There are: plan, generate, check, sweep, detect, gpus, models."),
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
    "log-lines-as-json": (["plan", *GOOD, "--json", "--log-lines"], 2, "exclude each other"),
    # Usage (2): vLLM's flags.
    "max-model-len-a-word": (["plan", *GOOD, "--max-model-len", "long"], 2, "--max-model-len is 'long'"),
    "max-model-len-zero": (["plan", *GOOD, "--max-model-len", "0"], 2, "--max-model-len is 0"),
    "max-model-len-decimal-of-1024": (["plan", *GOOD, "--max-model-len", "25.6K"], 2, "--max-model-len"),
    "max-num-seqs-negative": (["plan", *GOOD, "--max-num-seqs", "-5"], 2, "--max-num-seqs is -5"),
    "max-num-seqs-unicode-digits": (["plan", *GOOD, "--max-num-seqs", "\u0663"], 2, "digits 0 to 9"),
    "max-num-seqs-huge": (["plan", *GOOD, "--max-num-seqs", "9" * 40], 2, "no number of that size"),
    "max-num-seqs-endless": (["plan", *GOOD, "--max-num-seqs", "9" * 9000], 2, "must be an integer"),
    "tensor-parallel-size-zero": (["plan", *GOOD, "--tp", "0"], 2, "--tensor-parallel-size is 0"),
    "utilization-above-1": (["plan", *GOOD, "--gpu-memory-utilization", "1.5"], 2, "at most 1"),
    "utilization-nan": (["plan", *GOOD, "--gpu-memory-utilization", "nan"], 2, "must be a number"),
    "utilization-percent": (["plan", *GOOD, "--gpu-memory-utilization", "90%"], 2, "must be a number"),
    "dtype-unknown": (["plan", *GOOD, "--dtype", "int3"], 2, "bfloat16"),
    "kv-cache-dtype-empty": (["plan", *GOOD, "--kv-cache-dtype", ""], 2, "--kv-cache-dtype"),
    "json-broken": (["plan", *GOOD, "--speculative-config", "{"], 2, "JSON"),
    "json-not-an-object": (["plan", *GOOD, "--speculative-config", "[1]"], 2, "JSON object"),
    "json-nan": (["plan", *GOOD, "--limit-mm-per-prompt", '{"image": NaN}'], 2, "JSON"),
    "json-deep": (["plan", *GOOD, "--hf-overrides", '{"a":' * 9000], 2, "--hf-overrides"),
    "json-deep-and-closed": (["plan", *GOOD, "--hf-overrides", '{"a":' * 9000 + "1" + "}" * 9000], 2, "JSON"),
    "switch-with-value": (["plan", *GOOD, "--enforce-eager=true"], 2, "--enforce-eager"),
    "flag-that-no-plan-depends-on": (["plan", *GOOD, "--seed", "7"], 2, "--extra-arg=--seed"),
    "opposite-that-is-no-option": (["plan", *GOOD, "--disable-lora"], 2, "write --no-enable-lora"),
    "extra-arg-without-word": (["plan", *GOOD, "--extra-arg"], 2, "requires an argument"),
    # Usage (2): generate.
    "no-output-folder": (["generate", *GOOD], 2, "--output-dir"),
    "emit-unknown": (["generate", *GOOD, "-o", "out", "--emit", "jsn"], 2, "Did you mean json?"),
    "emit-one-of-several-unknown": (["generate", *GOOD, "-o", "out", "--emit", "json,scrpt"], 2, "script"),
    "emit-unlike-any": (["generate", *GOOD, "-o", "out", "--emit", "zzz"], 2, "There are: command, script"),
    "emit-empty": (["generate", *GOOD, "-o", "out", "--emit", ""], 2, "--emit ''"),
    "emit-trailing-comma": (["generate", *GOOD, "-o", "out", "--emit", "json,"], 2, "--emit ''"),
    "emit-a-path": (["generate", *GOOD, "-o", "out", "--emit", "../json"], 2, "json"),
    "gpus-two-names": (["gpus", "l4", "l40"], 2, "unexpected extra argument"),
    "gpus-empty-name": (["gpus", ""], 2, "''"),
    "models-empty-pattern": (["models", ""], 2, "''"),
    "detect-with-a-word": (["detect", "all"], 2, "unexpected extra argument"),
    # Usage (2): sweep.
    "sweep-without-model": (["sweep", "--gpu", "l4"], 2, "Missing MODEL"),
    "sweep-gpu-with-number": (["sweep", "x", "--gpu", "l4,4xl4"], 2, "--gpus 4"),
    "sweep-gpu-empty": (["sweep", "x", "--gpu", "l4,"], 2, "''"),
    "sweep-gpus-zero": (["sweep", *GOOD, "--gpus", "1,0"], 2, "'0' is not a whole number"),
    "sweep-load-a-word": (["sweep", *GOOD, "-c", "8,many"], 2, "'many'"),
    "sweep-limit-a-word": (["sweep", *GOOD, "--max-num-seqs", "auto,none"], 2, "'none'"),
    "sweep-price-without-name": (["sweep", *GOOD, "--price", "2.5"], 2, "h100-sxm=2.50"),
    "sweep-price-negative": (["sweep", *GOOD, "--price", "l4=-1"], 2, "above 0"),
    "sweep-price-a-word": (["sweep", *GOOD, "--price", "l4=cheap"], 2, "'cheap'"),
    "sweep-rank-unknown": (["sweep", *GOOD, "--rank", "cost"], 2, "usd-per-hour"),
    "sweep-target-zero": (["sweep", *GOOD, "--target-tokens-per-s", "0"], 2, "above 0"),
    "sweep-jobs-zero": (["sweep", *GOOD, "--jobs", "0"], 2, "at least 1"),
    "sweep-two-outputs": (["sweep", *GOOD, "--json", "--json-lines"], 2, "--json-lines excludes"),
    "sweep-page-into-a-folder": (["sweep", *GOOD, "--gpus", "1", "-c", "1", "--html", "folder"], 1, "is a folder"),
    "sweep-page-without-name": (["sweep", *GOOD, "--html", ""], 2, "not a path"),
    "sweep-unknown-option": (["sweep", *GOOD, "--max-model-length", "1"], 2, "--max-model-len"),
    # Errors (1): what vLLM would refuse.
    "sweep-gpu-unknown": (["sweep", "x", "--gpu", "l4,h10-sxm"], 1, "did you mean h100-sxm"),
    "sweep-price-of-another-gpu": (["sweep", *GOOD, "--price", "l40s=1"], 1, "the GPUs to try are l4"),
    "sweep-price-of-an-unknown-gpu": (["sweep", *GOOD, "--price", "l5=1"], 1, "'l5'"),
    "sweep-sizes-that-never-meet": (["sweep", *GOOD, "-tp", "3", "--gpus", "2"], 1, "--gpus is 2, which no product"),
    "sweep-all-refused": (["sweep", *GOOD, "-q", "magic"], 1, "--quantization is 'magic'"),
    "sweep-too-long": (["sweep", *GOOD, "--max-model-len", "1M"], 1, "40,960"),
    "sweep-version-unknown": (["sweep", *GOOD, "--vllm-version", "latest"], 1, "--vllm-version is 'latest'"),
    "max-model-len-above-the-models": (["plan", *GOOD, "--max-model-len", "1M"], 1, "40,960"),
    "tensor-parallel-size-of-3": (["plan", *GOOD, "--gpus", "3", "--tp", "3"], 1, "3"),
    "more-ranks-than-gpus": (["plan", *GOOD, "--tp", "2"], 1, "--tensor-parallel-size"),
    "more-replicas-than-gpus": (["plan", *GOOD, "--gpus", "2", "-dp", "8"], 1, "--gpus 8"),
    "kv-cache-dtype-unknown": (["plan", *GOOD, "--kv-cache-dtype", "fp3"], 1, "fp3"),
    "quantization-unknown": (["plan", *GOOD, "--quantization", "magic"], 1, "magic"),
    "capture-sizes-no-list": (
        ["plan", *GOOD, "--compilation-config", '{"cudagraph_capture_sizes": 5}'],
        1,
        "--cudagraph-capture-sizes is 5; it must be a list",
    ),
    "vllm-version-not-one": (["plan", *GOOD, "--vllm-version", "latest"], 1, "--vllm-version is 'latest'"),
    "vllm-version-too-new": (["plan", *GOOD, "--vllm-version", "99.0.0"], 1, "0.33.0"),
    "vllm-version-too-old": (["plan", *GOOD, "--vllm-version", "0.1.0"], 1, "0.10.0"),
    "flag-of-a-later-version": (
        ["plan", *GOOD, "--vllm-version", "0.10.0", "--performance-mode", "balanced"],
        1,
        "it came with",
    ),
    "extra-arg-unknown": (["plan", *GOOD, "--extra-arg=--sed"], 1, "--seed"),
    "extra-arg-that-is-planned": (["plan", *GOOD, "--extra-arg=--max-model-len=9"], 1, "max-model-len"),
    "extra-arg-with-a-secret": (["plan", *GOOD, "--extra-arg=--api-key=x"], 1, "VLLM_API_KEY"),
    "extra-arg-with-a-line-break": (["plan", *GOOD, "--extra-arg=--seed\n7"], 1, "line break"),
    # Errors (1) of what is named.
    "gpu-unknown": (["plan", "x", "--gpu", "h10-sxm"], 1, "did you mean h100-sxm"),
    "gpu-ambiguous": (["plan", "x", "--gpu", "a100"], 1, "a100-sxm-80gb"),
    "gpu-hostile": (["plan", "x", "--gpu", "$(reboot); ../../etc/passwd"], 1, "not in the catalog"),
    "gpus-command-unknown-name": (["gpus", "h10-sxm"], 1, "did you mean h100-sxm"),
    "model-unknown": (["plan", "Qwen/Qwen3-8", "--gpu", "l4"], 1, "Qwen/Qwen3-8"),
    "model-like-an-option": (["plan", "--gpu", "l4", "--", "-model"], 1, "looks like an option"),
    "model-is-a-folder-without-config": (["plan", "./folder", "--gpu", "l4"], 1, "config.json"),
    "model-is-a-missing-file": (["plan", "./none.json", "--gpu", "l4"], 1, "does not exist"),
    "model-is-not-json": (["plan", "./broken.yaml", "--gpu", "l4"], 1, "JSON"),
    "model-is-a-url": (["plan", "https://example.org/x", "--gpu", "l4"], 1, "Hub id"),
    "revision-of-a-local-model": (["plan", "./folder", "--gpu", "l4", "--revision", "main"], 1, "--revision"),
    "revision-hostile": (["plan", "a/b", "--gpu", "l4", "--revision", "../x"], 1, "--revision"),
    "output-folder-is-a-file": (["generate", *GOOD, "-o", "empty.yaml"], 1, "there is a file"),
    "output-folder-below-a-file": (["generate", *GOOD, "-o", "empty.yaml/x"], 1, "there is a file"),
    "output-folder-empty": (["generate", *GOOD, "-o", ""], 2, "--output-dir"),
    "output-folder-with-a-null": (["generate", *GOOD, "-o", "a\0b"], 2, "not a path"),
    "output-folder-too-long": (["generate", *GOOD, "-o", "x" * 5000], 1, "too long"),
    "profile-missing": (["plan", "--profile", "none.yaml"], 1, "No such file"),
    "profile-is-a-folder": (["plan", "--profile", "folder"], 1, "Is a directory"),
    "profile-empty-name": (["plan", "--profile", ""], 2, "--profile"),
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
        ("revision is 'x'; it must be a commit", "--revision is 'x'; it must be a commit"),
        ("the revision is x", "the revision is x"),
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
