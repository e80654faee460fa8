"""
Pixtral, Mistral's image encoder, in Transformers' spelling and in Mistral's own.

Source: vLLM 0.33 ``model_executor/models/pixtral.py``; defaults from transformers 5.20
``PixtralVisionConfig``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.towers import Vit, add_patches, add_vit_layers, read_vit, square

_DEFAULTS = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "image_size": 1024, "patch_size": 16,
}  # fmt: skip


def add_pixtral(
    tower: Builder, vision: Config, name: str = "vision_tower", *, num_layers: int | None = None, native: bool = False
) -> Vit:
    """
    Patches, norm and layers.

    Args:
        num_layers: Where only the first are built.

        native: Mistral's own spelling, which vLLM never quantizes.
    """
    vision = vision.over(_DEFAULTS)
    vit = read_vit(vision)
    side, _ = add_patches(tower, f"{name}.patch_conv", vision, vit.hidden, bias=False)
    tower.norm(f"{name}.ln_pre", vit.hidden)
    add_vit_layers(
        tower, f"{name}.transformer.layers.*", vit,
        num_layers=num_layers, bias=False, attention="attention", output="o_proj", mlp="feed_forward",
        up="gate_up_proj", down="down_proj", gated=True, norms=("attention_norm", "ffn_norm"), norm_bias=False,
        quantized=not native,
    )  # fmt: skip
    if not native:
        for buffer in ("inv_freq", "original_inv_freq"):
            tower.parameter(
                f"{name}.patch_positional_embedding.{buffer}", vit.head_size // 2, dtype="float32", role="buffer"
            )
    return attrs.evolve(vit, positions=side**2)


def merged_tokens(vision: Config, merge: int) -> int:
    """
    Embeddings of the largest image after patches are merged in squares.
    """
    vision = vision.over(_DEFAULTS)
    side = max(1, square(vision, "image_size") // (square(vision, "patch_size") * merge))
    return side**2
