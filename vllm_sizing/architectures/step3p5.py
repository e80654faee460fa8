"""
Step 3.5: windows with their own number of heads, a gate per head, and experts beside a shared one.

Source: vLLM 0.33 ``model_executor/models/step3p5.py``, ``step3p5_mtp.py``.
"""

from __future__ import annotations

from typing import Any

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
    add_speculator,
    finish,
    finish_draft,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers, without
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.rope import rope_parameters
from vllm_sizing.specs.model import REPLICATED, Draft, ModelSpec

_WINDOW = "sliding_attention"
_FIRST_SPARSE = 3  # Where the config names no layers; transformers 5.20 configuration_step3p7.py.


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder and its MTP draft.
    """
    heads = text.required("num_attention_heads", maximum=MAX_HEADS)
    size = text.integer("head_dim", default=max(1, text.required("hidden_size") // heads), maximum=MAX_HEADS)
    groups = text.required("num_attention_groups", maximum=MAX_HEADS)
    stack = read_stack(text, attention=Attention(num_heads=heads, num_kv_heads=groups, head_size=size))
    stack = attrs.evolve(
        stack,
        num_experts=read_experts(text, "moe_num_experts"),
        num_experts_per_token=read_experts(text, "moe_top_k"),
    )
    number = text.integer("num_nextn_predict_layers", default=0, minimum=0, maximum=64)
    kinds = _kinds(text, len(stack.layers))
    add_ends(builder, stack, prefix)
    _add_layers(builder, stack, f"{prefix}model.layers.*", stack.layers, kinds)
    builder.draft = _draft(builder, stack, prefix, kinds, number)
    builder.traits.add("no_lora")
    return stack


def _kinds(text: Config, number: int) -> list[str]:
    """
    Of every layer, those of the draft behind them.
    """
    kinds = text.words("layer_types")
    if kinds is None or len(kinds) < number:
        raise text.refuse("layer_types", f"a list of {number} or more strings, one for each layer")
    return kinds + (text.words("mtp_layer_types") or [])


def _window_heads(stack: Stack) -> int:
    text, heads = stack.text, stack.attention.num_heads
    found = text.integer("num_sliding_attention_heads", default=0, minimum=0, maximum=MAX_HEADS)
    other = text.section("attention_other_setting")
    if not found and other is not None and other.text("attention_type") == _WINDOW:
        found = other.required("num_attention_heads", maximum=MAX_HEADS)
    return found or heads


def _sparse(text: Config, layers: Layers, number: int) -> Layers:
    kinds = text.words("mlp_layer_types")
    if kinds is not None:
        kinds = kinds + (text.words("mtp_mlp_layer_types") or [])
        return tuple(at for at in layers if at < len(kinds) and kinds[at] == "sparse")
    listed = text.text("moe_layers_enum")
    if listed:
        try:
            chosen = {int(word) for word in listed.split(",")}
        except ValueError:
            raise text.refuse("moe_layers_enum", "numbers of layers, divided by commas") from None
        return tuple(at for at in layers if at in chosen)
    return tuple(at for at in layers if _FIRST_SPARSE <= at < number)


def _add_layers(builder: Builder, stack: Stack, layer: str, layers: Layers, kinds: list[str]) -> None:
    text, hidden = stack.text, stack.hidden
    window = text.integer("sliding_window", default=0, minimum=0)
    gated = text.flag("use_head_wise_attn_gate", default=False)
    for kind in sorted(set(kinds)):
        owners = tuple(at for at in layers if kinds[at] == kind)
        if not owners:
            continue
        slides = kind == _WINDOW
        heads = _window_heads(stack) if slides else stack.attention.num_heads
        add_self_attention(
            builder, f"{layer}.self_attn", stack,
            attention=attrs.evolve(stack.attention, num_heads=heads), layers=owners, head_norms=True,
            bias=text.flag("attention_bias", default=False),
            windows=dict.fromkeys(owners, window) if slides and window else {},
        )  # fmt: skip
        if gated:
            builder.linear(f"{layer}.self_attn.g_proj", hidden, heads, layers=owners)
    for at in layers:
        add_rope(builder, f"{layer}.self_attn", stack, text=_rope_text(text, at, kinds[at]), layers=(at,))
    sparse = _sparse(text, layers, len(stack.layers))
    dense = without(layers, sparse)
    if dense:
        builder.gated_mlp(f"{layer}.mlp", hidden, text.required("intermediate_size"), layers=dense)
    if sparse:
        moe = Moe(
            layers=sparse, num_experts=stack.num_experts, top_k=stack.num_experts_per_token,
            intermediate=text.required("moe_intermediate_size"), router_dtype="float32",
            correction_bias="router_bias", shared="share_expert",
            shared_intermediate=text.required("share_expert_dim"),
        )  # fmt: skip
        add_moe(builder, f"{layer}.moe", hidden, moe)
    add_norms(builder, layer, hidden, *TWO_NORMS, layers=layers)


def _rope_text(text: Config, at: int, kind: str) -> Config:
    """
    The settings of one layer's rotary table: by layer type, or in lists with one entry for each layer.
    """
    nested = rope_parameters(text).data.get(kind)
    if isinstance(nested, dict):
        return text.changed(rope_scaling=None, rope_parameters=nested)
    changed: dict[str, Any] = {"partial_rotary_factor": 1.0}
    kinds = text.words("yarn_only_types")
    if kinds and kind not in kinds:
        changed |= {"rope_scaling": None, "rope_parameters": None}
    for key, name in (("rope_theta", "rope_theta"), ("partial_rotary_factors", "partial_rotary_factor")):
        values = text.data.get(key)
        if isinstance(values, (list, tuple)):
            if at >= len(values):
                raise text.refuse(key, "a list with one number for each layer")
            changed[name] = values[at]
    return text.changed(**changed)


def _draft(builder: Builder, stack: Stack, prefix: str, kinds: list[str], number: int) -> Draft | None:
    """
    More layers, each with an LM head of its own; embeddings are the target's.
    """
    first, hidden, layer = len(stack.layers), stack.hidden, f"{prefix}model.layers.*"
    if not number or len(kinds) < first + number:
        return None
    layers = tuple(range(first, first + number))
    extra = builder.beside()
    add_norms(extra, layer, hidden, "enorm", "hnorm", "shared_head.norm", layers=layers)
    extra.linear(f"{layer}.eh_proj", 2 * hidden, hidden, shard=REPLICATED, layers=layers, quantized=False)
    extra.lm_head(f"{layer}.shared_head.head", stack.vocab_size, hidden, count=number)
    _add_layers(extra, stack, layer, layers, kinds)
    add_speculator(extra, hidden)
    return finish_draft(extra, num_layers=number)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Step 3.5.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
