"""
Pixtral and Mistral's multimodal models in Mistral's own spelling.

Source: vLLM 0.33 ``model_executor/models/pixtral.py:PixtralForConditionalGeneration``, ``VisionEncoderArgs``.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.pixtral import add_pixtral, merged_tokens
from vllm_sizing.architectures.towers import add_encoder, open_tower
from vllm_sizing.specs.model import REPLICATED, ModelSpec

_PREFIXES = (
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower.", "vision_encoder."),
    ("model.multi_modal_projector.", "vision_language_adapter."),
)
# vLLM has no defaults for these: a start without one ends in a TypeError.
_NEEDED = (
    "hidden_size", "num_channels", "image_size", "patch_size", "intermediate_size", "num_hidden_layers",
    "num_attention_heads", "rope_theta", "image_token_id",
)  # fmt: skip


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Pixtral in Mistral's own spelling.
    """
    builder = checkpoint.builder(prefixes=_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", default_type="mistral")
    vision = checkpoint.config.needed_section("vision_config")
    for key in _NEEDED:
        if not vision.has(key):
            raise vision.refuse(key, "a number, as in Mistral's own params.json")
    merge = vision.integer("spatial_merge_size", default=1, maximum=2**8)
    with open_tower(builder, "image") as tower:
        vit = add_pixtral(tower, vision, "vision_encoder", native=True)
        if vision.flag("add_pre_mm_projector_layer_norm", default=False):
            tower.norm("pre_mm_projector_norm", vit.hidden)
        if vision.text("mm_projector_id") == "patch_merge":
            tower.linear(
                "patch_merger.merging_layer", vit.hidden * merge**2, vit.hidden, shard=REPLICATED, quantized=False
            )
        bias = vision.flag("adapter_bias", default=True)
        for name, width in (("w_in", vit.hidden), ("w_out", stack.hidden)):
            tower.linear(
                f"vision_language_adapter.{name}", width, stack.hidden, shard=REPLICATED, bias=bias, quantized=False
            )
    add_encoder(builder, "image", vit, stack.hidden, tokens=merged_tokens(vision, merge))
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)
