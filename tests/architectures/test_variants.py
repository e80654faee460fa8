"""
Settings that the usual checkpoints of a family do not have, against what vLLM allocates and plans.

Layers of one kind only, experts everywhere or nowhere, windows left out, lists instead of patterns.
"""

import pytest

from tests.architectures.recorded import cases, check_start


@pytest.mark.parametrize(("config", "fact"), cases("variants"))
def test_bytes_and_cache_are_those_of_vllm(config, fact):
    check_start(config, fact)
