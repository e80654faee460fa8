"""
gpt-oss: experts with biases, attention sinks, a window in every other layer.

Source: vLLM 0.33 ``model_executor/models/gpt_oss.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Moe,
    Stack,
    add_ends,
    add_moe,
    add_norms,
    add_rope,
    add_self_attention,
    finish,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import ModelSpec

_DEFAULTS = {
    "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131072,
    "sliding_window": 128, "num_experts_per_tok": 4, "intermediate_size": 2880,
    "rope_parameters": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096},
}  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder; both ends are on every pipeline stage and never tied.
    """
    text = text.over(_DEFAULTS)
    stack = attrs.evolve(
        read_stack(text),
        tied=False,
        num_experts=text.integer("num_local_experts", "num_experts", default=128, maximum=2**16),
        num_experts_per_token=read_experts(text, "num_experts_per_tok"),
    )
    layer, layers = f"{prefix}model.layers.*", stack.layers
    add_ends(builder, stack, prefix, everywhere=True, embed="model.embedding", lora=False, head_quantized=False)
    window = text.integer("sliding_window", default=0, minimum=0)
    add_self_attention(
        builder, f"{layer}.attn", stack,
        bias=True, output_bias=True, sinks=True,
        windows={at: window for at in layers if at % 2 == 0} if window else {},
    )  # fmt: skip
    add_rope(builder, f"{layer}.attn", stack, dtype="float32")
    moe = Moe(
        layers=layers, num_experts=stack.num_experts, top_k=stack.num_experts_per_token,
        intermediate=text.required("intermediate_size"), router="router", router_bias=True, expert_bias=True,
        adapters=1,  # The checkpoint stores gate and up as one.
    )  # fmt: skip
    add_moe(builder, f"{layer}.mlp", stack.hidden, moe)
    add_norms(builder, layer, stack.hidden, *TWO_NORMS, layers=layers)
    builder.traits.update(("lora_3d_experts", "experts_not_silu"))
    return stack


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a gpt-oss.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
