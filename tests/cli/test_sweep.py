"""
`sweep`: the answer of the library, its exit code, and what a terminal gets of it.
"""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import rich.console

import vllm_sizing as vs
from vllm_sizing.cli import progress as module

QWEN = "Qwen/Qwen3-8B"
SMALL = ("sweep", QWEN, "--gpu", "l4,h100-sxm", "--gpus", "1,2", "--no-checkpoints", "--max-num-batched-tokens", "auto")
TARGET = ("--concurrency", "16", "--target-ttft-ms", "2000", "--target-tpot-ms", "60")


def space(**changes):
    usual = {
        "models": vs.load_model(QWEN),
        "gpus": (vs.find_gpu("l4"), vs.find_gpu("h100-sxm")),
        "num_gpus": (1, 2),
        "workload": vs.Workload(target=vs.LatencyTarget(ttft_ms=2000.0, tpot_ms=60.0)),
        "concurrency": 16,
        "max_num_batched_tokens": None,
        "prices": vs.listed_prices(),
    }
    return vs.SearchSpace(**(usual | changes))


def test_json_is_the_librarys_to_the_byte(run):
    result = run(*SMALL, *TARGET, "--json")

    assert result.exit_code == 0
    assert result.stdout == vs.render.search_json(vs.search(space()))
    assert result.stderr == ""


def test_the_report_is_the_librarys(run):
    assert run(*SMALL, *TARGET).stdout == vs.render.search_text(vs.search(space()))


def test_processes_give_the_same_answer(run):
    assert run(*SMALL, *TARGET, "--json", "--jobs", "2").stdout == run(*SMALL, *TARGET, "--json").stdout


@pytest.mark.skipif(not hasattr(os, "killpg") or (os.cpu_count() or 1) < 2, reason="no process group, or one CPU")
@pytest.mark.skipif(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, reason="background jobs ignore an interrupt")
def test_an_interrupt_ends_all_processes_quietly(python_env):
    words = ["sweep", QWEN, "--jobs", "2", "--json-lines"]
    started = subprocess.Popen(
        [sys.executable, "-m", "vllm_sizing", *words],
        env=python_env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    started.stdout.readline()  # The processes are at work.

    os.killpg(started.pid, signal.SIGINT)
    _, stderr = started.communicate(timeout=60)

    assert started.returncode == 130
    assert stderr.strip() == b""


def test_every_candidate_is_a_line_of_json(run):
    result = run(*SMALL, *TARGET, "--json-lines")

    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [line["number"] for line in lines] == [offer.number for offer in vs.sweep(space())]
    assert all(line["plan"]["model"]["name"] == QWEN for line in lines)


@pytest.mark.parametrize("words", [("--json",), ("--json-lines",), ()])
def test_targets_that_nothing_meets_end_with_3_and_the_nearest_miss(run, words):
    result = run(*SMALL, "--concurrency", "16", "--target-tpot-ms", "0.1", *words)

    assert result.exit_code == 3
    assert result.stderr == ""
    if not words:
        assert result.stdout.startswith("NOTHING MEETS THE TARGETS: the nearest is")
    if words == ("--json",):
        data = json.loads(result.stdout)
        assert data["best"] == []
        assert [miss["name"] for miss in data["closest"]["misses"]] == ["tpot_ms"]


def test_every_list_reaches_the_space(run):
    words = [
        *["sweep", "Qwen/Qwen3-30B-A3B", "--gpu", "h200-sxm", "--gpus", "4", "--nodes", "1", "-c", "8", "-c", "16,32"],
        *["-tp", "2,4", "-pp", "1", "-dp", "1,2", "-q", "none,fp8", "--kv-cache-dtype", "fp8"],
        *["--max-num-seqs", "auto,32", "--max-num-batched-tokens", "4k", "--enable-expert-parallel", "--json-lines"],
        *["--price", "h200-sxm=1.5", "--no-checkpoints", "--max-model-len", "8k"],
    ]
    lines = [json.loads(line) for line in run(*words).stdout.splitlines()]
    asked = [line["plan"]["requested"] for line in lines]

    def tried(name):
        return {one[name] for one in asked}

    assert {line["plan"]["workload"]["concurrency"] for line in lines} == {8, 16, 32}
    assert {(one["tensor_parallel_size"], one["data_parallel_size"]) for one in asked} == {(2, 2), (4, 1)}
    assert tried("pipeline_parallel_size") == {1}
    assert tried("quantization") == {None, "fp8"}
    assert tried("kv_cache_dtype") == {"fp8"}
    assert tried("max_num_seqs") == {None, 32}
    assert tried("max_num_batched_tokens") == {4000}
    assert tried("enable_expert_parallel") == {True}
    assert tried("max_model_len") == {8000}
    assert {line["usd_per_hour"] for line in lines} == {6.0}


def test_without_gpus_those_with_a_price_are_tried_and_without_load_many(run):
    words = ["--gpus", "1", "-q", "none", "--kv-cache-dtype", "auto", "--max-num-seqs", "auto", "--price", "mi300x=2"]
    lines = run("sweep", QWEN, "--json-lines", "--no-checkpoints", "--max-num-batched-tokens", "auto", *words)
    plans = [json.loads(line)["plan"] for line in lines.stdout.splitlines()]

    assert {plan["gpu"]["name"] for plan in plans} >= {"mi300x", "h100-sxm", "t4"}
    assert {plan["workload"]["concurrency"] for plan in plans} == {1, 2, 4, 8, 16, 32, 64, 128, 256}


def test_the_catalogs_other_checkpoints_are_tried(run):
    words = ["-c", "1", "--gpus", "1", "--kv-cache-dtype", "auto", "--max-num-seqs", "auto", "--json-lines"]
    names = {
        json.loads(line)["plan"]["model"]["name"]
        for line in run("sweep", QWEN, "--gpu", "l4", *words).stdout.splitlines()
    }

    assert {QWEN, "Qwen/Qwen3-8B-AWQ", "Qwen/Qwen3-8B-FP8"} <= names


def test_throughput_targets_and_rank(run):
    result = json.loads(run(*SMALL, "-c", "8,64", "--target-tokens-per-s", "500", "--json").stdout)
    assert result["rank"] == "usd_per_hour"
    ranked = json.loads(run(*SMALL, "-c", "8", "--rank", "usd-per-million-tokens", "--json").stdout)
    assert ranked["rank"] == "usd_per_million_tokens"


def test_a_rate_is_kept_up_with(run):
    result = json.loads(run(*SMALL, "--request-rate", "4", "--json").stdout)

    assert result["rank"] == "usd_per_hour"
    assert result["best"]
    assert not any(offer["plan"]["performance"]["overloaded"] for offer in result["best"])
    hopeless = run(*SMALL, "--request-rate", "9999")
    assert hopeless.exit_code == 3
    assert "requests is" in hopeless.stdout


def test_a_profile_is_the_base_and_lists_win(run):
    run("generate", QWEN, "--gpu", "l4", "--gpus", "2", "--tp", "2", "-c", "4", "-o", "out", "--emit", "profile")

    words = ("--profile", "out/profile.yaml", "--no-checkpoints", "--json-lines")
    kept = [json.loads(line)["plan"] for line in run("sweep", *words).stdout.splitlines()]
    assert {plan["cluster"]["num_gpus"] for plan in kept} == {2}
    assert {plan["gpu"]["name"] for plan in kept} == {"l4"}
    assert {plan["requested"]["tensor_parallel_size"] for plan in kept} == {2}
    assert {plan["workload"]["concurrency"] for plan in kept} == {4}

    varied = [json.loads(line)["plan"] for line in run("sweep", *words, "-tp", "1,2").stdout.splitlines()]
    assert {plan["requested"]["tensor_parallel_size"] for plan in varied} == {1, 2}


def test_the_gpus_of_this_machine(run, monkeypatch):
    cluster = vs.Cluster(gpu=vs.find_gpu("l4"), num_gpus=3)
    monkeypatch.setattr("vllm_sizing.sources.search.this_machine", lambda _: cluster)

    lines = run("sweep", QWEN, "--gpu", "auto", "-c", "1", "--vram-gb", "20", "--json-lines", "--no-checkpoints")
    plans = [json.loads(line)["plan"] for line in lines.stdout.splitlines()]

    assert {plan["cluster"]["num_gpus"] for plan in plans} == {1, 2, 3}
    assert {plan["gpu"]["memory_bytes"] for plan in plans} == {20 * 2**30}


def test_a_page_is_written_beside_the_answer(run):
    result = run(*SMALL, *TARGET, "--html", "sub/page.html")

    assert result.stdout == vs.render.search_text(vs.search(space()))
    assert Path("sub/page.html").read_text(encoding="utf-8") == vs.render.search_report(vs.search(space()))


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("total", "shown"), [(10_000, True), (100, False)])
def test_long_work_shows_a_bar_on_a_terminal(monkeypatch, total, shown):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(rich.console.Console, "is_terminal", True)

    with module.progress("planning") as tell:
        tell(total // 2, total)
        tell(total, total)

    assert ("planning" in screen.getvalue()) is shown


@pytest.mark.parametrize("stderr", [None, io.StringIO()])
def test_without_a_terminal_there_is_no_bar(monkeypatch, stderr):
    monkeypatch.setattr(sys, "stderr", stderr)

    with module.progress("planning") as tell:
        assert tell is None


def test_there_are_no_more_workers_than_cpus(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: None)

    with module.workers(64) as executor:
        assert executor is None
