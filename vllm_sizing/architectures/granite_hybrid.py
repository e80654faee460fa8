"""
Granite 4: Mamba 2 or attention in each layer, with experts, a shared MLP, or both.

Source: vLLM 0.33 ``model_executor/models/granitemoehybrid.py``; defaults from transformers 5.20.
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
    add_self_attention,
    finish,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.recurrent import Mamba2, add_mamba2
from vllm_sizing.specs.model import ROW, ModelSpec

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "max_position_embeddings": 2048, "num_local_experts": 8, "num_experts_per_tok": 2,
    "shared_intermediate_size": 1024, "mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_state": 256,
    "mamba_d_conv": 4, "mamba_expand": 2,
}  # fmt: skip
_ATTENTION, _STATE = ("full_attention", "attention"), ("linear_attention", "mamba")


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder; embeddings and head are on every pipeline stage.
    """
    text = text.over(_DEFAULTS).changed(head_dim=None)  # The class does not read it.
    stack = read_stack(text)
    layer, layers, hidden = f"{prefix}model.layers.*", stack.layers, stack.hidden
    key = "layer_types" if text.has("layer_types") else "layers_block_type"
    kinds = text.layer_types(len(layers), key) or [_STATE[0]] * len(layers)
    if set(kinds) - {*_ATTENTION, *_STATE}:
        raise text.refuse(key, "a list of full_attention and linear_attention")
    attending = tuple(at for at in layers if kinds[at] in _ATTENTION)
    add_ends(builder, stack, prefix, everywhere=True)
    # The mixer calls itself so, though its module is called mamba.
    add_mamba2(
        builder, f"{layer}.mixer", hidden, _read_mixer(text, hidden),
        layers=tuple(at for at in layers if kinds[at] in _STATE),
    )  # fmt: skip
    bias = text.flag("attention_bias", default=False)
    add_self_attention(builder, f"{layer}.self_attn", stack, layers=attending, bias=bias, output_bias=bias)
    if attending and text.text("position_embedding_type") == "rope":
        add_rope(builder, f"{layer}.self_attn", stack, layers=attending)
    stack = _add_experts(builder, layer, stack)
    add_norms(builder, layer, hidden, *TWO_NORMS, layers=layers)
    return stack


def _read_mixer(text: Config, hidden: int) -> Mamba2:
    heads, inner = text.required("mamba_n_heads", maximum=2**16), text.required("mamba_expand", maximum=2**10) * hidden
    if heads * (text.automatic("mamba_d_head") or inner // heads) != inner:
        raise text.refuse("mamba_n_heads", f"a divisor of mamba_expand x hidden_size ({inner}), by mamba_d_head")
    return Mamba2(
        heads=heads,
        head_size=inner // heads,
        state_size=text.required("mamba_d_state", maximum=2**16),
        groups=text.required("mamba_n_groups", maximum=2**16),
        kernel=text.required("mamba_d_conv", maximum=2**10),
        conv_bias=text.flag("mamba_conv_bias", default=True),
        bias=text.flag("mamba_proj_bias", default=False),
    )


def _add_experts(builder: Builder, layer: str, stack: Stack) -> Stack:
    """
    Routed experts where there are any, and the MLP that every token passes.
    """
    text = stack.text
    if text.integer("num_local_experts", default=0, minimum=0):
        stack = attrs.evolve(
            stack,
            num_experts=read_experts(text, "num_local_experts"),
            num_experts_per_token=read_experts(text, "num_experts_per_tok"),
        )
        moe = Moe(
            layers=stack.layers, num_experts=stack.num_experts, top_k=stack.num_experts_per_token,
            intermediate=text.required("intermediate_size"),
        )  # fmt: skip
        add_moe(builder, f"{layer}.block_sparse_moe", stack.hidden, moe)
    width = text.integer("shared_intermediate_size", default=0, minimum=0)
    if width:
        name = f"{layer}.shared_mlp"
        builder.linear(f"{name}.input_linear", stack.hidden, (width, width), layers=stack.layers, adapters=1)
        builder.linear(f"{name}.output_linear", width, stack.hidden, shard=ROW, layers=stack.layers)
    return stack


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Granite 4.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text)
    return finish(checkpoint, builder, stack)
