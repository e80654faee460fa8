"""
Mixtral and Phi-3.5-MoE: eight or sixteen experts in every layer.

Source: vLLM 0.33 ``model_executor/models/mixtral.py``, ``phimoe.py``; defaults from transformers 5.20.
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
    read_windows,
)
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import ModelSpec

_DEFAULTS = {"num_key_value_heads": 8, "num_experts_per_tok": 2, "max_position_embeddings": 131072}


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    The decoder; both ends are on every pipeline stage.
    """
    phi = architecture == "PhiMoEForCausalLM"
    text = text.over(_DEFAULTS)
    stack = attrs.evolve(
        read_stack(text),
        num_experts=text.integer("num_local_experts", "num_experts", default=16 if phi else 8, maximum=2**16),
        num_experts_per_token=read_experts(text, "num_experts_per_tok"),
    )
    if phi:
        stack = attrs.evolve(stack, tied=False)
    layer, layers = f"{prefix}model.layers.*", stack.layers
    add_ends(builder, stack, prefix, everywhere=True, norm_bias=phi, bias=phi, head_quantized=not phi)
    add_self_attention(
        builder, f"{layer}.self_attn", stack,
        bias=phi, output_bias=phi, windows=read_windows(text, layers, per_layer=False),
    )  # fmt: skip
    add_rope(builder, f"{layer}.self_attn", stack)
    moe = Moe(
        layers=layers, num_experts=stack.num_experts, top_k=stack.num_experts_per_token,
        intermediate=text.required("intermediate_size"),
    )  # fmt: skip
    add_moe(builder, f"{layer}.block_sparse_moe", stack.hidden, moe)
    add_norms(builder, layer, stack.hidden, *TWO_NORMS, layers=layers, bias=phi)
    return stack


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Mixtral or Phi-3.5-MoE.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
