"""
MiniCPM3: latent attention whose keys and values vLLM caches for every head.

Source: vLLM 0.33 ``model_executor/models/minicpm3.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Stack,
    add_ends,
    add_norms,
    add_rope,
    finish,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.mla import add_latent_attention, read_latent
from vllm_sizing.specs.model import ModelSpec

_DEFAULTS = {
    "q_lora_rank": 768, "kv_lora_rank": 256, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64,
    "max_position_embeddings": 32768,
}  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder; both ends are on every pipeline stage.
    """
    text = text.over(_DEFAULTS)
    latent = attrs.evolve(read_latent(text), absorbed=False)
    stack = read_stack(text, attention=latent.attention)
    layer, layers = f"{prefix}model.layers.*", stack.layers
    add_ends(builder, stack, prefix, everywhere=True)
    add_latent_attention(builder, f"{layer}.self_attn", stack.hidden, latent, layers=layers)
    add_rope(builder, f"{layer}.self_attn", stack, head_size=latent.rope)
    builder.gated_mlp(f"{layer}.mlp", stack.hidden, text.required("intermediate_size"), layers=layers)
    add_norms(builder, layer, stack.hidden, *TWO_NORMS, layers=layers)
    return stack


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a MiniCPM3.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
