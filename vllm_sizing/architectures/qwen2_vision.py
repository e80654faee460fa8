"""
The image and video encoders of Qwen2-VL and Qwen2.5-VL, which many others took over.

Source: vLLM 0.33 ``model_executor/models/qwen2_vl.py``, ``qwen2_5_vl.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.qwen_vision import add_merger, add_patch_embed, add_vision_rope
from vllm_sizing.architectures.towers import Vit, add_encoder, add_vit_layers, open_tower, read_vit

_COMMON = {
    "depth": 32, "num_heads": 16, "in_channels": 3, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2
}  # fmt: skip
_QWEN2 = {**_COMMON, "embed_dim": 1280, "hidden_size": 3584, "mlp_ratio": 4}
_QWEN25 = {**_COMMON, "hidden_size": 3584, "intermediate_size": 3420, "out_hidden_size": 3584}
# Largest image that the processors of the released checkpoints let through: preprocessor_config.json,
# max_pixels.
IMAGE_PIXELS = 12_845_056
_VIDEO_FRAMES = 14  # qwen2_vl.py:_MAX_FRAMES_PER_VIDEO


def add_qwen2_vision(builder: Builder, vision: Config, hidden: int, *, name: str = "visual") -> None:
    """
    Qwen2-VL's: blocks with biases and layer norms, an MLP without a gate.
    """
    vision = vision.over(_QWEN2)
    vit = read_vit(vision, hidden="embed_dim", heads="num_heads", layers="depth", ratio="mlp_ratio")
    with open_tower(builder) as tower:
        add_patch_embed(tower, f"{name}.patch_embed.proj", vision, vit.hidden, _patch(vision), bias=False)
        add_vision_rope(tower, f"{name}.rotary_pos_emb", vit)
        add_vit_layers(
            tower, f"{name}.blocks.*", vit,
            attention="attn", qkv="qkv", fused=(), output="proj", norms=("norm1", "norm2"),
        )  # fmt: skip
        # The class of the merger always joins two by two.
        _add_merger(tower, name, vit, 2, vision.required("hidden_size"))
    add_frames(builder, vision, vit, hidden)


def add_qwen25_vision(builder: Builder, vision: Config, hidden: int, *, name: str = "visual") -> None:
    """
    Qwen2.5-VL's: RMS norms, and an MLP with a gate.
    """
    vision = vision.over(_QWEN25)
    vit = read_vit(vision, heads="num_heads", layers="depth")
    with open_tower(builder) as tower:
        add_patch_embed(tower, f"{name}.patch_embed.proj", vision, vit.hidden, _patch(vision), bias=False)
        add_vision_rope(tower, f"{name}.rotary_pos_emb", vit)
        add_vit_layers(
            tower, f"{name}.blocks.*", vit,
            attention="attn", qkv="qkv", fused=(), output="proj", up="gate_up_proj", down="down_proj", gated=True,
            norms=("norm1", "norm2"), norm_bias=False,
        )  # fmt: skip
        merge = vision.required("spatial_merge_size", maximum=2**8)
        _add_merger(tower, name, vit, merge, vision.required("out_hidden_size"), norm_bias=False)
    add_frames(builder, vision, vit, hidden)


def _patch(vision: Config) -> int:
    return vision.required("patch_size", maximum=2**12)


def _add_merger(tower: Builder, name: str, vit: Vit, merge: int, out: int, *, norm_bias: bool = True) -> None:
    add_merger(
        tower, f"{name}.merger", vit.hidden, merge, out, norm="ln_q", up="mlp.0", down="mlp.2", norm_bias=norm_bias
    )


def add_frames(
    builder: Builder,
    vision: Config,
    vit: Vit,
    hidden: int,
    *,
    pixels: int = IMAGE_PIXELS,
    frames: int = _VIDEO_FRAMES,
    video: bool = True,
) -> None:
    """
    The largest image, and a video of such images that still fits the context.

    Source: ``qwen2_vl.py:Qwen2VLProcessingInfo.get_num_frames_with_most_features``.
    """
    merge = vision.required("spatial_merge_size", maximum=2**8)
    depth = vision.required("temporal_patch_size", maximum=2**10)
    image = max(1, pixels // (_patch(vision) * merge) ** 2)
    add_encoder(builder, "image", vit, hidden, tokens=image, positions=image * merge**2)
    if video:
        tokens = image * max(1, frames // depth)
        add_encoder(builder, "video", vit, hidden, tokens=tokens, positions=tokens * merge**2, step=image)
