"""
Kimi-K3, against what vLLM allocates.
"""

import pytest

from tests.architectures.recorded import cases, check_start

FRAMES = 4 * 1024  # Positions in time of vision_tower.patch_embed.pos_emb.


@pytest.mark.parametrize(("config", "fact"), cases("kimi_k3"))
def test_a_start_is_as_vllm_plans_it(config, fact):
    """
    Built without a GPU, vLLM leaves the table of frames, which a start moves to the GPU, on the host.
    """
    stage, towers = fact.get("stage", 0), fact.get("args", {}).get("limit_mm_per_prompt")
    table = 0 if stage or towers else FRAMES * (4 if "quantization_config" in config["text_config"] else 2)
    check_start(config, fact | {"weights_bytes": fact["weights_bytes"] + table})
