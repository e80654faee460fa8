"""
Sarvam-105B: latent attention with separate down projections, experts after some dense layers.

Source: vLLM 0.33 ``model_executor/models/sarvam.py``.
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
    finish,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.mla import add_latent_attention, read_latent
from vllm_sizing.specs.model import ModelSpec

_DENSE_WIDTH = 16384


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    del architecture
    latent = read_latent(text)
    stack = read_stack(text, attention=latent.attention)
    hidden, layer = stack.hidden, f"{prefix}model.layers.*"
    add_ends(builder, stack, prefix, lora=False)
    add_latent_attention(
        builder, f"{layer}.self_attn", hidden, attrs.evolve(latent, absorbed=True), layers=stack.layers, merged=False
    )
    add_rope(builder, f"{layer}.self_attn", stack, head_size=latent.rope, neox=False)
    moe = _read_moe(text, stack.layers)
    add_moe(builder, f"{layer}.mlp", hidden, moe)
    dense = tuple(at for at in stack.layers if at not in set(moe.layers))
    builder.gated_mlp(f"{layer}.mlp", hidden, text.integer("intermediate_size", default=_DENSE_WIDTH), layers=dense)
    add_norms(builder, layer, hidden, *TWO_NORMS, layers=stack.layers)
    return stack.with_experts(moe)


def _read_moe(text: Config, layers: Layers) -> Moe:
    first = text.integer("first_k_dense_replace", default=1, minimum=0)
    every = text.integer("moe_layer_freq", default=1)
    number = text.integer("num_shared_experts", default=0, minimum=0, maximum=2**16)
    biased = text.flag("moe_router_enable_expert_bias", default=True)
    width = text.required("moe_intermediate_size")
    return Moe(
        layers=tuple(at for at in layers if at >= first and (at - first) % every == 0),
        num_experts=read_experts(text, "num_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=width,
        correction_bias="gate.e_score_correction_bias" if biased else "",
        shared_intermediate=text.integer("moe_shared_expert_intermediate_size", default=width) if number else 0,
    )


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Sarvam with latent attention.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
