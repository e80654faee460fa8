"""
Eagle 2.5: SigLIP in tiles, pixel shuffle, an MLP, any decoder.

Source: vLLM 0.33 ``model_executor/models/eagle2_5_vl.py``.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.internvl import add_shuffled_mlp, read_ratio, selected_layers
from vllm_sizing.architectures.siglip import add_siglip
from vllm_sizing.architectures.towers import add_encoder, open_tower
from vllm_sizing.specs.model import ModelSpec

_TILES = 12  # max_dynamic_patch where the config is silent; one more shows the whole.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an Eagle 2.5.
    """
    config, builder = checkpoint.config, checkpoint.builder()
    stack = add_inner_model(builder, checkpoint, prefix="language_model.")
    vision, ratio = config.needed_section("vision_config"), read_ratio(config)
    built = selected_layers(config, vision.over({"num_hidden_layers": 12}).num_layers())
    with open_tower(builder, "image") as tower:
        vit = add_siglip(tower, vision, "vision_model.vision_model", num_layers=built)
        add_shuffled_mlp(tower, "mlp1", vit.hidden * ratio**2, stack.hidden)
    tiles = config.integer("max_dynamic_patch", default=_TILES, maximum=2**16) + 1
    tokens = tiles * max(1, vit.positions // ratio**2)
    add_encoder(builder, "image", vit, stack.hidden, tokens=tokens, positions=tiles * vit.positions)
    return finish(checkpoint, builder, stack)
