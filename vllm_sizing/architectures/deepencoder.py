"""
SAM's encoder with two more convolutions, the first half of DeepSeek-OCR's DeepEncoder.

Source: vLLM 0.33 ``model_executor/models/deepencoder.py:build_sam_vit_b``, which fixes all sizes.
"""

from __future__ import annotations

from vllm_sizing.architectures.builder import Builder

_SIDE, _PATCH, _WIDTH, _HEADS, _DEPTH, _NECK, _MIDDLE = 1024, 16, 768, 12, 12, 256, 512
_WINDOW = 14
_GLOBAL = 4  # So many blocks see the whole image.


def add_sam(tower: Builder, name: str, *, out: int = 1024) -> None:
    """
    Plain torch layers, whole on every rank.

    Args:
        out: Channels of the last convolution.
    """
    grid, head = _SIDE // _PATCH, _WIDTH // _HEADS
    _add_conv(tower, f"{name}.patch_embed.proj", 3, _WIDTH, _PATCH, bias=True)
    tower.parameter(f"{name}.pos_embed", grid, grid, _WIDTH)
    block, layers = f"{name}.blocks.*", tuple(range(_DEPTH))
    for norm in ("norm1", "norm2"):
        tower.norm(f"{block}.{norm}", _WIDTH, layers=layers, bias=True)
    for part, inputs, outputs in (
        ("attn.qkv", _WIDTH, 3 * _WIDTH),
        ("attn.proj", _WIDTH, _WIDTH),
        ("mlp.lin1", _WIDTH, 4 * _WIDTH),
        ("mlp.lin2", 4 * _WIDTH, _WIDTH),
    ):
        tower.parameter(f"{block}.{part}.weight", outputs, inputs, layers=layers)
        tower.parameter(f"{block}.{part}.bias", outputs, layers=layers)
    for side, owners in ((grid, layers[:_GLOBAL]), (_WINDOW, layers[_GLOBAL:])):
        for axis in ("h", "w"):
            tower.parameter(f"{block}.attn.rel_pos_{axis}", 2 * side - 1, head, layers=owners)
    for at, inputs, kernel in ((0, _WIDTH, 1), (2, _NECK, 3)):
        _add_conv(tower, f"{name}.neck.{at}", inputs, _NECK, kernel)
        tower.norm(f"{name}.neck.{at + 1}", _NECK, bias=True)
    _add_conv(tower, f"{name}.net_2", _NECK, _MIDDLE, 3)
    _add_conv(tower, f"{name}.net_3", _MIDDLE, out, 3)


def _add_conv(tower: Builder, name: str, inputs: int, outputs: int, kernel: int, *, bias: bool = False) -> None:
    tower.parameter(f"{name}.weight", outputs, inputs, kernel, kernel)
    if bias:
        tower.parameter(f"{name}.bias", outputs)
