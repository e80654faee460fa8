"""
OLMoE.

Source: vLLM 0.33 ``model_executor/models/olmoe.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Moe,
    add_ends,
    add_moe,
    add_norms,
    add_rope,
    add_self_attention,
    finish,
    read_experts,
    read_stack,
    read_windows,
)
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.specs.model import ModelSpec

_DEFAULTS = {"max_position_embeddings": 4096, "num_experts_per_tok": 8, "intermediate_size": 2048}


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an OLMoE: norms of all of q and k, whole on every rank.
    """
    builder, text = checkpoint.builder(), checkpoint.text.over(_DEFAULTS)
    stack = attrs.evolve(
        read_stack(text),
        tied=False,
        num_experts=text.integer("num_experts", "num_local_experts", default=64, maximum=2**16),
        num_experts_per_token=read_experts(text, "num_experts_per_tok"),
    )
    layer, layers, attention = "model.layers.*", stack.layers, stack.attention
    add_ends(builder, stack, "", everywhere=True, lora=False)
    add_self_attention(
        builder, f"{layer}.self_attn", stack, windows=read_windows(text, layers, per_layer=False)
    )
    builder.norm(f"{layer}.self_attn.q_norm", attention.num_heads * attention.head_size, layers=layers)
    builder.norm(f"{layer}.self_attn.k_norm", attention.num_kv_heads * attention.head_size, layers=layers)
    add_rope(builder, f"{layer}.self_attn", stack)
    moe = Moe(
        layers=layers, num_experts=stack.num_experts, top_k=stack.num_experts_per_token,
        intermediate=text.required("intermediate_size"),
    )  # fmt: skip
    add_moe(builder, f"{layer}.mlp", stack.hidden, moe)
    add_norms(builder, layer, stack.hidden, *TWO_NORMS, layers=layers)
    return finish(checkpoint, builder, stack)
