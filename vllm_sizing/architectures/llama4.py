"""
Llama 4, text part: attention in chunks with some layers that see everything, experts in every n-th layer.

Source: vLLM 0.33 ``model_executor/models/llama4.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

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
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import ROW, ChunkedLocal, ModelSpec

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 202048, "hidden_size": 5120, "intermediate_size": 8192, "intermediate_size_mlp": 16384,
    "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 131072, "num_experts_per_tok": 1, "num_local_experts": 16,
    "interleave_moe_layer_step": 1, "attention_chunk_size": 8192,
}  # fmt: skip


def add_language_model(
    builder: Builder, text: Config, *, architecture: str = "Llama4ForCausalLM", prefix: str = ""
) -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    stack = read_stack(text.over(_DEFAULTS))
    text, layers, hidden = stack.text, stack.layers, stack.hidden
    layer = f"{prefix}model.layers.*"
    add_ends(builder, stack, prefix)
    _add_attention(builder, f"{layer}.self_attn", stack)
    step = text.required("interleave_moe_layer_step", minimum=0)
    sparse = tuple(at for at in layers if step and (at + 1) % step == 0)
    inner = text.required("intermediate_size")
    moe = Moe(
        layers=sparse, num_experts=read_experts(text, "num_local_experts"),
        top_k=read_experts(text, "num_experts_per_tok"), intermediate=inner, router="router",
        shared_intermediate=inner, shared="shared_expert",
    )  # fmt: skip
    add_moe(builder, f"{layer}.feed_forward", hidden, moe)
    dense = tuple(sorted(set(layers) - set(sparse)))
    if dense:
        wide = text.required("intermediate_size_mlp")
        builder.gated_mlp(f"{layer}.feed_forward", hidden, wide, layers=dense)
    add_norms(builder, layer, hidden, *TWO_NORMS, layers=layers)
    return stack.with_experts(moe)


def _add_attention(builder: Builder, name: str, stack: Stack) -> None:
    text, layers, attention = stack.text, stack.layers, stack.attention
    heads, kv_heads, size = attention.num_heads, attention.num_kv_heads, attention.head_size
    builder.qkv(f"{name}.qkv_proj", stack.hidden, heads, kv_heads, size, layers=layers)
    builder.linear(f"{name}.o_proj", heads * size, stack.hidden, shard=ROW, layers=layers)
    rotated = _rotated(text, layers)
    if rotated:
        add_rope(builder, name, stack)
        if text.flag("use_qk_norm", default=True):
            builder.norm(f"{name}.qk_norm", size, layers=rotated, dtype="float32")  # Scales nothing but is there.
    chunk = text.integer("attention_chunk_size", default=0, minimum=0, maximum=2**40)
    local = rotated if chunk else ()
    full = tuple(at for at in layers if at not in set(local))
    builder.attention_caches(f"{name}.attn", full, heads, kv_heads, size)
    builder.cache(
        ChunkedLocal(
            layers=local, num_heads=heads, num_kv_heads=kv_heads, head_size=size, head_size_v=size, chunk=chunk
        ),
        f"{name}.attn",
    )


def _rotated(text: Config, layers: Layers) -> Layers:
    """
    Layers with rotary embeddings, which are those that see a chunk.
    """
    marks = text.integers("no_rope_layers", maximum=1)
    if marks:
        if len(marks) < len(layers):
            raise text.refuse("no_rope_layers", f"a list of {len(layers)} integers, one for each layer")
        return tuple(at for at in layers if marks[at])
    interval = text.integer("no_rope_layer_interval", default=4)
    return tuple(at for at in layers if (at + 1) % interval)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Llama 4 that reads only text.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text)
    return finish(checkpoint, builder, stack)
