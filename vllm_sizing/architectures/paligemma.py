"""
PaliGemma 1 and 2: SigLIP, one plain projection, Gemma 1 or 2.

Source: vLLM 0.33 ``model_executor/models/paligemma.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.siglip import add_siglip
from vllm_sizing.architectures.towers import add_encoder, open_tower
from vllm_sizing.specs.model import ModelSpec

_VISION = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
    "image_size": 224, "patch_size": 14, "projection_dim": 2048,
}  # fmt: skip
_PREFIXES = (
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("lm_head.", "language_model.lm_head."),
)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a PaliGemma.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    old = checkpoint.text.text("model_type", default="gemma") == "gemma"
    stack = add_inner_model(
        builder, checkpoint, prefix="language_model.", architecture="GemmaForCausalLM" if old else "Gemma2ForCausalLM"
    )  # fmt: skip
    given = config.section("vision_config")
    vision = Config(_VISION, "vision_config") if given is None else given
    with open_tower(builder, "image") as tower:
        vit = add_siglip(tower, vision)
        out = vision.integer("projection_dim", default=config.integer("projection_dim", default=2048))
        tower.parameter("multi_modal_projector.linear.weight", out, vit.hidden)
        tower.parameter("multi_modal_projector.linear.bias", out)
    add_encoder(builder, "image", vit, stack.hidden, tokens=max(1, vit.positions))
    builder.traits |= {"prefix_lm", "no_encoder_data"}
    return finish(checkpoint, builder, stack)
