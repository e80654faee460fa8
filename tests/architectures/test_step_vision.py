"""
Step 3 and its successors that see, against what vLLM allocates.
"""

import pytest

from tests.architectures.recorded import cases, check


@pytest.mark.parametrize(("config", "fact"), cases("step_vision"))
def test_bytes_and_cache_are_those_of_vllm(config, fact):
    check(config, fact)
