"""
The image and video encoders of Qwen2-VL and Qwen2.5-VL, which many others took over.

Source: vLLM 0.33 ``model_executor/models/qwen2_vl.py``, ``qwen2_5_vl.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.qwen_vision import add_frames, add_merger, add_patch_embed, add_vision_rope
from vllm_sizing.architectures.towers import Vit, add_vit_layers, open_tower, read_vit

_COMMON = {
    "depth": 32, "num_heads": 16, "in_channels": 3, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2
}  # fmt: skip
_QWEN2 = {**_COMMON, "embed_dim": 1280, "hidden_size": 3584, "mlp_ratio": 4}
_QWEN25 = {**_COMMON, "hidden_size": 3584, "intermediate_size": 3420, "out_hidden_size": 3584}


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


def add_qwen25_vision(
    builder: Builder,
    vision: Config,
    hidden: int,
    *,
    name: str = "visual",
    modality: str = "vision",
    kv_heads: int = 0,
) -> None:
    """
    Qwen2.5-VL's: RMS norms, and an MLP with a gate.

    Args:
        kv_heads: Where there are fewer than heads.
    """
    vision = vision.over(_QWEN25)
    vit = read_vit(vision, heads="num_heads", layers="depth")
    if kv_heads and vit.num_heads % kv_heads:
        raise vision.refuse("num_key_value_heads", f"a divisor of num_heads ({vit.num_heads})")
    with open_tower(builder, modality) as tower:
        add_patch_embed(tower, f"{name}.patch_embed.proj", vision, vit.hidden, _patch(vision), bias=False)
        add_vision_rope(tower, f"{name}.rotary_pos_emb", vit)
        add_vit_layers(
            tower, f"{name}.blocks.*", vit,
            attention="attn", qkv="qkv", fused=(), output="proj", up="gate_up_proj", down="down_proj", gated=True,
            norms=("norm1", "norm2"), norm_bias=False, kv_heads=kv_heads,
        )  # fmt: skip
        merge = vision.required("spatial_merge_size", maximum=2**8)
        _add_merger(tower, name, vit, merge, vision.required("out_hidden_size"), norm_bias=False)
    add_frames(builder, vision, vit, hidden, video=modality == "vision")


def _patch(vision: Config) -> int:
    return vision.required("patch_size", maximum=2**12)


def _add_merger(tower: Builder, name: str, vit: Vit, merge: int, out: int, *, norm_bias: bool = True) -> None:
    add_merger(
        tower, f"{name}.merger", vit.hidden, merge, out, norm="ln_q", up="mlp.0", down="mlp.2", norm_bias=norm_bias
    )
