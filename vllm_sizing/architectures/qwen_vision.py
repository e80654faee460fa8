"""
The image and video encoder of Qwen3-VL, Qwen3.5 and the models built on them.

Source: vLLM 0.33 ``model_executor/models/qwen3_vl.py:Qwen3_VisionTransformer``; defaults from
transformers 5.20 ``Qwen3VLVisionConfig``.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.rope import read_rope
from vllm_sizing.architectures.towers import Vit, add_encoder, add_vit_layers, open_tower, read_vit, square
from vllm_sizing.specs.model import ROW

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
# The same of Qwen2-VL, Qwen2.5-VL and the Omni models, ``max_pixels``; videos are frames of that size.
_FRAME_PIXELS = 12_845_056
_VIDEO_FRAMES = 14  # qwen2_vl.py:_MAX_FRAMES_PER_VIDEO


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
    vision = vision.over({**_DEFAULTS, "deepstack_visual_indexes": list(deepstack)})
    vit = read_vit(vision, heads="num_heads", layers="depth")
    patch = vision.required("patch_size", maximum=2**12)
    merge = vision.required("spatial_merge_size", maximum=2**8)
    taps = len(vision.integers("deepstack_visual_indexes") or ())
    with open_tower(builder) as tower:
        _add_blocks(tower, name, vision, vit, positions=vision.required("num_position_embeddings"))
        out = vision.required("out_hidden_size")
        add_merger(tower, f"{name}.merger", vit.hidden, merge, out)
        for tap in range(taps):
            add_merger(tower, f"{name}.deepstack_merger_list.{tap}", vit.hidden, merge, out, shuffled=True)
    pixels_per_token = (patch * merge) ** 2
    for modality, pixels in (("image", _IMAGE_PIXELS), ("video", _VIDEO_PIXELS // 2)):
        tokens = max(1, pixels // pixels_per_token)
        # Text between the frames was counted in: qwen3_vl.py:get_max_video_tokens of 0.11 to 0.13.
        older = tokens * 25 // 2 if modality == "video" else 0
        add_encoder(
            builder, modality, vit, hidden * (1 + taps), tokens=tokens, positions=tokens * merge**2, older=older
        )
    return taps


def add_omni_vision(builder: Builder, vision: Config, hidden: int, *, name: str = "visual") -> int:
    """
    The same in Qwen3-Omni: other names, and positions for an image size; returns the blocks handed on.

    Source: vLLM 0.33 ``qwen3_omni_moe_thinker.py:Qwen3Omni_VisionTransformer``.
    """
    vision = vision.over({**_DEFAULTS, "deepstack_visual_indexes": [8, 16, 24]})
    vit = read_vit(vision, heads="num_heads", layers="depth")
    merge = vision.required("spatial_merge_size", maximum=2**8)
    taps = len(vision.integers("deepstack_visual_indexes") or ())
    side = square(vision, "image_size") // vision.required("patch_size", maximum=2**12)
    merger: dict[str, Any] = {"norm": "ln_q", "up": "mlp.0", "down": "mlp.2"}
    with open_tower(builder) as tower:
        _add_blocks(tower, name, vision, vit, positions=max(1, side**2))
        out = vision.required("out_hidden_size")
        add_merger(tower, f"{name}.merger", vit.hidden, merge, out, **merger)
        for tap in range(taps):
            add_merger(tower, f"{name}.merger_list.{tap}", vit.hidden, merge, out, shuffled=True, **merger)
    add_frames(builder, vision, vit, hidden * (1 + taps))
    return taps


def _add_blocks(tower: Builder, name: str, vision: Config, vit: Vit, *, positions: int) -> None:
    patch = vision.required("patch_size", maximum=2**12)
    add_patch_embed(tower, f"{name}.patch_embed.proj", vision, vit.hidden, patch)
    tower.parameter(f"{name}.pos_embed.weight", positions, vit.hidden)
    add_vision_rope(tower, f"{name}.rotary_pos_emb", vit)
    add_vit_layers(
        tower, f"{name}.blocks.*", vit,
        attention="attn", qkv="qkv", fused=(), output="proj", up="linear_fc1", down="linear_fc2",
        norms=("norm1", "norm2"),
    )  # fmt: skip


def add_deepstack(builder: Builder, taps: int, hidden: int) -> None:
    """
    Where a batch's features wait for the decoder's first layers.
    """
    if taps:
        builder.parameter(
            "deepstack_input_embeds", taps * hidden, role="buffer", tower="vision", per_batched_token=True
        )


def add_patch_embed(tower: Builder, name: str, vision: Config, width: int, patch: int, *, bias: bool = True) -> None:
    """
    The convolution over patches of neighbouring frames.
    """
    frames = vision.required("temporal_patch_size", maximum=2**10)
    channels = vision.required("in_channels", "in_chans", maximum=2**10)
    tower.parameter(f"{name}.weight", width, channels, frames, patch, patch)
    if bias:
        tower.parameter(f"{name}.bias", width)


def add_vision_rope(tower: Builder, name: str, vit: Vit) -> None:
    """
    Rotary embeddings of rows and columns: half a head each.
    """
    table = read_rope(Config({"partial_rotary_factor": 0.5}), vit.head_size, max_position=ROPE_POSITIONS)
    tower.rope(name, attrs.evolve(table, key=("vision", *table.key)), stage="first")


def add_merger(
    tower: Builder,
    name: str,
    width: int,
    merge: int,
    out: int,
    *,
    shuffled: bool = False,
    norm: str = "norm",
    up: str = "linear_fc1",
    down: str = "linear_fc2",
    norm_bias: bool = True,
    quantized: bool = True,
) -> None:
    """
    Neighbouring patches become one embedding.

    Args:
        shuffled: The norm comes after they are joined.
    """
    whole = width * merge**2
    tower.norm(f"{name}.{norm}", whole if shuffled else width, bias=norm_bias)
    tower.linear(f"{name}.{up}", whole, whole, bias=True, quantized=quantized)
    tower.linear(f"{name}.{down}", whole, out, shard=ROW, bias=True, quantized=quantized)


def add_frames(
    builder: Builder,
    vision: Config,
    vit: Vit,
    hidden: int,
    *,
    pixels: int = _FRAME_PIXELS,
    frames: int = _VIDEO_FRAMES,
    video: bool = True,
) -> None:
    """
    The largest image, and a video of such images that still fits the context.

    Source: ``qwen2_vl.py:Qwen2VLProcessingInfo.get_num_frames_with_most_features``.
    """
    merge = vision.required("spatial_merge_size", maximum=2**8)
    depth = vision.required("temporal_patch_size", maximum=2**10)
    image = max(1, pixels // (vision.required("patch_size", maximum=2**12) * merge) ** 2)
    add_encoder(builder, "image", vit, hidden, tokens=image, positions=image * merge**2)
    if video:
        tokens = image * max(1, frames // depth)
        add_encoder(builder, "video", vit, hidden, tokens=tokens, positions=tokens * merge**2, step=image)
