"""
Gemma 4, text part: two widths of heads, shared caches, inputs per layer, experts beside the MLP.

Source: vLLM 0.33 ``model_executor/models/gemma4.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import (
    FOUR_NORMS,
    MAX_HEADS,
    Attention,
    Stack,
    add_ends,
    add_norms,
    add_rope,
    finish,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import REPLICATED, ROW, ModelSpec
from vllm_sizing.specs.value import Value

_ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1000000.0},
}
DEFAULTS: dict[str, Any] = {
    "vocab_size": 262144, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 30,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072,
    "tie_word_embeddings": True, "sliding_window": 512, "vocab_size_per_layer_input": 262144,
    "hidden_size_per_layer_input": 256, "global_head_dim": 512, "attention_k_eq_v": False,
}  # fmt: skip


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Group(Value):
    """
    Layers whose attention is the same.

    Attributes:
        shared: They read the cache of an earlier layer and keep none.
    """

    kind: str
    attention: Attention
    shared: bool
    layers: Layers


def read_groups(text: Config, layers: Layers, *, num_shared: int = 0) -> tuple[Group, ...]:
    """
    Layers by kind, width of heads and ownership of a cache.

    Args:
        num_shared: So many last layers share the cache of the last layer of their kind before them.
    """
    kinds = read_kinds(text, len(layers))
    heads = text.required("num_attention_heads", maximum=MAX_HEADS)
    own = _overrides(text, kinds)
    first_shared = len(layers) - num_shared
    found: dict[tuple[str, int, int, bool], list[int]] = {}
    for layer in layers:
        special = own.get(layer, text)
        size = special.integer("head_dim", default=text.required("head_dim", maximum=MAX_HEADS), maximum=MAX_HEADS)
        kv_heads = special.integer(
            "num_key_value_heads", default=text.required("num_key_value_heads", maximum=MAX_HEADS), maximum=MAX_HEADS
        )
        shared = num_shared > 0 and layer >= first_shared
        if shared and kinds[layer] not in kinds[:first_shared]:
            raise text.refuse("num_kv_shared_layers", f"small enough to leave a layer of kind {kinds[layer]}")
        found.setdefault((kinds[layer], size, kv_heads, shared), []).append(layer)
    return tuple(
        Group(
            kind=kind, shared=shared, layers=tuple(owners),
            attention=Attention(num_heads=heads, num_kv_heads=kv_heads, head_size=size),
        )
        for (kind, size, kv_heads, shared), owners in found.items()
    )  # fmt: skip


def read_kinds(text: Config, num_layers: int) -> list[str]:
    """
    The kind of each layer; the last one always sees everything.
    """
    pattern = text.integer("sliding_window_pattern", default=6)
    kinds = text.layer_types(num_layers) or [
        "sliding_attention" if (layer + 1) % pattern else "full_attention" for layer in range(num_layers)
    ]
    return [*kinds[:-1], "full_attention"]


def _overrides(text: Config, kinds: list[str]) -> dict[int, Config]:
    """
    Layers with sizes of their own: written out, or those that see everything.
    """
    written = text.section("per_layer_config")
    if written is not None:
        found = {}
        for key in written.data:
            number = int(key) if str(key).isascii() and str(key).isdigit() and len(str(key)) < 6 else -1
            if not 0 <= number < len(kinds):
                raise text.refuse("per_layer_config", f"an object with layer numbers below {len(kinds)} as keys")
            found[number] = written.needed_section(key)
        return found
    special = {"head_dim": text.integer("global_head_dim", default=512, maximum=MAX_HEADS)}
    kv_heads = text.integer("num_global_key_value_heads", default=None, maximum=MAX_HEADS)
    if kv_heads is not None and text.flag("attention_k_eq_v", default=True):
        special["num_key_value_heads"] = kv_heads
    section = Config(special, text.path)
    return {layer: section for layer, kind in enumerate(kinds) if kind == "full_attention"}


def add_language_model(
    builder: Builder, text: Config, *, architecture: str = "Gemma4ForCausalLM", prefix: str = "", **defaults: Any
) -> Stack:
    """
    The decoder; both ends are on every pipeline stage.

    Args:
        defaults: Of a config class that differs from Gemma 4's.
    """
    text = text.over({**DEFAULTS, **defaults})
    num_shared = text.integer("num_kv_shared_layers", default=0, minimum=0)
    layers = tuple(range(text.num_layers()))
    groups = read_groups(text, layers, num_shared=min(num_shared, len(layers)))
    stack = read_stack(text, attention=groups[0].attention)
    layer = f"{prefix}model.layers.*"
    add_ends(builder, stack, prefix, everywhere=True, lora=False)
    builder.parameter(f"{prefix}model.normalizer", 1, role="buffer", stage="all")
    for group in groups:
        _add_attention(builder, f"{layer}.self_attn", stack, group)
    if len({group.attention.head_size for group in groups}) > 1:
        builder.traits.add("mixed_heads")
    first_shared = len(layers) - num_shared
    doubled = layers[first_shared:] if first_shared > 0 and text.flag("use_double_wide_mlp", default=False) else ()
    inner = text.required("intermediate_size")
    single = layers[: len(layers) - len(doubled)]
    builder.gated_mlp(f"{layer}.mlp", stack.hidden, inner, layers=single)
    builder.gated_mlp(f"{layer}.mlp", stack.hidden, 2 * inner, layers=doubled)
    add_norms(builder, layer, stack.hidden, *FOUR_NORMS, layers=layers)
    builder.parameter(f"{layer}.layer_scalar", 1, layers=layers)
    _add_inputs_per_layer(builder, f"{prefix}model", stack)
    return _add_experts(builder, layer, stack)


def _add_attention(builder: Builder, name: str, stack: Stack, group: Group) -> None:
    text, heads, size = stack.text, group.attention.num_heads, group.attention.head_size
    layers, kv_heads = group.layers, group.attention.num_kv_heads
    bias = text.flag("attention_bias", default=False)
    if group.shared:
        builder.linear(f"{name}.q_proj", stack.hidden, heads * size, layers=layers, bias=bias)
    else:
        builder.qkv(f"{name}.qkv_proj", stack.hidden, heads, kv_heads, size, layers=layers, bias=bias)
        for norm in ("k_norm", "v_norm"):  # The latter scales nothing but is there.
            builder.norm(f"{name}.{norm}", size, layers=layers)
    builder.linear(f"{name}.o_proj", heads * size, stack.hidden, shard=ROW, layers=layers, bias=bias)
    builder.norm(f"{name}.q_norm", size, layers=layers)
    windows = {}
    if group.kind == "sliding_attention":
        windows = dict.fromkeys(layers, text.required("sliding_window", maximum=2**30))
    builder.attention_caches(f"{name}.attn", layers, heads, kv_heads, size, windows=windows, kept=not group.shared)
    add_kind_rope(builder, name, stack, group.kind, size)


def add_kind_rope(builder: Builder, name: str, stack: Stack, kind: str, head_size: int, **facts: Any) -> None:
    """
    The rotary table of a kind of layer; without an object for it, one of the whole config serves.
    """
    text = stack.text
    nested: dict[str, Any] = dict((text.section("rope_parameters") or Config(_ROPE)).data)
    if kind not in nested:
        theta = text.number("rope_local_base_freq", default=10000.0)
        nested = {kind: {**nested, "rope_theta": theta} if kind == "sliding_attention" else nested}
    section = text.changed(rope_parameters={kind: nested[kind]}, rope_scaling=None)
    add_rope(builder, name, stack, text=section, head_size=head_size, layer_type=kind, **facts)


def _add_inputs_per_layer(builder: Builder, name: str, stack: Stack) -> None:
    """
    A second, wide table of embeddings whose row is split over the layers.
    """
    text, layers = stack.text, stack.layers
    width = text.integer("hidden_size_per_layer_input", default=0, minimum=0, maximum=2**20)
    if not width:
        return
    whole = width * len(layers)
    rows = text.integer("vocab_size_per_layer_input", default=stack.vocab_size)
    builder.embedding(f"{name}.embed_tokens_per_layer", rows, whole, stage="all", lora=False)
    builder.linear(f"{name}.per_layer_model_projection", stack.hidden, whole, stage="all")
    builder.norm(f"{name}.per_layer_projection_norm", width, stage="all")
    for scale in ("embed_scale_per_layer", "per_layer_input_scale", "per_layer_projection_scale"):
        builder.parameter(f"{name}.{scale}", 1, role="buffer", stage="all")
    add_layer_inputs(builder, f"{name}.layers.*", stack.hidden, width, layers)


def add_layer_inputs(builder: Builder, name: str, hidden: int, width: int, layers: Layers) -> None:
    """
    How a layer takes its own input: a gate, a projection and a norm.
    """
    builder.linear(f"{name}.per_layer_input_gate", hidden, width, shard=REPLICATED, layers=layers)
    builder.linear(f"{name}.per_layer_projection", width, hidden, shard=REPLICATED, layers=layers)
    builder.norm(f"{name}.post_per_layer_input_norm", hidden, layers=layers)


def _add_experts(builder: Builder, layer: str, stack: Stack) -> Stack:
    """
    Experts beside the MLP of every layer, where the config counts any.
    """
    text, layers, hidden = stack.text, stack.layers, stack.hidden
    if not text.has("num_experts"):
        return stack
    number, top_k = read_experts(text, "num_experts"), read_experts(text, "top_k_experts")
    inner = text.required("moe_intermediate_size", "expert_intermediate_size")
    builder.linear(f"{layer}.router.proj", hidden, number, shard=REPLICATED, layers=layers, quantized=False)
    builder.parameter(f"{layer}.router.scale", hidden, layers=layers)
    builder.parameter(f"{layer}.router.per_expert_scale", number, layers=layers)
    builder.parameter(f"{layer}.router.root_size", 1, layers=layers, role="buffer")
    builder.experts(f"{layer}.experts", number, hidden, inner, layers=layers)
    norms = ("post_feedforward_layernorm_1", "post_feedforward_layernorm_2", "pre_feedforward_layernorm_2")
    add_norms(builder, layer, hidden, "router.norm", *norms, layers=layers)
    builder.traits.add("experts_not_silu")
    return attrs.evolve(stack, num_experts=number, num_experts_per_token=top_k)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Gemma 4 that reads only text.
    """
    builder = checkpoint.builder(prefixes=(("model.language_model.", "model."),))
    stack = add_language_model(builder, checkpoint.text)
    return finish(checkpoint, builder, stack)
