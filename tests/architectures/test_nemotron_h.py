"""
Nemotron-H and Nemotron 3, against what vLLM allocates.
"""

import pytest

from tests.architectures.recorded import cases, check_start


@pytest.mark.parametrize(("config", "fact"), cases("nemotron_h"))
def test_a_start_is_as_vllm_plans_it(config, fact):
    check_start(config, fact)
