"""
SigLIP, the image encoder of Gemma 3 and others.

Source: vLLM 0.33 ``model_executor/models/siglip.py``; defaults from transformers 5.20
``SiglipVisionConfig``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import ROW
from vllm_sizing.specs.value import Value

_DEFAULTS = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_channels": 3, "image_size": 224, "patch_size": 16,
}  # fmt: skip


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Tower(Value):
    """
    Sizes of an image encoder, as projectors and profiling need them.

    Attributes:
        num_patches: Positions of one image.
    """

    hidden: int
    intermediate: int
    num_heads: int
    num_patches: int


def add_siglip(builder: Builder, vision: Config, name: str = "vision_tower.vision_model") -> Tower:
    """
    The whole tower on the first stage; its linear layers are divided and may be quantized.
    """
    vision = vision.over(_DEFAULTS)
    hidden, inner = vision.required("hidden_size"), vision.required("intermediate_size")
    heads = vision.required("num_attention_heads", maximum=2**16)
    number, channels = vision.num_layers(), vision.required("num_channels", maximum=2**10)
    patch, image = vision.required("patch_size", maximum=2**16), vision.required("image_size", maximum=2**20)
    if hidden % heads:
        raise vision.refuse("num_attention_heads", f"a divisor of hidden_size ({hidden})")
    if patch > image:
        raise vision.refuse("patch_size", f"at most image_size ({image})")
    patches = (image // patch) ** 2
    facts = {"tower": "vision"}
    builder.parameter(f"{name}.embeddings.patch_embedding.weight", hidden, channels, patch, patch, **facts)
    builder.parameter(f"{name}.embeddings.patch_embedding.bias", hidden, **facts)
    builder.parameter(f"{name}.embeddings.position_embedding.weight", patches, hidden, **facts)
    builder.parameter(f"{name}.embeddings.position_ids", patches, dtype="int64", role="buffer", **facts)
    layer = f"{name}.encoder.layers.*"
    common = {"lora": False, "tower": "vision", "count": number, "bias": True}
    builder.qkv(f"{layer}.self_attn.qkv_proj", hidden, heads, heads, hidden // heads, layers=None, **common)
    builder.linear(f"{layer}.self_attn.out_proj", hidden, hidden, shard=ROW, **common)
    builder.linear(f"{layer}.mlp.fc1", hidden, inner, **common)
    builder.linear(f"{layer}.mlp.fc2", inner, hidden, shard=ROW, **common)
    for norm in ("layer_norm1", "layer_norm2"):
        builder.norm(f"{layer}.{norm}", hidden, bias=True, count=number, **facts)
    builder.norm(f"{name}.post_layernorm", hidden, bias=True, **facts)
    return Tower(hidden=hidden, intermediate=inner, num_heads=heads, num_patches=patches)
