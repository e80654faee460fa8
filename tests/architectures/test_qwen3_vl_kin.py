"""
What vLLM builds with Qwen3-VL or Qwen3-ASR, against what vLLM allocates.
"""

import pytest

from tests.architectures.recorded import cases, check


@pytest.mark.parametrize(("config", "fact"), cases("qwen3_vl_kin"))
def test_bytes_and_cache_are_those_of_vllm(config, fact):
    check(config, fact)
