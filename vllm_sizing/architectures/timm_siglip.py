"""
timm's ``vit_so400m_patch14_siglip_384`` with its pooling head, as DeepSeek-VL2 and MiniCPM-V 2 build it.

Source: timm 1.0.31; vLLM 0.33 ``model_executor/models/deepseek_vl2.py``, ``minicpmv.py``.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.towers import Vit
from vllm_sizing.specs.model import REPLICATED, ROW

SIDE, PATCH = 384, 14
_WIDTH, _INNER, _HEADS, _DEPTH = 1152, 4304, 16, 27


def add_timm_siglip(tower: Builder, name: str) -> Vit:
    """
    Only the MLPs are divided.
    """
    vit = Vit(
        hidden=_WIDTH, intermediate=_INNER, num_heads=_HEADS, num_layers=_DEPTH, positions=(SIDE // PATCH) ** 2
    )  # fmt: skip
    tower.parameter(f"{name}.patch_embed.proj.weight", _WIDTH, 3, PATCH, PATCH)
    tower.parameter(f"{name}.patch_embed.proj.bias", _WIDTH)
    tower.parameter(f"{name}.pos_embed", vit.positions, _WIDTH)
    block, layers = f"{name}.blocks.*", tuple(range(_DEPTH))
    for norm in ("norm1", "norm2"):
        tower.norm(f"{block}.{norm}", _WIDTH, layers=layers, bias=True)
    _add_dense(tower, f"{block}.attn.qkv", 3 * _WIDTH, layers=layers)
    _add_dense(tower, f"{block}.attn.proj", _WIDTH, layers=layers)
    _add_mlp(tower, f"{block}.mlp", layers=layers)
    tower.norm(f"{name}.norm", _WIDTH, bias=True)
    pool = f"{name}.attn_pool"
    tower.parameter(f"{pool}.latent", _WIDTH)
    for part, outputs in (("q", _WIDTH), ("kv", 2 * _WIDTH), ("proj", _WIDTH)):
        _add_dense(tower, f"{pool}.{part}", outputs)
    tower.norm(f"{pool}.norm", _WIDTH, bias=True)
    _add_mlp(tower, f"{pool}.mlp")
    return vit


def _add_dense(tower: Builder, name: str, outputs: int, **facts: Any) -> None:
    tower.linear(name, _WIDTH, outputs, shard=REPLICATED, bias=True, quantized=False, **facts)


def _add_mlp(tower: Builder, name: str, **facts: Any) -> None:
    tower.linear(f"{name}.fc1", _WIDTH, _INNER, bias=True, quantized=False, **facts)
    tower.linear(f"{name}.fc2", _INNER, _WIDTH, shard=ROW, bias=True, quantized=False, **facts)
