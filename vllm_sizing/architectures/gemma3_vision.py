"""
Gemma 3 with its image encoder.

Source: vLLM 0.33 ``model_executor/models/gemma3_mm.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.siglip import add_siglip
from vllm_sizing.architectures.towers import add_encoder, open_tower
from vllm_sizing.specs.model import ModelSpec

# hf_to_vllm_mapper of the class: names in the ignore lists of quantized checkpoints.
_PREFIXES = (
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("lm_head.", "language_model.lm_head."),
)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Gemma 3 that sees.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture="Gemma3ForCausalLM", tied=True)
    with open_tower(builder, "image") as tower:
        vit = add_siglip(tower, config.section("vision_config") or Config({}, "vision_config"))
        projector = "multi_modal_projector"
        tower.parameter(f"{projector}.mm_input_projection_weight", vit.hidden, stack.hidden)
        tower.norm(f"{projector}.mm_soft_emb_norm", vit.hidden)
    tokens = config.integer("mm_tokens_per_image", default=256, maximum=2**20)
    add_encoder(builder, "image", vit, stack.hidden, tokens=tokens)
    builder.traits |= {"prefix_lm", "no_encoder_data"}
    return finish(checkpoint, builder, stack)
