"""
Cohere Command R, Command A and their mixture of experts.

Source: vLLM 0.33 ``model_executor/models/commandr.py``, ``cohere2_moe.py``; defaults from
transformers 5.20.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import (
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
from vllm_sizing.architectures.decoder import repeated_kinds
from vllm_sizing.specs.model import ModelSpec, Part, Shard

_COHERE1: dict[str, Any] = {"max_position_embeddings": 8192}
_COHERE2: dict[str, Any] = {**_COHERE1, "sliding_window": 4096}
_DEFAULTS = {
    "CohereForCausalLM": _COHERE1,
    "Cohere2ForCausalLM": _COHERE2,
    "Cohere2MoeForCausalLM": {
        **_COHERE2, "head_dim": 128, "num_experts_per_tok": 2, "num_experts": 8, "num_shared_experts": 0
    },
}  # fmt: skip


def add_language_model(
    builder: Builder, text: Config, *, architecture: str = "Cohere2ForCausalLM", prefix: str = ""
) -> Stack:
    """
    The decoder; the table of embeddings is the LM head and is on every pipeline stage.
    """
    text = text.over(_DEFAULTS[architecture])
    stack = attrs.evolve(read_stack(text), tied=True)
    length = text.integer("model_max_length", default=stack.max_position, maximum=2**30)
    layer, layers = f"{prefix}model.layers.*", stack.layers
    with_experts = architecture == "Cohere2MoeForCausalLM"
    first_dense = text.integer("first_k_dense_replace", default=0, minimum=0) if with_experts else 0
    add_ends(builder, stack, prefix, everywhere=True, lora_head=False)
    add_self_attention(builder, f"{layer}.self_attn", stack, windows=_windows(text, stack, architecture, first_dense))
    if not with_experts and text.flag("use_qk_norm", default=False):
        _add_query_norms(builder, f"{layer}.self_attn", stack)
    add_rope(builder, f"{layer}.self_attn", stack, max_position=length, neox=False)
    if with_experts:
        stack = _add_experts(builder, layer, stack, first_dense)
        builder.traits.add("no_lora")
    else:
        builder.gated_mlp(f"{layer}.mlp", stack.hidden, text.required("intermediate_size"), layers=layers)
    add_norms(builder, layer, stack.hidden, "input_layernorm", layers=layers)
    return stack


def _windows(text: Config, stack: Stack, architecture: str, first_dense: int) -> dict[int, int]:
    """
    The class keeps one token more than the config's window.
    """
    window = text.integer("sliding_window", default=0, minimum=0)
    if architecture == "CohereForCausalLM":
        return dict.fromkeys(stack.layers, window) if window else {}
    if not window:
        return {}
    number = len(stack.layers)
    kinds = text.layer_types(number)
    if kinds is None:
        first = min(first_dense, number)
        prefix_pattern = text.integer("prefix_dense_sliding_window_pattern", default=1)
        kinds = repeated_kinds(first, prefix_pattern) + repeated_kinds(
            number - first, text.integer("sliding_window_pattern", default=4)
        )
    return {at: window + 1 for at in stack.layers if kinds[at] == "sliding_attention"}


def _add_query_norms(builder: Builder, name: str, stack: Stack) -> None:
    """
    A norm of its own for every head, divided like the heads.
    """
    attention = stack.attention
    for norm, heads in (("q_norm", attention.num_heads), ("k_norm", attention.num_kv_heads)):
        builder.parameter(
            f"{name}.{norm}.weight", heads, attention.head_size,
            layers=stack.layers, shard=Shard(axis=0, parts=(Part(heads, heads),)),
        )  # fmt: skip


def _add_experts(builder: Builder, layer: str, stack: Stack, first_dense: int) -> Stack:
    text, number = stack.text, len(stack.layers)
    kinds = text.layer_types(number, "mlp_layer_types")
    kinds = kinds or ["dense" if at < first_dense else "sparse" for at in stack.layers]
    width = text.required("intermediate_size")
    moe = Moe(
        layers=tuple(at for at in stack.layers if kinds[at] != "dense"),
        num_experts=read_experts(text, "num_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=width,
        shared_intermediate=width * text.integer("num_shared_experts", default=0, minimum=0, maximum=2**16),
    )
    add_moe(builder, f"{layer}.mlp", stack.hidden, moe)
    builder.gated_mlp(
        f"{layer}.mlp", stack.hidden, text.integer("prefix_dense_intermediate_size", default=width),
        layers=tuple(at for at in stack.layers if kinds[at] == "dense"),
    )  # fmt: skip
    return stack.with_experts(moe)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Cohere model.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
