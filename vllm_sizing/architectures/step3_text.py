"""
Step 3: one key and value head for all queries, which share a narrow projection, and experts beside a shared one.

Source: vLLM 0.33 ``model_executor/models/step3_text.py``; defaults of vLLM's ``Step3TextConfig``.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import (
    MAX_HEADS,
    MAX_POSITION,
    TWO_NORMS,
    Attention,
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
from vllm_sizing.specs.model import REPLICATED, ROW, ModelSpec

_DEFAULTS: dict[str, Any] = {
    "hidden_size": 7168, "intermediate_size": 18432, "num_attention_heads": 64, "num_hidden_layers": 61,
    "max_seq_len": 65536, "vocab_size": 128815, "moe_intermediate_size": 5120, "moe_num_experts": 48, "moe_top_k": 3,
    "max_position_embedding": 65536, "share_expert_dim": 5120, "share_q_dim": 2048, "head_dim": 256,
}  # fmt: skip
_SPARSE = range(4, 60)


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder.
    """
    text = text.over(_DEFAULTS)
    attention = Attention(
        num_heads=text.required("num_attention_heads", maximum=MAX_HEADS),
        num_kv_heads=1,
        head_size=text.required("head_dim", maximum=MAX_HEADS),
    )
    stack = attrs.evolve(
        read_stack(text, attention=attention),
        max_position=text.required("max_position_embedding", maximum=MAX_POSITION),
        num_experts=read_experts(text, "moe_num_experts"),
        num_experts_per_token=read_experts(text, "moe_top_k"),
    )
    layer, hidden = f"{prefix}model.layers.*", stack.hidden
    add_ends(builder, stack, prefix)
    _add_attention(builder, f"{layer}.self_attn", stack)
    sparse = _sparse(text, stack.layers)
    shared = text.required("share_expert_dim")
    moe = Moe(
        layers=sparse, num_experts=stack.num_experts, top_k=stack.num_experts_per_token,
        intermediate=text.required("moe_intermediate_size"),
    )  # fmt: skip
    add_moe(builder, f"{layer}.moe", hidden, moe)
    builder.gated_mlp(f"{layer}.share_expert", hidden, shared, layers=sparse)
    dense = without(stack.layers, sparse)
    builder.gated_mlp(f"{layer}.mlp", hidden, text.required("intermediate_size"), layers=dense)
    add_norms(builder, layer, hidden, *TWO_NORMS, layers=stack.layers)
    builder.traits.add("no_lora")
    return stack


def _add_attention(builder: Builder, name: str, stack: Stack) -> None:
    """
    Queries go through a narrow space; its projection and the single head are on every rank.
    """
    hidden, size, heads = stack.hidden, stack.attention.head_size, stack.attention.num_heads
    narrow = stack.text.integer("share_q_dim", default=0, minimum=0) or size
    builder.linear(f"{name}.qkv_proj", hidden, narrow + 2 * size, shard=REPLICATED, layers=stack.layers)
    builder.norm(f"{name}.inter_norm", narrow, layers=stack.layers)
    builder.linear(f"{name}.wq", narrow, heads * size, layers=stack.layers)
    builder.linear(f"{name}.o_proj", heads * size, hidden, shard=ROW, layers=stack.layers)
    builder.attention_caches(f"{name}.attn", stack.layers, heads, 1, size)
    add_rope(builder, name, stack)


def _sparse(text: Config, layers: Layers) -> Layers:
    listed = text.data.get("moe_layers_enum")
    if listed is None:
        return tuple(at for at in layers if at in _SPARSE)
    words = listed.split(",") if isinstance(listed, str) else listed
    try:
        chosen = {int(word) for word in words}
    except (TypeError, ValueError):
        raise text.refuse("moe_layers_enum", "numbers of layers, divided by commas") from None
    return tuple(at for at in layers if at in chosen)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Step 3.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
