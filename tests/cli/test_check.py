"""
``vllm-sizing check``: outputs, exit codes, and files that are none.
"""

import json

import pytest

GOOD = "vllm serve Qwen/Qwen3-8B --max-model-len 16k\n"
WRONG = "vllm serve Qwen/Qwen3-8B --max-model-len 16k --swap-space 4\n"
WARNED = "vllm serve Qwen/Qwen3-8B --max-model-len 16k --enforce-eager\n"
BIG = "vllm serve Qwen/Qwen3-32B --swap-space 4\n"


@pytest.fixture
def file(tmp_path):
    def file(text):
        path = tmp_path / "work" / "serve.sh"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return file


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (GOOD, ["--gpu", "l4"], 0),
        (WARNED, ["--gpu", "l4"], 0),
        (WARNED, ["--gpu", "l4", "--strict"], 1),
        (WRONG, ["--gpu", "l4"], 1),
        (GOOD, [], 1),
        ("echo x\n", ["--gpu", "l4"], 1),
        (BIG, ["--gpu", "l4"], 3),
        (GOOD, ["--gpu", "x9000"], 1),
        (GOOD, ["--gpu", "l4", "--json", "--sarif"], 2),
        (GOOD, ["--gpu", "2xl4", "--gpus", "4"], 2),
        (GOOD, ["--gpu", "l4", "--vllm-version", "9.9"], 1),
        (GOOD, ["--gpu", "l4", "--log", "missing.log"], 1),
    ],
)
@pytest.mark.parametrize("output", [[], ["--json"], ["--sarif"]])
def test_the_exit_code_tells_what_was_found(run, file, text, options, code, output):
    words = [word for word in output if word not in options]

    result = run("check", file(text), *options, *words)

    assert result.exit_code == (2 if {"--json", "--sarif"} <= {*options, *words} else code)
    if not result.stdout:
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1


def test_json_has_the_names_of_the_api(run, file):
    data = json.loads(run("check", file(WRONG), "--gpu", "2xl4", "--json").stdout)

    assert list(data) == ["fits", "worst", "source", "kind", "servers", "findings"]
    server = data["servers"][0]
    assert (server["num_gpus"], server["fits"], server["gpu"]) == (2, True, "l4")
    assert server["plan"]["kv_cache"]["size_tokens"] > 0
    assert {"code": "removed-flag", "severity": "error", "line": 1}.items() <= server["findings"][0].items()
    assert server["corrected"][:3] == ["vllm", "serve", "Qwen/Qwen3-8B"]


def test_sarif_names_file_rule_and_line(run, file):
    path = file("#!/bin/sh\n" + WRONG)

    data = json.loads(run("check", path, "--gpu", "l4", "--sarif").stdout)

    (tool,) = data["runs"]
    (result,) = [result for result in tool["results"] if result["ruleId"] == "removed-flag"]
    assert result["level"] == "error"
    place = result["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": str(path)}, "region": {"startLine": 2}}
    assert tool["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "removed-flag"


def test_the_report_ends_with_the_command_and_a_count(run, file):
    lines = run("check", file(WRONG), "--gpu", "l4").stdout.splitlines()

    assert lines[0].startswith("FITS with ")
    end = lines.index("vllm serve Qwen/Qwen3-8B --max-model-len 16k")
    assert lines[end + 2].startswith("1 server in")


def test_standard_input_and_a_log(run_process, file):
    log = file("Model loading took 15.27 GiB memory and 1 seconds\n")

    done = run_process("check", "-", "--gpu", "l4", "--log", log, input=GOOD.encode())

    assert done.returncode == 0
    assert b"as predicted" in done.stdout


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"\x00\x01",
        b"x" * 4_000_001,
        b"services: {a: &a [*a]}",
        b"vllm serve 'm",
        b"a: " + b"[" * 9000,
    ],
    ids=range(7),
)
def test_what_is_no_deployment_is_told_in_one_line(run, file, data):
    result = run("check", file(data), "--gpu", "l4")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read(run, name):
    result = run("check", name)

    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot be read" in result.stderr


def test_narrow_and_plain_terminals_are_served(file):
    import vllm_sizing as vs

    report = vs.check_text(WRONG + "echo\nvllm serve Qwen/Qwen3-32B --max-num-seqs 4", gpu="l4")

    narrow = vs.render.check_console(report, width=40)
    assert max(map(len, narrow.splitlines()[:20])) <= 40
    assert vs.render.check_console(report, ascii_only=True).isascii()
    assert "\x1b[" in vs.render.check_console(report, color=True)
