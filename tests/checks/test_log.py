"""
A start-up log beside the plan: predicted and printed, and why they differ.
"""

import pytest

import vllm_sizing as vs
from tests.validation import memory
from vllm_sizing.checks.comparison import compare_log
from vllm_sizing.sources.start_log import parse_log
from vllm_sizing.units import GIB

COMMAND = "vllm serve Qwen/Qwen3-8B --max-model-len 16384 --max-num-seqs 64"


def lines(**changes):
    plan = vs.check_text(COMMAND, gpu="l4").servers[0].plan
    values = {
        "weights": plan.memory.weights_bytes_per_gpu / GIB,
        "memory": plan.memory.kv_cache_bytes / GIB,
        "tokens": plan.kv_cache.size_tokens,
        "concurrency": plan.kv_cache.max_concurrency,
        "graphs": plan.memory.cuda_graph_bytes / GIB,
        "version": "0.33.0",
        "length": 16384,
        **changes,
    }
    return (
        "INFO vLLM API server version {version}\n"
        "INFO Model loading took {weights:.2f} GiB memory and 4 seconds\n"
        "INFO Available KV cache memory: {memory:.2f} GiB\n"
        "INFO GPU KV cache size: {tokens:,} tokens, Maximum concurrency for {length:,} tokens per request: {concurrency:.2f}x\n"
        "INFO Graph capturing finished in 9 secs, took {graphs:.2f} GiB\n"
    ).format(**values)


def measured(log, command=COMMAND):
    server = vs.check_text(command, gpu="l4", log=log).servers[0]
    return {item.name: item for item in server.measured}, [item.code for item in server.findings if "log" in item.code]


def test_a_log_as_predicted_is_inside_every_interval():
    found, codes = measured(lines())

    assert set(found) == {"weights", "kv_cache_memory", "kv_cache_tokens", "max_concurrency", "cuda_graphs"}
    assert all(item.inside and not item.remark for item in found.values())
    assert codes == []


def test_the_lines_that_plan_promises_are_read_back():
    plan = vs.check_text(COMMAND, gpu="l4").servers[0].plan

    found, codes = measured(vs.render.log_lines(plan))

    assert len(found) == 5
    assert codes == []


@pytest.mark.parametrize(
    ("changes", "name", "remark"),
    [
        ({"weights": 8.1}, "weights", "another quantization"),
        ({"weights": 14.0}, "weights", "less than the config's tensors"),
        ({"weights": 17.0}, "weights", "more than the config's tensors"),
        ({"weights": 17.0, "memory": 1.0}, "kv_cache_memory", "the weights differ by 1.73 GiB"),
        ({"memory": 1.0}, "kv_cache_memory", "instead of"),
        ({"memory": 9.9}, "kv_cache_memory", "another GPU"),
        ({"memory": 1.5, "tokens": 10_900}, "kv_cache_tokens", "follows from the size of the cache"),
        ({"tokens": 60_000}, "kv_cache_tokens", "a token takes another size"),
        ({"graphs": 9.0}, "cuda_graphs", "modelled"),
    ],
)
def test_what_differs_is_explained(changes, name, remark):
    found, codes = measured(lines(**changes))

    assert not found[name].inside
    assert remark in found[name].remark
    assert "log-differs" in codes


def test_a_log_of_another_model_is_told_or_left_to_its_own_server():
    log = "non-default args: {'model_tag': 'Qwen/Qwen3-4B'}\n" + lines()
    both = "vllm serve Qwen/Qwen3-8B --max-model-len 8k\nvllm serve Qwen/Qwen3-4B --max-model-len 8k"

    assert measured(log) == ({}, ["log-arguments"])
    assert [len(server.measured) > 0 for server in vs.check_text(both, gpu="l4", log=log).servers] == [False, True]


def test_a_log_file_need_not_be_text_to_its_end(tmp_path):
    script, log = tmp_path / "serve.sh", tmp_path / "start.log"
    script.write_text(COMMAND)
    log.write_bytes(lines().encode() + b"\xff\x00" * 9_000_000)

    server = vs.check(script, gpu="l4", log=log).servers[0]

    assert len(server.measured) == 5


def test_graphs_that_free_memory_are_no_size():
    assert "cuda_graphs" not in measured(lines(graphs=-0.4))[0]


def test_most_numbers_of_measured_starts_are_as_predicted():
    """
    The rows of published logs, written as vLLM of their release printed them.
    """
    inside = {}
    for row in memory.rows():
        if row["settings"] != "complete":
            continue
        text = f"vLLM API server version {row['version_used']}\n"
        if row["model_weights_gib"]:
            text += f"Model loading took {row['model_weights_gib']} GiB memory and 3.0 seconds\n"
        if row["available_kv_gib"]:
            text += f"Available KV cache memory: {row['available_kv_gib']} GiB\n"
        if row["gpu_kv_cache_tokens"]:
            text += f"GPU KV cache size: {int(row['gpu_kv_cache_tokens']):,} tokens\n"
        plan = memory.plan_row(row)
        for item in compare_log(plan, parse_log(text))[0]:
            assert item.inside or item.remark
            inside.setdefault(item.name, []).append(item.inside)

    shares = {name: sum(values) / len(values) for name, values in inside.items()}
    assert {name: len(values) > 40 for name, values in inside.items()} == dict.fromkeys(shares, True)
    assert min(shares.values()) > 0.7


def test_the_concurrency_is_compared_at_the_same_length_only():
    assert "max_concurrency" not in measured(lines(length=8192))[0]


@pytest.mark.parametrize(
    ("log", "code"),
    [
        (lines(version="0.20.0"), "log-version"),
        ("ValueError: No available memory for the cache blocks.\n", "log-failed"),
        ("nothing of vLLM\n", "log-not-understood"),
        ("non-default args: {'max_model_len': 4096}\nModel loading took 15.27 GiB\n", "log-arguments"),
    ],
)
def test_what_a_log_says_as_a_whole(log, code):
    server = vs.check_text(COMMAND, gpu="l4", vllm_version="0.33.0", log=log).servers[0]

    assert code in [item.code for item in server.findings]
