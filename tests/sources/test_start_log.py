"""
Start-up logs of several releases, as vLLM printed them (shared facts: measured start-up logs).
"""

import pytest

from vllm_sizing.sources.start_log import parse_log

OLD = """\
(APIServer pid=1) INFO 11-03 05:51:44 [api_server.py:1839] vLLM API server version 0.11.0
(APIServer pid=1) INFO 11-03 05:51:44 [utils.py:233] non-default args: {'model_tag': 'm', 'max_model_len': 4096, 'tensor_parallel_size': 2}
(Worker_TP0 pid=5) INFO 11-03 05:52:00 [gpu_model_runner.py:2653] Model loading took 17.2217 GiB and 9.5 seconds
(Worker_TP1 pid=6) INFO 11-03 05:52:00 [gpu_model_runner.py:2653] Model loading took 17.2300 GiB and 9.5 seconds
(Worker_TP0 pid=5) INFO 11-03 05:52:20 [gpu_worker.py:298] Available KV cache memory: 45.32 GiB
(Worker_TP1 pid=6) INFO 11-03 05:52:20 [gpu_worker.py:298] Available KV cache memory: 45.30 GiB
(EngineCore pid=4) INFO 11-03 05:52:21 [kv_cache_utils.py:1087] GPU KV cache size: 2,640,144 tokens
(EngineCore pid=4) INFO 11-03 05:52:21 [kv_cache_utils.py:1091] Maximum concurrency for 16,384 tokens per request: 284.25x
(Worker_TP0 pid=5) INFO 11-03 05:52:40 [gpu_model_runner.py:3480] Graph capturing finished in 17 secs, took 1.88 GiB
"""


def test_every_number_is_read_with_its_digits():
    log = parse_log(OLD)

    assert log.version == "0.11.0"
    assert log.arguments == {"model_tag": "m", "max_model_len": 4096, "tensor_parallel_size": 2}
    assert {name: printed.value for name, printed in log.numbers.items()} == {
        "weights": 17.23,
        "kv_cache_memory": 45.30,
        "kv_cache_tokens": 2_640_144,
        "max_concurrency": 284.25,
        "cuda_graphs": 1.88,
    }
    assert (log.numbers["weights"].slack, log.numbers["kv_cache_tokens"].slack) == (0.00005, 0.5)
    assert (log.length, log.numbers["cuda_graphs"].line, log.failure) == (16_384, 9, "")


def test_two_numbers_on_one_line():
    log = parse_log("INFO GPU KV cache size: 112,347 tokens, Maximum concurrency for 98,304 tokens per request: 1.14x")

    assert (log.numbers["kv_cache_tokens"].value, log.numbers["max_concurrency"].value, log.length) == (
        112_347,
        1.14,
        98_304,
    )


def test_of_two_starts_the_last_counts():
    log = parse_log(
        OLD + "ValueError: No available memory for the cache blocks. Try more\n" + OLD.replace("17.2", "9.1")
    )

    assert log.numbers["weights"].value == 9.13
    assert log.failure == ""


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("INFO [core.py:77] Initializing a V1 LLM engine (v0.29.0) with config: model='m'", "0.29.0"),
        ("  █▄█▀ █  █  version 0.19.2rc1.dev8+g4b7f5ea1a", "0.19.2"),
        ("nothing", ""),
    ],
)
def test_the_version_is_read_wherever_it_stands(line, version):
    assert parse_log(line).version == version


@pytest.mark.parametrize(
    ("line", "failure"),
    [
        ("ValueError: No available memory for the cache blocks. Try", "No available memory for the cache blocks"),
        (
            "ValueError: To serve at least one request with the model's max seq len (8192), (1.0 GiB KV cache is needed, which is larger than the available KV cache memory (0.95 GiB). Based on",
            "To serve at least one request with the model's max seq len (8192), (1.0 GiB KV cache is needed, which is larger than the available KV cache memory (0.95 GiB)",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.02 GiB", "torch.OutOfMemoryError: CUDA out of memory"),
        ("ValueError: max_num_seqs (1024) exceeds available Mamba cache blocks (321). Each", "max_num_seqs (1024) exceeds available Mamba cache blocks (321)"),
    ],
)  # fmt: skip
def test_the_end_of_a_failed_start_is_read(line, failure):
    assert parse_log(line).failure == failure


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00" * 100,
        "GiB" * 10_000,
        "Model loading took GiB",
        "non-default args: {" * 9,
        "non-default args: {'a': f()}",
    ],
)
def test_what_is_no_log_gives_no_numbers(text):
    log = parse_log(text)

    assert log.numbers == {}
    assert log.arguments == {}


def test_of_several_ranks_the_one_that_binds_counts():
    """
    The heaviest weights, the smallest cache, in whatever order the workers print them.
    """
    weights = "(Worker_TP{}) INFO Model loading took {} GiB and 9.5 seconds\n"
    cache = "(Worker_TP{}) INFO Available KV cache memory: {} GiB\n"
    for first, second in ((0, 1), (1, 0)):
        text = weights.format(first, 17.25 - first) + weights.format(second, 17.25 - second)
        text += cache.format(first, 45.5 + first) + cache.format(second, 45.5 + second)
        log = parse_log(text)
        assert (log.numbers["weights"].value, log.numbers["kv_cache_memory"].value) == (17.25, 45.5)
