"""
Laguna: a gate over attention, heads and rotation of its own for each kind of layer, shared experts.

Source: vLLM 0.33 ``model_executor/models/laguna.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import (
    MAX_HEADS,
    TWO_NORMS,
    Attention,
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
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.rope import rope_parameters
from vllm_sizing.specs.model import ModelSpec

_DEFAULTS = {
    "num_attention_heads": 48, "num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 512,
    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "num_experts_per_tok": 8,
    "num_experts": 256, "head_dim": 128, "intermediate_size": 8192, "gating": True,
}  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    del architecture
    text = text.over(_DEFAULTS)
    stack = read_stack(text)
    number, layer = len(stack.layers), f"{prefix}model.layers.*"
    kinds = text.layer_types(number) or ["full_attention"] * number
    heads = text.integers("num_attention_heads_per_layer", minimum=1, maximum=MAX_HEADS)
    if heads is not None and len(heads) < number:
        raise text.refuse("num_attention_heads_per_layer", f"a list of {number} numbers, one for each layer")
    add_ends(builder, stack, prefix, lora=False)
    windows = read_windows(text.changed(layer_types=kinds), stack.layers) if "sliding_attention" in kinds else {}
    groups: dict[tuple[str, int], list[int]] = {}
    for at in stack.layers:
        groups.setdefault((kinds[at], heads[at] if heads else stack.attention.num_heads), []).append(at)
    for (kind, own_heads), members in groups.items():
        attention = attrs.evolve(stack.attention, num_heads=own_heads)
        if own_heads % attention.num_kv_heads:
            raise text.refuse("num_key_value_heads", f"a divisor of {own_heads} heads")
        _add_attention(builder, f"{layer}.self_attn", stack, attention, tuple(members), windows, kind)
    moe = _read_moe(text, stack.layers)
    add_moe(builder, f"{layer}.mlp", stack.hidden, moe)
    dense = tuple(at for at in stack.layers if at not in set(moe.layers))
    builder.gated_mlp(f"{layer}.mlp", stack.hidden, text.required("intermediate_size"), layers=dense)
    add_norms(builder, layer, stack.hidden, *TWO_NORMS, layers=stack.layers)
    return stack.with_experts(moe)


def _read_moe(text: Config, layers: Layers) -> Moe:
    kinds = text.layer_types(len(layers), "mlp_layer_types")
    return Moe(
        layers=layers[1:] if kinds is None else tuple(at for at in layers if kinds[at] == "sparse"),
        num_experts=read_experts(text, "num_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=text.required("moe_intermediate_size"),
        correction_bias="experts.e_score_correction_bias",
        shared_intermediate=text.required("shared_expert_intermediate_size", minimum=0),
        shared="shared_expert",
    )


def _add_attention(
    builder: Builder,
    name: str,
    stack: Stack,
    attention: Attention,
    layers: Layers,
    windows: dict[int, int],
    kind: str,
) -> None:
    text, size = stack.text, attention.head_size
    bias = text.flag("attention_bias", default=False)
    add_self_attention(
        builder, name, stack,
        attention=attention, layers=layers, bias=bias, output_bias=bias, head_norms=True, windows=windows,
        sinks=kind == "sliding_attention" and text.flag("swa_attention_sink_enabled", default=False),
    )  # fmt: skip
    gating = text.data.get("gating")
    if gating not in (True, False, None, "per-head", "per-element"):
        raise text.refuse("gating", "true, false, per-head or per-element")
    if gating:
        width = attention.num_heads * (1 if gating in (True, "per-head") else size)
        builder.linear(f"{name}.g_proj", stack.hidden, width, layers=layers)
    add_rope(builder, name, stack, text=_with_rope(text, kind), layers=layers)


def _with_rope(text: Config, kind: str) -> Config:
    """
    The text section with the frequencies of one kind of layer.
    """
    windowed = text.section("swa_rope_parameters") if kind == "sliding_attention" else None
    chosen = windowed or rope_parameters(text, kind)
    return text.changed(rope_scaling=None, rope_parameters=dict(chosen.data))


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Laguna.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
