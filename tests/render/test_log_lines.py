"""
The lines that vLLM will log.
"""

import re

import pytest

import vllm_sizing as vs
from vllm_sizing.render import log_lines

QWEN = vs.load_model("Qwen/Qwen3-8B")
H100 = vs.find_gpu("h100-sxm")


def lines_of(version, **args):
    plan = vs.plan(QWEN, H100, engine_args=vs.EngineArgs(**args), vllm_version=version)
    return plan, [line for line in log_lines(plan).splitlines() if not line.startswith("  #")]


def test_a_given_pool_gives_vllms_own_line():
    """
    Recorded: 10 GiB of KV cache for Qwen3-8B on an H100, vLLM 0.33.
    """
    _, lines = lines_of("0.33.0", kv_cache_memory_bytes=10737418240)

    assert "GPU KV cache size: 72,816 tokens, Maximum concurrency for 40,960 tokens per request: 1.78x" in lines
    assert lines[0] == "Model loading took 15.27 GiB memory and ... seconds"


@pytest.mark.parametrize(("version", "joined"), [("0.27.0", False), ("0.28.0", True)])
def test_the_two_figures_are_joined_since_0_28(version, joined):
    _, lines = lines_of(version)

    assert sum("KV cache size" in line or "Maximum concurrency" in line for line in lines) == (1 if joined else 2)


def test_a_start_that_fails_ends_in_vllms_words():
    plan, lines = lines_of("0.33.0", gpu_memory_utilization=0.25, max_model_len=40960)

    assert not plan.fits
    found = re.search(r"estimated maximum model length is (\d+)", lines[-1])
    assert int(found[1]) == plan.kv_cache.max_model_len_that_fits


def test_no_memory_ends_earlier():
    _, lines = lines_of("0.33.0", gpu_memory_utilization=0.1)

    assert lines[-1].startswith("ValueError: No available memory")


def test_eager_servers_log_no_graphs():
    assert not any("Graph" in line for line in lines_of("0.33.0", enforce_eager=True)[1])


def test_modelled_lines_carry_their_interval():
    plan = vs.plan(QWEN, H100)

    assert log_lines(plan).count("# 80 %") == 3
