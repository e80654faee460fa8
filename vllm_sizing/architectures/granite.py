"""
IBM Granite: dense and with experts, with or without windows and sinks.

Source: vLLM 0.33 ``model_executor/models/granite.py``, ``granitemoe.py``, ``granitemoeshared.py``;
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
    add_self_attention,
    finish,
    read_experts,
    read_stack,
    read_windows,
)
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import ROW, ModelSpec

_DENSE: dict[str, Any] = {"max_position_embeddings": 2048}
_SWA: dict[str, Any] = {
    "num_key_value_heads": 4, "max_position_embeddings": 8192, "tie_word_embeddings": True, "sliding_window": 128
}  # fmt: skip
_MOE: dict[str, Any] = {"max_position_embeddings": 2048, "num_local_experts": 8, "num_experts_per_tok": 2}
_DEFAULTS = {
    "GraniteForCausalLM": _DENSE,
    "GraniteSWAForCausalLM": _SWA,
    "GraniteMoeForCausalLM": _MOE,
    "GraniteMoeSharedForCausalLM": _MOE,
    "GraniteMoeSWAForCausalLM": {**_MOE, "sliding_window": 128},
}


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    text = text.over(_DEFAULTS[architecture])
    with_experts = "Moe" in architecture
    if with_experts:
        text = text.changed(head_dim=None)  # The class does not read it.
    stack = read_stack(text)
    layer, layers = f"{prefix}model.layers.*", stack.layers
    add_ends(builder, stack, prefix, everywhere=with_experts)
    kinds = text.layer_types(len(layers))
    if kinds is None and "SWA" in architecture:
        kinds = ["sliding_attention" if at % 4 else "full_attention" for at in layers]
    bias = not with_experts and (text.flag("attention_bias", default=False) or text.flag("bias", default=False))
    add_self_attention(
        builder, f"{layer}.self_attn", stack,
        bias=bias, output_bias=bias,
        windows=read_windows(text, layers, kinds=kinds),
        sinks=text.flag("attention_sinks", default=kinds is not None),
    )  # fmt: skip
    _add_ropes(builder, f"{layer}.self_attn", stack)
    if with_experts:
        stack = attrs.evolve(
            stack,
            num_experts=read_experts(text, "num_local_experts"),
            num_experts_per_token=read_experts(text, "num_experts_per_tok"),
        )
        _add_experts(builder, layer, stack, shared=architecture != "GraniteMoeForCausalLM")
    else:
        builder.gated_mlp(
            f"{layer}.mlp", stack.hidden, text.required("intermediate_size"),
            layers=layers, bias=text.flag("mlp_bias", default=False),
        )  # fmt: skip
    add_norms(builder, layer, stack.hidden, *TWO_NORMS, layers=layers)
    return stack


def _add_ropes(builder: Builder, name: str, stack: Stack) -> None:
    """
    One table for every base that some layer uses; a layer with base 0 has none.
    """
    thetas = stack.text.items("layer_rope_theta")
    if thetas is None:
        add_rope(builder, name, stack)
        return
    if not all(isinstance(theta, (int, float)) and not isinstance(theta, bool) for theta in thetas):
        raise stack.text.refuse("layer_rope_theta", "a list of numbers")
    if len(thetas) < len(stack.layers):
        raise stack.text.refuse("layer_rope_theta", f"a list of {len(stack.layers)} numbers, one for each layer")
    for theta in sorted({float(thetas[at]) for at in stack.layers} - {0.0}):
        users = tuple(at for at in stack.layers if thetas[at] == theta)
        add_rope(builder, name, stack, text=stack.text.changed(rope_theta=theta), layers=users)


def _add_experts(builder: Builder, layer: str, stack: Stack, *, shared: bool) -> None:
    text = stack.text
    moe = Moe(
        layers=stack.layers, num_experts=stack.num_experts, top_k=stack.num_experts_per_token,
        intermediate=text.required("intermediate_size"),
    )  # fmt: skip
    add_moe(builder, f"{layer}.block_sparse_moe", stack.hidden, moe)
    width = text.integer("shared_intermediate_size", default=0, minimum=0) if shared else 0
    if width:
        # The class names no parts for LoRA, so it does not wrap the merged projection.
        builder.linear(
            f"{layer}.shared_mlp.input_linear", stack.hidden, (width, width), layers=stack.layers, lora=False
        )
        builder.linear(f"{layer}.shared_mlp.output_linear", width, stack.hidden, shard=ROW, layers=stack.layers)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Granite.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
