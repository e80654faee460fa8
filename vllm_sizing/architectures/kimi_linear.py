"""
Kimi-Linear and the decoder of Kimi-K3: delta attention, latent attention without positions, and experts.

Source: vLLM 0.33 ``models/kimi_k3/nvidia/model.py``, ``kda.py``, ``mla.py``,
``layers/mamba/gdn/kimi_gdn_linear_attn.py``; defaults of vLLM's ``KimiLinearConfig``.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Stack,
    add_ends,
    add_norms,
    finish,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers, among, without
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.mla import Latent, add_latent_attention, read_latent
from vllm_sizing.architectures.recurrent import DeltaAttention, add_delta_attention
from vllm_sizing.specs.model import REPLICATED, ModelSpec

_DEFAULTS: dict[str, Any] = {
    "num_shared_experts": 0, "first_k_dense_replace": 0, "moe_layer_freq": 1
}  # fmt: skip
_LEAST_EXPERT_ROWS = 256  # min_moe_intermediate_per_partition


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder.
    """
    text = text.over(_DEFAULTS)
    if not text.flag("mla_use_nope", default=False):
        raise text.refuse("mla_use_nope", "true; vLLM knows this latent attention only without positions")
    latent = attrs.evolve(read_latent(text), absorbed=True)
    stack = attrs.evolve(read_stack(text, attention=latent.attention), tied=False)
    if text.has("num_experts"):
        stack = attrs.evolve(
            stack,
            num_experts=read_experts(text, "num_experts"),
            num_experts_per_token=read_experts(text, "num_experts_per_token"),
        )
    add_ends(builder, stack, prefix, lora=False)
    layer = f"{prefix}model.layers.*"
    _add_layers(builder, stack, layer, stack.layers, latent)
    if text.has("attn_res_block_size"):
        for place in ("self_attention_res", "mlp_res"):
            _add_residual(builder, f"{layer}.{place}", stack.hidden, layers=stack.layers)
        _add_residual(builder, f"{prefix}model.output_attn_res", stack.hidden, stage="last")
    builder.traits.add("no_lora")
    return stack


def _add_residual(builder: Builder, name: str, hidden: int, **facts: Any) -> None:
    """
    What weighs the residual streams of earlier blocks.
    """
    builder.norm(f"{name}_norm", hidden, **facts)
    builder.linear(f"{name}_proj", hidden, 1, shard=REPLICATED, quantized=False, **facts)


def _delta_layers(text: Config, number: int) -> tuple[Layers, Config | None]:
    """
    Layers with delta attention, which the config counts from 1.
    """
    section = text.section("linear_attn_config")
    if section is None:
        return (), None
    counted = section.integers("kda_layers", minimum=1)
    if counted is None:
        raise section.refuse("kda_layers", "a list of layers, counted from 1")
    return tuple(sorted({at - 1 for at in counted if at <= number})), section


def _add_layers(builder: Builder, stack: Stack, layer: str, layers: Layers, latent: Latent) -> None:
    text, hidden = stack.text, stack.hidden
    found, section = _delta_layers(text, len(stack.layers))
    delta = among(layers, found)
    if section is not None and delta:
        add_delta_attention(builder, f"{layer}.self_attn", hidden, _read_delta(section), layers=delta)
    attending = without(layers, delta)
    if attending:
        gated = text.flag("mla_use_output_gate", default=False)
        add_latent_attention(builder, f"{layer}.self_attn", hidden, latent, layers=attending, gated=gated)
        builder.parameter(f"{layer}.self_attn._one_scale", 1, layers=attending, dtype="float32", role="buffer")
    first, every = text.required("first_k_dense_replace", minimum=0), text.required("moe_layer_freq")
    sparse = tuple(at for at in layers if stack.num_experts and at >= first and at % every == 0)
    dense = without(layers, sparse)
    if dense:
        builder.gated_mlp(f"{layer}.mlp", hidden, text.required("intermediate_size"), layers=dense)
    if sparse:
        _add_experts(builder, f"{layer}.block_sparse_moe", stack, layers=sparse)
    add_norms(builder, layer, hidden, *TWO_NORMS, layers=layers)


def _read_delta(section: Config) -> DeltaAttention:
    return DeltaAttention(
        heads=section.required("num_heads", maximum=2**16),
        head_size=section.required("head_dim", maximum=2**16),
        kernel=section.required("short_conv_kernel_size", maximum=2**10),
        full_rank=section.flag("use_full_rank_gate", default=False),
        bounded=section.has("gate_lower_bound"),
    )


def _add_experts(builder: Builder, name: str, stack: Stack, *, layers: Layers) -> None:
    """
    Experts, in a narrower space where the config has one; narrow shares are padded.
    """
    text, hidden = stack.text, stack.hidden
    width = text.required("moe_intermediate_size")
    latent = text.integer("routed_expert_hidden_size", default=0)
    builder.linear(f"{name}.gate", hidden, stack.num_experts, shard=REPLICATED, layers=layers, quantized=False)
    builder.parameter(f"{name}.gate.e_score_correction_bias", stack.num_experts, layers=layers, dtype="float32")
    least = text.integer("min_moe_intermediate_per_partition", default=_LEAST_EXPERT_ROWS)
    builder.experts(f"{name}.experts", stack.num_experts, latent or hidden, width, layers=layers, least=least)
    shared = width * text.required("num_shared_experts", minimum=0, maximum=2**16)
    if shared:
        builder.gated_mlp(f"{name}.shared_experts", hidden, shared, layers=layers)
    if latent:
        for last, inputs, outputs in (("down", hidden, latent), ("up", latent, hidden)):
            builder.linear(f"{name}.routed_expert_{last}_proj", inputs, outputs, shard=REPLICATED, layers=layers)
        if text.flag("latent_moe_use_norm", default=False):
            builder.norm(f"{name}.routed_expert_norm", latent, layers=layers)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Kimi-Linear.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
