"""
Jamba: Mamba 1 with attention in every eighth layer and experts in every second.

Source: vLLM 0.33 ``model_executor/models/jamba.py``; defaults from transformers 5.20.
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
    add_self_attention,
    finish,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, without
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.heads import add_head, read_head_dtype, read_num_labels
from vllm_sizing.architectures.recurrent import MAMBA1_NORMS, Mamba1, add_mamba1
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.units import ceil_div

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 65536, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 262144,
    "num_experts_per_tok": 2, "num_experts": 16, "expert_layer_period": 2, "expert_layer_offset": 1,
    "attn_layer_period": 8, "attn_layer_offset": 4, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2,
}  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder; both ends are on every pipeline stage and never tied.
    """
    text = text.over(_DEFAULTS).changed(head_dim=None)
    stack = attrs.evolve(read_stack(text), tied=False)
    layer, layers, hidden = f"{prefix}model.layers.*", stack.layers, stack.hidden
    attending = _every(text, "attn_layer", layers)
    states = without(layers, attending)
    add_ends(builder, stack, prefix, everywhere=True, norm="model.final_layernorm", head_quantized=False)
    add_mamba1(builder, f"{layer}.mamba", hidden, _read_mixer(text, hidden), layers=states)
    add_self_attention(builder, layer, stack, layers=attending)
    number = read_experts(text, "num_experts", "num_local_experts")
    sparse = _every(text, "expert_layer", layers) if number > 1 else ()
    width = text.required("intermediate_size")
    if sparse:
        stack = attrs.evolve(stack, num_experts=number, num_experts_per_token=read_experts(text, "num_experts_per_tok"))
        moe = Moe(
            layers=sparse, num_experts=number, top_k=stack.num_experts_per_token, intermediate=width, router="router"
        )
        add_moe(builder, f"{layer}.feed_forward", hidden, moe)
    dense = without(layers, sparse)
    if dense:
        builder.gated_mlp(f"{layer}.feed_forward", hidden, width, layers=dense)
    add_norms(builder, layer, hidden, "input_layernorm", "pre_ff_layernorm", layers=layers)
    return stack


def _every(text: Config, key: str, layers: tuple[int, ...]) -> tuple[int, ...]:
    period = text.required(f"{key}_period", maximum=2**10)
    offset = text.required(f"{key}_offset", minimum=0, maximum=period - 1)
    return tuple(at for at in layers if at % period == offset)


def _read_mixer(text: Config, hidden: int) -> Mamba1:
    return Mamba1(
        inner=text.required("mamba_expand", maximum=2**10) * hidden,
        state_size=text.required("mamba_d_state", maximum=2**16),
        kernel=text.required("mamba_d_conv", maximum=2**10),
        rank=text.automatic("mamba_dt_rank") or ceil_div(hidden, 16),
        conv_bias=text.flag("mamba_conv_bias", default=True),
        bias=text.flag("mamba_proj_bias", default=False),
        norms=MAMBA1_NORMS,
    )


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Jamba; the reward model keeps the LM head beside its own.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text)
    if checkpoint.architecture == "JambaForSequenceClassification":
        text = checkpoint.text
        add_head(
            builder, "score", stack.hidden, read_num_labels(text),
            dtype=read_head_dtype(text), bias=text.flag("score_bias", default=False), stage="all",
        )  # fmt: skip
    return finish(checkpoint, builder, stack)
