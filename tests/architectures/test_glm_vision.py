"""
GLM-4.1V, GLM-4.5V and GLM-OCR, against what vLLM allocates.
"""

import pytest

from tests.architectures.recorded import cases, check


@pytest.mark.parametrize(("config", "fact"), cases("glm_vision"))
def test_bytes_and_cache_are_those_of_vllm(config, fact):
    check(config, fact)
