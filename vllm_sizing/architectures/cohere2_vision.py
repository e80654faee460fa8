"""
Command A Vision and Aya Vision's successor: SigLIP, pixel shuffle and a gated projector before Cohere 2.

Source: vLLM 0.33 ``model_executor/models/cohere2_vision.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.siglip import add_siglip
from vllm_sizing.architectures.towers import add_encoder, open_tower
from vllm_sizing.specs.model import ROW, ModelSpec

_VISION = {"hidden_size": 1152, "intermediate_size": 3072, "num_hidden_layers": 27, "image_size": 512}
_PREFIXES = (
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.language_model.", "language_model.model."),
)
_TILES = 12  # preprocessor_config.json of the released checkpoints: max_patches; one more shows the whole.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Cohere 2 that sees.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", tied=True, default_type="cohere2")
    vision = (config.section("vision_config") or Config({}, "vision_config")).over(_VISION)
    factor = config.integer("downsample_factor", default=2, maximum=2**8)
    inner = config.integer("alignment_intermediate_size", default=36864, minimum=2) // 2
    with open_tower(builder, "image") as tower:
        vit = add_siglip(tower, vision)
    with open_tower(builder, "image", data_parallel=False) as projector:
        name, inputs = "multi_modal_projector", vit.hidden * factor**2
        projector.linear(f"{name}.linear_1", inputs, (inner, inner), bias=True, quantized=False)
        projector.linear(f"{name}.linear_2", inner, stack.hidden, shard=ROW, bias=True, quantized=False)
    tiles = _TILES + 1
    per_tile = max(1, vit.positions // factor**2)
    add_encoder(builder, "image", vit, stack.hidden, tokens=tiles * per_tile, positions=tiles * vit.positions)
    builder.traits |= {"no_lora", "no_encoder_data"}
    return finish(checkpoint, builder, stack)
