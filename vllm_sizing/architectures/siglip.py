"""
SigLIP and CLIP, the image encoders of Gemma 3, LLaVA and others.

Source: vLLM 0.33 ``model_executor/models/siglip.py``, ``clip.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.towers import Vit, add_patches, add_vit_layers, read_vit
from vllm_sizing.specs.model import ROW

_SIGLIP = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 16,
}  # fmt: skip
_SIGLIP2 = {**_SIGLIP, "num_patches": 256}
_CLIP = {**_SIGLIP, "patch_size": 32}
QUANTIZED_MULTIPLE = 64  # siglip.py:SiglipMLP leaves other widths as they are.


def add_siglip(
    tower: Builder,
    vision: Config,
    name: str = "vision_tower.vision_model",
    *,
    num_layers: int | None = None,
    post_norm: bool | None = None,
    head: bool = False,
    quantized: bool = True,
) -> Vit:
    """
    SigLIP's image encoder.

    Args:
        num_layers: Where only the first are built.

        post_norm: There is a last norm; None: if all layers are built.

        head: It ends in a pooling head.
    """
    vision = vision.over(_SIGLIP)
    vit = read_vit(vision)
    hidden, inner = vit.hidden, vit.intermediate
    side, _ = add_patches(tower, f"{name}.embeddings.patch_embedding", vision, hidden)
    _add_positions(tower, f"{name}.embeddings", side**2, hidden)
    whole = hidden % QUANTIZED_MULTIPLE == 0 and inner % QUANTIZED_MULTIPLE == 0
    built = vit.num_layers if num_layers is None else num_layers
    add_vit_layers(
        tower, f"{name}.encoder.layers.*", vit,
        num_layers=built, quantized=quantized, mlp_quantized=quantized and whole,
    )  # fmt: skip
    if built == vit.num_layers if post_norm is None else post_norm:
        tower.norm(f"{name}.post_layernorm", hidden, bias=True)
    if head:
        _add_head(tower, f"{name}.head", hidden, inner, quantized=quantized and whole)
    return attrs.evolve(vit, positions=side**2)


def add_siglip2(
    tower: Builder, vision: Config, name: str = "vision_tower.vision_model", *, num_layers: int | None = None
) -> Vit:
    """
    SigLIP 2 for images of any shape: patches are rows of numbers, positions are interpolated.

    Source: vLLM 0.33 ``model_executor/models/lfm2_siglip2.py``.
    """
    vision = vision.over(_SIGLIP2)
    vit = read_vit(vision)
    pixels = (
        vision.integer("num_channels", default=3, maximum=2**10) * vision.required("patch_size", maximum=2**12) ** 2
    )
    positions = vision.required("num_patches", maximum=2**24)
    tower.parameter(f"{name}.embeddings.patch_embedding.weight", vit.hidden, pixels)
    tower.parameter(f"{name}.embeddings.patch_embedding.bias", vit.hidden)
    tower.parameter(f"{name}.embeddings.position_embedding.weight", positions, vit.hidden)
    built = vit.num_layers if num_layers is None else num_layers
    add_vit_layers(tower, f"{name}.encoder.layers.*", vit, num_layers=built)
    if built == vit.num_layers:
        tower.norm(f"{name}.post_layernorm", vit.hidden, bias=True)
    return attrs.evolve(vit, positions=positions)


def add_clip(
    tower: Builder,
    vision: Config,
    name: str = "vision_tower.vision_model",
    *,
    num_layers: int | None = None,
    post_norm: bool | None = None,
    quantized: bool = True,
) -> Vit:
    """
    CLIP's image encoder; arguments as in `add_siglip`.
    """
    vision = vision.over(_CLIP)
    vit = read_vit(vision)
    side, patch = add_patches(tower, f"{name}.embeddings.patch_embedding", vision, vit.hidden, bias=False)
    if side * patch != vision.required("image_size"):
        raise vision.refuse("image_size", f"a multiple of patch_size ({patch})")
    tower.parameter(f"{name}.embeddings.class_embedding", vit.hidden)
    _add_positions(tower, f"{name}.embeddings", side**2 + 1, vit.hidden)
    tower.norm(f"{name}.pre_layrnorm", vit.hidden, bias=True)
    built = vit.num_layers if num_layers is None else num_layers
    add_vit_layers(tower, f"{name}.encoder.layers.*", vit, num_layers=built, quantized=quantized)
    if built == vit.num_layers if post_norm is None else post_norm:
        tower.norm(f"{name}.post_layernorm", vit.hidden, bias=True)
    return attrs.evolve(vit, positions=side**2 + 1)


def _add_positions(tower: Builder, name: str, positions: int, hidden: int) -> None:
    tower.parameter(f"{name}.position_embedding.weight", positions, hidden)
    tower.parameter(f"{name}.position_ids", positions, dtype="int64", role="buffer")


def _add_head(tower: Builder, name: str, hidden: int, inner: int, *, quantized: bool) -> None:
    """
    Attention of one learned query over all patches: a plain torch layer, then an MLP.
    """
    tower.parameter(f"{name}.probe", 1, 1, hidden)
    tower.parameter(f"{name}.attention.in_proj_weight", 3 * hidden, hidden)
    tower.parameter(f"{name}.attention.in_proj_bias", 3 * hidden)
    tower.parameter(f"{name}.attention.out_proj.weight", hidden, hidden)
    tower.parameter(f"{name}.attention.out_proj.bias", hidden)
    tower.norm(f"{name}.layernorm", hidden, bias=True)
    tower.linear(f"{name}.mlp.fc1", hidden, inner, bias=True, quantized=quantized)
    tower.linear(f"{name}.mlp.fc2", inner, hidden, shard=ROW, bias=True, quantized=quantized)
