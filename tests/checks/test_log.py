"""
A start-up log beside the plan: predicted and printed, and why they differ.
"""

import pytest

import vllm_sizing as vs
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
