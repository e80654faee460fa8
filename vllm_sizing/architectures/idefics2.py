"""
The image encoder of Idefics 2 and 3, SmolVLM and MiniCPM-V: SigLIP for images of any shape.

Source: vLLM 0.33 ``model_executor/models/idefics2_vision_model.py``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.towers import Vit, add_patches, add_vit_layers, read_vit


def add_idefics2(
    tower: Builder,
    vision: Config,
    name: str,
    *,
    num_layers: int | None = None,
    post_norm: bool = True,
    quantized: bool = True,
) -> Vit:
    """
    Patches, positions, layers and the last norm.

    Args:
        vision: With the class's defaults behind it.

        num_layers: Where only the first are built.

        post_norm: The last norm is there, whatever is built.
    """
    vit = read_vit(vision)
    side, _ = add_patches(tower, f"{name}.embeddings.patch_embedding", vision, vit.hidden)
    tower.parameter(f"{name}.embeddings.position_embedding.weight", side**2, vit.hidden)
    add_vit_layers(tower, f"{name}.encoder.layers.*", vit, num_layers=num_layers, quantized=quantized)
    if post_norm:
        tower.norm(f"{name}.post_layernorm", vit.hidden, bias=True)
    return attrs.evolve(vit, positions=side**2)
