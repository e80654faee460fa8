"""
The image and video encoder of Qwen3-VL, Qwen3.5 and the models built on them.

Source: vLLM 0.33 ``model_executor/models/qwen3_vl.py:Qwen3_VisionTransformer``; defaults from
transformers 5.20 ``Qwen3VLVisionConfig``.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.rope import read_rope
from vllm_sizing.specs.model import ROW, Encoder, Part

_DEFAULTS = {
    "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "in_channels": 3,
    "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 2304,
    "out_hidden_size": 3584,
}  # fmt: skip
ROPE_POSITIONS = 8192
# Largest item that the processors of the released checkpoints let through: preprocessor_config.json and
# video_preprocessor_config.json of Qwen3-VL and Qwen3.5, ``size.longest_edge``.
_IMAGE_PIXELS = 16_777_216
_VIDEO_PIXELS = 25_165_824


def add_qwen_vision(
    builder: Builder, vision: Config, hidden: int, *, name: str = "visual", deepstack: tuple[int, ...] = ()
) -> int:
    """
    The tower on the first pipeline stage, and what profiling knows of it.

    Args:
        hidden: Width of the decoder.

        deepstack: Blocks whose output is handed to the decoder too where the config does not say.

    Returns:
        How many blocks that are.
    """
    vision = vision.over(_DEFAULTS)
    width, inner = vision.required("hidden_size"), vision.required("intermediate_size")
    heads = vision.required("num_heads", maximum=2**16)
    if width % heads:
        raise vision.refuse("num_heads", f"a divisor of hidden_size ({width})")
    patch = vision.required("patch_size", maximum=2**12)
    merge = vision.required("spatial_merge_size", maximum=2**8)
    frames, channels = vision.required("temporal_patch_size", maximum=2**10), vision.required("in_channels")
    levels = vision.integers("deepstack_visual_indexes")
    taps = len(deepstack) if levels is None else len(levels)
    builder.parameter(f"{name}.patch_embed.proj.weight", width, channels, frames, patch, patch, tower="vision")
    builder.parameter(f"{name}.patch_embed.proj.bias", width, tower="vision")
    builder.parameter(f"{name}.pos_embed.weight", vision.required("num_position_embeddings"), width, tower="vision")
    table = read_rope(Config({"partial_rotary_factor": 0.5}), width // heads, max_position=ROPE_POSITIONS)
    builder.rope(f"{name}.rotary_pos_emb", table, tower="vision", stage="first")
    add_qwen_blocks(builder, f"{name}.blocks.*", width, inner, heads, count=vision.num_layers("depth"))
    out = vision.required("out_hidden_size")
    _add_merger(builder, f"{name}.merger", width, merge, out, norm=width)
    if taps:
        merged = f"{name}.deepstack_merger_list.*"
        _add_merger(builder, merged, width, merge, out, norm=width * merge**2, count=taps)
    pixels_per_token = (patch * merge) ** 2
    for modality, pixels in (("image", _IMAGE_PIXELS), ("video", _VIDEO_PIXELS // 2)):
        builder.encoders.append(
            Encoder(
                modality=modality, max_tokens_per_item=max(1, pixels // pixels_per_token),
                hidden_size=hidden * (1 + taps), patches_per_token=merge**2, width=width,
                intermediate_size=inner, num_heads=heads,
            )
        )  # fmt: skip
    return taps


def add_qwen_blocks(builder: Builder, block: str, width: int, inner: int, heads: int, *, count: int) -> None:
    """
    Attention and MLP of all blocks; divided, and quantized like the decoder.
    """
    common: dict[str, Any] = {"tower": "vision", "count": count, "bias": True, "lora": False}
    # Every head has its own keys; a rank holds whole heads.
    parts = (Part(width, heads, copied=False),) * 3
    builder.linear(f"{block}.attn.qkv", width, parts, **common)
    builder.linear(f"{block}.attn.proj", width, width, shard=ROW, **common)
    builder.linear(f"{block}.mlp.linear_fc1", width, inner, **common)
    builder.linear(f"{block}.mlp.linear_fc2", inner, width, shard=ROW, **common)
    for norm in ("norm1", "norm2"):
        builder.norm(f"{block}.{norm}", width, bias=True, tower="vision", count=count)


def _add_merger(builder: Builder, name: str, width: int, merge: int, out: int, *, norm: int, count: int = 1) -> None:
    """
    Neighbouring patches become one embedding.
    """
    whole = width * merge**2
    common: dict[str, Any] = {"tower": "vision", "count": count, "bias": True, "lora": False}
    builder.norm(f"{name}.norm", norm, bias=True, tower="vision", count=count)
    builder.linear(f"{name}.linear_fc1", whole, whole, **common)
    builder.linear(f"{name}.linear_fc2", whole, out, shard=ROW, **common)
