"""
SigLIP and CLIP whole, against what vLLM allocates.
"""

import pytest

from tests.architectures.recorded import cases, check


@pytest.mark.parametrize(("config", "fact"), cases("two_towers"))
def test_bytes_and_cache_are_those_of_vllm(config, fact):
    check(config, fact)
