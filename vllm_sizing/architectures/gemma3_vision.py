"""
Gemma 3 with its image encoder.

Source: vLLM 0.33 ``model_executor/models/gemma3_mm.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.gemma import add_language_model
from vllm_sizing.architectures.siglip import add_siglip
from vllm_sizing.specs.model import Encoder, ModelSpec

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
    checkpoint = attrs.evolve(checkpoint, quantization=checkpoint.quantization.with_prefixes(_PREFIXES))
    config, builder = checkpoint.config, checkpoint.builder()
    tower = add_siglip(builder, config.needed_section("vision_config"))
    tokens = config.integer("mm_tokens_per_image", default=256, maximum=2**20)
    stack = add_language_model(builder, checkpoint.text, architecture="Gemma3ForCausalLM", prefix="language_model.")
    projector = "multi_modal_projector"
    builder.parameter(f"{projector}.mm_input_projection_weight", tower.hidden, stack.hidden, tower="vision")
    builder.norm(f"{projector}.mm_soft_emb_norm", tower.hidden, tower="vision")
    builder.encoders.append(
        Encoder(
            modality="image", max_tokens_per_item=tokens, hidden_size=stack.hidden,
            patches_per_token=max(1, tower.num_patches // tokens), width=tower.hidden,
            intermediate_size=tower.intermediate, num_heads=tower.num_heads,
        )
    )  # fmt: skip
    builder.traits.add("prefix_lm")
    return finish(checkpoint, builder, stack)
