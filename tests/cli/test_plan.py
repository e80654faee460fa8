"""
`plan`: the answer of the library, its exit code, and what a terminal gets of it.
"""

import json
import os

import pytest

import vllm_sizing as vs
from vllm_sizing.cli import terminal

QWEN = "Qwen/Qwen3-8B"


@pytest.fixture
def plan(run):
    """
    The plan that the command line prints for QWEN on an H100, as plain data.
    """

    def plan(*words):
        result = run("plan", QWEN, "--gpu", "h100-sxm", "--json", *words)
        assert result.exit_code in {0, 3}, result.stderr
        return json.loads(result.stdout)

    return plan


def test_json_is_the_librarys_to_the_byte(run):
    result = run("plan", QWEN, "--gpu", "h100-sxm", "--json")

    p = vs.plan(vs.load_model(QWEN), vs.find_gpu("h100-sxm"))
    assert result.exit_code == 0
    assert result.stdout == vs.render.json(p)
    assert result.stderr == ""


def test_json_with_every_kind_of_option_is_the_librarys_to_the_byte(run):
    result = run(
        *["plan", QWEN, "--gpu", "4xh100-sxm", "--concurrency", "32", "--input-tokens", "8k"],
        *["--output-tokens", "512", "--goal", "throughput", "--headroom-gb", "2", "--max-model-len", "16K"],
        *["--kv-cache-dtype", "fp8", "--target-tpot-ms", "50", "--vllm-version", "0.20.0", "--json"],
    )

    p = vs.plan(
        vs.load_model(QWEN),
        vs.find_gpu("h100-sxm"),
        vs.Workload(8000, 512, 32, target=vs.LatencyTarget(tpot_ms=50.0)),
        num_gpus=4,
        engine_args=vs.EngineArgs(max_model_len=16384, kv_cache_dtype="fp8"),
        policy=vs.Policy(goal="throughput", headroom_bytes=2 * 2**30),
        vllm_version="0.20.0",
    )
    assert result.stdout == vs.render.json(p)


def test_a_process_prints_the_librarys_json_to_the_byte(run_process):
    result = run_process("plan", QWEN, "--gpu", "h100-sxm", "--json")

    p = vs.plan(vs.load_model(QWEN), vs.find_gpu("h100-sxm"))
    assert result.returncode == 0
    assert result.stdout.replace(b"\r\n", b"\n") == vs.render.json(p).encode()


def test_a_plan_that_does_not_fit_is_printed_and_ends_with_3(run):
    result = run("plan", "Qwen/Qwen3-32B", "--gpu", "l4", "--json")

    assert result.exit_code == 3
    data = json.loads(result.stdout)
    assert data["fits"] is False
    assert data == json.loads(vs.render.json(vs.plan_request(vs.PlanRequest(model="Qwen/Qwen3-32B", gpu="l4"))))
    assert result.stderr == ""


def test_the_report_is_the_librarys(run):
    result = run("plan", QWEN, "--gpu", "h100-sxm")

    assert result.stdout == vs.to_text(vs.plan(vs.load_model(QWEN), vs.find_gpu("h100-sxm")))


def test_explain_gives_more(run):
    plain = run("plan", QWEN, "--gpu", "h100-sxm").stdout
    explained = run("plan", QWEN, "--gpu", "h100-sxm", "--explain").stdout

    assert len(explained) > len(plain)
    assert explained == vs.to_text(vs.plan(vs.load_model(QWEN), vs.find_gpu("h100-sxm")), explain=True)


def test_log_lines_are_the_librarys(run):
    result = run("plan", QWEN, "--gpu", "h100-sxm", "--log-lines")

    assert result.stdout == vs.render.log_lines(vs.plan(vs.load_model(QWEN), vs.find_gpu("h100-sxm")))


def test_without_a_gpu_the_way_out_is_an_option(run, monkeypatch):
    def no_driver():
        raise vs.DetectionError("no NVIDIA driver here, or name a GPU: --gpu NAME")

    monkeypatch.setattr("vllm_sizing.sources.gpus.detect_machine", no_driver)

    result = run("plan", QWEN)

    assert result.exit_code == 1
    assert "--gpu NAME" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "path", "value"),
    [
        (["--gpus", "2"], "num_gpus", 2),
        (["--tp", "2", "--gpus", "2"], "requested.tensor_parallel_size", 2),
        (["-tp", "2", "--gpus", "2"], "requested.tensor_parallel_size", 2),
        (["--vram-gb", "40"], "gpu.memory_bytes", 40 * 2**30),
        (["--vram-gb", "39.5"], "gpu.memory_bytes", 79 * 2**29),
        (["--interconnect", "pcie", "--gpus", "2"], "cluster.interconnect", "pcie"),
        (["--nodes", "2", "--gpus", "2"], "cluster.num_nodes", 2),
        (["--prompt-tokens", "2k"], "workload.input_tokens", 2000),
        (["--input-tokens", "2K"], "workload.input_tokens", 2048),
        (["--gen-tokens", "7"], "workload.output_tokens", 7),
        (["-c", "5"], "workload.concurrency", 5),
        (["-c5"], "workload.concurrency", 5),
        (["--request-rate", "1.5"], "workload.request_rate", 1.5),
        (["--prefix-cache-hit-rate", "0.25"], "workload.prefix_cache_hit_rate", 0.25),
        (["--acceptance-rate", "0.7"], "workload.acceptance_rate", 0.7),
        (["--target-e2el-ms", "9000"], "workload.target.e2el_ms", 9000.0),
        (["--batching-mode", "latency"], "policy.goal", "latency"),
        (["--target-ttft-ms", "250"], "workload.target.ttft_ms", 250.0),
        (["--headroom-gb", "0.5"], "policy.headroom_bytes", 2**29),
        (["--overhead-gb", "3"], "policy.overhead_bytes", 3 * 2**30),
        (["--vllm-version", "0.11.0"], "vllm_version", "0.11.0"),
        (["--max-model-len", "25.6k"], "requested.max_model_len", 25600),
        (["--max_model_len", "4k"], "requested.max_model_len", 4000),
        (["--max-num-batched-tokens=8K"], "requested.max_num_batched_tokens", 8192),
        (["--kv-cache-memory-bytes", "10G"], "requested.kv_cache_memory_bytes", 10 * 2**30),
        (["--enforce-eager"], "requested.enforce_eager", True),
        (["--no-enable-prefix-caching"], "requested.enable_prefix_caching", False),
        (["--trust-remote-code"], "requested.trust_remote_code", True),
        (["--served-model-name", "me"], "requested.served_model_name", "me"),
        (["--limit-mm-per-prompt", '{"image": 2}'], "requested.limit_mm_per_prompt", {"image": 2}),
        (["--cudagraph-capture-sizes", "1", "2", "4", "--gpus", "1"], "requested.cudagraph_capture_sizes", [1, 2, 4]),
        (["--cudagraph-capture-sizes", "1,2,4"], "requested.cudagraph_capture_sizes", [1, 2, 4]),
        (["--cudagraph-capture-sizes", "1", "-c", "2"], "requested.cudagraph_capture_sizes", [1]),
        (["--extra-arg=--seed", "--extra-arg=7"], "requested.extra_args", ["--seed", "7"]),
        (["--extra-arg", "--seed", "--extra-arg", "7"], "requested.extra_args", ["--seed", "7"]),
    ],
)
def test_an_option_reaches_the_plan(plan, words, path, value):
    found = plan(*words)
    for name in path.split("."):
        found = found[name]

    assert found == value


def test_a_size_replaces_the_model(run):
    data = json.loads(run("plan", "my/model", "--params-b", "7", "--gpu", "h100-sxm", "--json").stdout)

    assert data["model"]["rough"] is True
    assert data["model"]["name"] == "my/model"
    assert 6.5e9 < data["model"]["num_parameters"] < 7.5e9


def test_a_config_file_is_planned(run, tmp_path):
    config = vs.find_model(QWEN).config
    (tmp_path / "config.json").write_text(json.dumps(dict(config)))

    result = run("plan", tmp_path, "--gpu", "h100-sxm", "--json")

    assert json.loads(result.stdout)["memory"]["weights_bytes_per_gpu"] > 0
    assert result.exit_code == 0


@pytest.fixture
def as_terminal(monkeypatch):
    """
    A terminal of 120 columns that takes colours.
    """
    monkeypatch.setattr(terminal, "_is_terminal", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda _: os.terminal_size((120, 24)))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_a_terminal_gets_its_width_and_colours(as_terminal):
    assert terminal.width() == 120
    assert terminal.colour()


def test_no_color_is_obeyed(as_terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    assert not terminal.colour()


def test_a_dumb_terminal_gets_no_colours(as_terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")

    assert not terminal.colour()


def test_a_tiny_terminal_gets_40_columns(as_terminal, monkeypatch):
    monkeypatch.setattr("shutil.get_terminal_size", lambda _: os.terminal_size((3, 24)))

    assert terminal.width() == 40


def test_a_pipe_gets_80_columns_and_no_colours(run):
    assert terminal.width() == 80
    assert not terminal.colour()
    assert "\x1b" not in run("plan", QWEN, "--gpu", "h100-sxm", "--explain").stdout


def test_a_terminal_that_knows_only_ascii_gets_ascii(run_process, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")

    result = run_process("plan", QWEN, "--gpu", "h100-sxm")

    assert result.returncode == 0
    assert result.stdout.isascii()
    assert b"?" not in result.stdout
    assert result.stderr == b""


def test_a_size_needs_no_name(run):
    data = json.loads(run("plan", "--params-b", "7", "--gpu", "h100-sxm", "--json").stdout)
    assert (data["model"]["name"], data["model"]["rough"]) == ("MODEL", True)


def test_a_hit_rate_of_nothing_is_the_default(run):
    question = ("plan", "Qwen/Qwen3-8B", "--gpu", "h100-sxm")
    assert run(*question, "--prefix-cache-hit-rate", "0").stdout == run(*question).stdout
