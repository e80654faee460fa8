"""
LFM2: short convolutions and a few layers of attention, dense or with experts.

Source: vLLM 0.33 ``model_executor/models/lfm2.py``, ``lfm2_moe.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.bert import add_colbert
from vllm_sizing.architectures.blocks import (
    Moe,
    Stack,
    add_moe,
    add_norms,
    add_rope,
    add_self_attention,
    finish,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, without
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.heads import read_head_dtype
from vllm_sizing.architectures.recurrent import add_short_conv
from vllm_sizing.specs.model import ROW, ModelSpec
from vllm_sizing.units import round_up

_COMMON: dict[str, Any] = {
    "vocab_size": 65536, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "max_position_embeddings": 128000, "conv_L_cache": 3,
}  # fmt: skip
_DEFAULTS = {
    "Lfm2ForCausalLM": {**_COMMON, "hidden_size": 2560, "intermediate_size": 12288, "block_multiple_of": 256},
    "Lfm2MoeForCausalLM": {
        **_COMMON, "hidden_size": 2048, "intermediate_size": 7168, "moe_intermediate_size": 1792,
        "num_dense_layers": 2, "num_experts_per_tok": 4, "num_experts": 32,
    },
}  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    The decoder; the embeddings, on every pipeline stage, are the head as well.
    """
    text = text.over(_DEFAULTS[architecture]).changed(head_dim=None)
    stack = attrs.evolve(read_stack(text), tied=True)
    layer, layers, hidden = f"{prefix}model.layers.*", stack.layers, stack.hidden
    kinds = text.layer_types(len(layers)) or _old_kinds(text, len(layers))
    attending = tuple(at for at in layers if kinds[at] == "full_attention")
    builder.embedding(f"{prefix}model.embed_tokens", stack.vocab_size, hidden, stage="all")
    builder.traits |= {"tied_embeddings", "lora_tied_head"}
    builder.norm(f"{prefix}model.embedding_norm", hidden, stage="last")
    add_self_attention(builder, f"{layer}.self_attn", stack, layers=attending, output="out_proj")
    # vLLM's attention of LFM2 is not handed the quant_config.
    builder.tensors = [tensor for tensor in builder.tensors if not tensor.name.endswith(".attn.kv_scales")]
    for norm in ("q_layernorm", "k_layernorm"):
        builder.norm(f"{layer}.self_attn.{norm}", stack.attention.head_size, layers=attending)
    if attending:
        add_rope(builder, f"{layer}.self_attn", stack, layers=attending)
    width = text.integer("conv_dim", default=hidden) if architecture == "Lfm2ForCausalLM" else hidden
    add_short_conv(
        builder, f"{layer}.short_conv", width, text.required("conv_L_cache", maximum=2**10),
        layers=without(layers, attending), bias=text.flag("conv_bias", default=False),
    )  # fmt: skip
    stack = _add_experts(builder, layer, stack) if "Moe" in architecture else _add_mlps(builder, layer, stack)
    add_norms(builder, layer, hidden, "operator_norm", "ffn_norm", layers=layers)
    return stack


def _old_kinds(text: Config, number: int) -> list[str]:
    full = text.integers("full_attn_idxs")
    chosen = set(range(number) if full is None else full)
    return ["full_attention" if at in chosen else "conv" for at in range(number)]


def _add_mlp(builder: Builder, name: str, hidden: int, width: int, layers: tuple[int, ...]) -> None:
    if layers:
        builder.linear(f"{name}.w13", hidden, (width, width), layers=layers, fused=("w1", "w3"))
        builder.linear(f"{name}.w2", width, hidden, shard=ROW, layers=layers)


def _add_mlps(builder: Builder, layer: str, stack: Stack) -> Stack:
    """
    The width is two thirds of what the config says, rounded up, unless that is switched off.
    """
    text = stack.text
    width = text.required("block_ff_dim", "intermediate_size")
    if text.flag("block_auto_adjust_ff_dim", default=True):
        factor = text.number("block_ffn_dim_multiplier", default=1.0)
        adjusted = int(factor * int(2 * width / 3))
        if not 0 < adjusted < 2**40:
            raise text.refuse("block_ffn_dim_multiplier", "above 0")
        width = round_up(adjusted, text.required("block_multiple_of", maximum=2**20))
    _add_mlp(builder, f"{layer}.feed_forward", stack.hidden, width, stack.layers)
    return stack


def _add_experts(builder: Builder, layer: str, stack: Stack) -> Stack:
    text = stack.text
    first = text.required("num_dense_layers", minimum=0)
    number = read_experts(text, "num_experts")
    stack = attrs.evolve(stack, num_experts=number, num_experts_per_token=read_experts(text, "num_experts_per_tok"))
    moe = Moe(
        layers=stack.layers[first:], num_experts=number, top_k=stack.num_experts_per_token,
        intermediate=text.required("moe_intermediate_size"), router_quantized=True,
        correction_bias="gate.e_score_correction_bias" if text.flag("use_expert_bias", default=True) else "",
    )  # fmt: skip
    add_moe(builder, f"{layer}.feed_forward", stack.hidden, moe)
    _add_mlp(builder, f"{layer}.feed_forward", stack.hidden, text.required("intermediate_size"), stack.layers[:first])
    return stack


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an LFM2, of one with ColBERT's projection, or of one that looks both ways.
    """
    name, text, builder = checkpoint.architecture, checkpoint.text, checkpoint.builder()
    pools = name not in _DEFAULTS
    stack = add_language_model(builder, text, architecture="Lfm2ForCausalLM" if pools else name)
    if pools:
        builder.traits -= {"tied_embeddings", "lora_tied_head"}
        builder.traits |= {"no_lora", "no_pipeline", "whole_prompts"}
    if name == "ColBERTLfm2Model":
        add_colbert(builder, stack.text, stack.hidden, read_head_dtype(text))
    elif pools:
        builder.cache_layers = []  # Its attention and convolutions look both ways, at a whole prompt.
    return finish(checkpoint, builder, stack)
