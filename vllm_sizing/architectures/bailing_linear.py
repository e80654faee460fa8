"""
Ling and Ring 2.5: linear attention, latent attention in the last layer of each group, and experts.

Source: vLLM 0.33 ``model_executor/models/bailing_moe_linear.py``, ``layers/mamba/linear/bailing_linear_attn.py``;
defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Moe,
    Stack,
    add_ends,
    add_moe,
    add_norms,
    add_rope,
    finish,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers, without
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.mla import add_latent_attention, read_latent
from vllm_sizing.specs.model import COLUMN, ROW, ModelSpec, Part, RecurrentState, StateTensor

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 157184, "hidden_size": 2560, "intermediate_size": 6144, "moe_intermediate_size": 768,
    "num_hidden_layers": 42, "num_attention_heads": 32, "num_shared_experts": 1, "kv_lora_rank": 512,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128, "num_experts_per_tok": 8,
    "first_k_dense_replace": 2, "num_experts": 512, "layer_group_size": 6, "max_position_embeddings": 262144,
}  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder.
    """
    text = text.over(_DEFAULTS)
    latent = attrs.evolve(read_latent(text), absorbed=True)
    stack = attrs.evolve(
        read_stack(text, attention=latent.attention),
        tied=False,
        num_experts=read_experts(text, "num_experts", "num_local_experts"),
        num_experts_per_token=read_experts(text, "num_experts_per_tok", "num_experts_per_token"),
    )
    layer, layers, hidden = f"{prefix}model.layers.*", stack.layers, stack.hidden
    group = text.required("layer_group_size", minimum=0)
    linear = tuple(at for at in layers if group and (at + 1) % group)
    attending = without(layers, linear)
    add_ends(builder, stack, prefix, embed="model.word_embeddings")
    if linear:
        _add_linear_attention(builder, f"{layer}.self_attn", stack, layers=linear)
    if attending:
        name = f"{layer}.self_attn"
        add_latent_attention(builder, name, hidden, latent, layers=attending)
        plain = text.changed(partial_rotary_factor=1.0)
        add_rope(builder, name, stack, text=plain, head_size=latent.rope, neox=False, layers=attending)
    _add_experts(builder, layer, stack)
    add_norms(builder, layer, hidden, *TWO_NORMS, layers=layers)
    builder.traits.add("no_lora")
    return stack


def _add_linear_attention(builder: Builder, name: str, stack: Stack, *, layers: Layers) -> None:
    """
    A gated attention that keeps a matrix per head.
    """
    text, hidden, heads = stack.text, stack.hidden, stack.attention.num_heads
    size = text.integer("qk_rope_head_dim" if _as_transformers(text) else "head_dim", default=hidden // heads)
    bias, inner = text.flag("use_bias", default=False), heads * size
    builder.qkv(
        f"{name}.query_key_value", hidden, heads, heads, size,
        layers=layers, bias=bias or text.flag("use_qkv_bias", default=False), fused=(),
    )  # fmt: skip
    if text.flag("use_qk_norm", default=False):
        builder.norm(f"{name}.query_layernorm", size, layers=layers)
        builder.norm(f"{name}.key_layernorm", size, layers=layers)
    builder.linear(f"{name}.g_proj", hidden, inner, layers=layers)
    builder.linear(f"{name}.dense", inner, hidden, shard=ROW, layers=layers, bias=bias)
    builder.norm(f"{name}.g_norm", inner, layers=layers, shard=COLUMN)
    builder.parameter(f"{name}.slope_rate", heads, layers=layers, dtype="float32", role="buffer")
    add_rope(builder, name, stack, head_size=size, layers=layers)
    state = StateTensor(columns=(Part(heads),), depth=size * size)
    builder.cache_layers.append(RecurrentState(layers=layers, kind="linear_attention", states=(state,)))


def _as_transformers(text: Config) -> bool:
    return text.text("model_type") == "bailing_hybrid"


def _add_experts(builder: Builder, layer: str, stack: Stack) -> None:
    text, hidden = stack.text, stack.hidden
    first = text.required("first_k_dense_replace", minimum=0)
    sparse = tuple(at for at in stack.layers if stack.num_experts > 1 and at >= first)
    dense = without(stack.layers, sparse)
    builder.gated_mlp(f"{layer}.mlp", hidden, text.required("intermediate_size"), layers=dense)
    width = text.required("moe_intermediate_size")
    shared = text.integer("moe_shared_expert_intermediate_size", default=width)
    moe = Moe(
        layers=sparse, num_experts=stack.num_experts, top_k=stack.num_experts_per_token, intermediate=width,
        router_dtype=None if text.text("router_dtype", default="fp32") != "fp32" else "float32",
        correction_bias="gate.expert_bias" if text.flag("moe_router_enable_expert_bias", default=False) else "",
        shared_intermediate=shared * text.required("num_shared_experts", minimum=0, maximum=2**16),
    )  # fmt: skip
    add_moe(builder, f"{layer}.mlp", hidden, moe)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Ling or Ring 2.5.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
