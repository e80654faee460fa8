"""
What most decoders have in common: how their sizes are read, and the blocks that vLLM's classes share.

A family module reads its config with these and calls the builder; only what differs is written there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint, derived_max_model_len
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.rope import read_rope
from vllm_sizing.specs.model import COLUMN, REPLICATED, ROW, Draft, ModelSpec, WeightTensor
from vllm_sizing.specs.value import Value

MAX_HEADS = 2**16
MAX_POSITION = 2**30


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Attention(Value):
    """
    Sizes of grouped-query attention, read and checked.
    """

    num_heads: int
    num_kv_heads: int
    head_size: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Stack(Value):
    """
    The sizes of a whole decoder, as every family needs them.

    Attributes:
        text: The section they were read from.

        max_position: Rows of its rotary table.
    """

    text: Config
    hidden: int
    vocab_size: int
    layers: Layers
    attention: Attention
    max_position: int
    tied: bool
    num_experts: int = 0
    num_experts_per_token: int = 0

    def with_experts(self, moe: Moe | None) -> Stack:
        """
        The same stack, with the numbers of its experts.
        """
        if moe is None:
            return self
        return attrs.evolve(self, num_experts=moe.num_experts, num_experts_per_token=moe.top_k)


def read_attention(text: Config) -> Attention:
    """
    Heads of a config in the usual spelling.
    """
    heads = text.required("num_attention_heads", maximum=MAX_HEADS)
    kv_heads = text.integer("num_key_value_heads", default=heads, maximum=MAX_HEADS)
    if heads % kv_heads:
        raise text.refuse("num_key_value_heads", f"a divisor of num_attention_heads ({heads})")
    size = text.integer("head_dim", default=None, maximum=MAX_HEADS)
    if size is None:
        hidden = text.required("hidden_size")
        if hidden < heads:
            raise text.refuse("num_attention_heads", f"at most hidden_size ({hidden})")
        size = hidden // heads
    return Attention(num_heads=heads, num_kv_heads=kv_heads, head_size=size)


def read_stack(text: Config, *, attention: Attention | None = None, max_position: int = 8192) -> Stack:
    """
    The sizes of a decoder in the usual spelling.

    Args:
        text: With the class's defaults behind it (`Config.over`).

        attention: Where it is not in the usual spelling.

        max_position: Positions where the config does not say.
    """
    return Stack(
        text=text,
        hidden=text.required("hidden_size"),
        vocab_size=text.required("vocab_size"),
        layers=tuple(range(text.num_layers())),
        attention=attention or read_attention(text),
        max_position=text.integer("max_position_embeddings", default=max_position, maximum=MAX_POSITION),
        tied=text.flag("tie_word_embeddings", default=False),
    )


def read_windows(
    text: Config, layers: Layers, *, kinds: list[str] | None = None, per_layer: bool = True
) -> dict[int, int]:
    """
    Layers with a sliding window.

    A config whose layers all slide, or that names no layer types, gives its window to every layer
    of any class; a mixture is honoured only by classes that look at each layer.
    Source: vLLM 0.33 ``engine/arg_utils.py:create_engine_config``, ``attention/attention.py``.

    Args:
        kinds: Layer types where the config names none.

        per_layer: The model class looks at each layer.
    """
    window = text.integer("sliding_window", default=0, minimum=-1)
    if window < 1:
        return {}
    kinds = text.layer_types(len(layers)) or kinds
    if kinds is None or all(kind == "sliding_attention" for kind in kinds):
        return dict.fromkeys(layers, window)
    if not per_layer:
        return {}
    return {layer: window for layer in layers if kinds[layer] == "sliding_attention"}


def add_ends(
    builder: Builder,
    stack: Stack,
    prefix: str,
    *,
    everywhere: bool = False,
    norm_bias: bool = False,
    embed: str = "model.embed_tokens",
    norm: str = "model.norm",
    head: str = "lm_head",
    **facts: Any,
) -> None:
    """
    Embeddings, final norm and LM head.

    Args:
        prefix: Of the language model inside a larger one, with its dot.

        everywhere: The class builds all of them on every pipeline stage.

        norm: Name of the norm; empty: it has no weight.
    """
    builder.embed_and_head(
        f"{prefix}{embed}", f"{prefix}{head}", stack.vocab_size, stack.hidden,
        tied=stack.tied, everywhere=everywhere, **facts,
    )  # fmt: skip
    if norm:
        builder.norm(f"{prefix}{norm}", stack.hidden, stage="all" if everywhere else "last", bias=norm_bias)


def add_norms(builder: Builder, layer: str, hidden: int, *names: str, layers: Layers, bias: bool = False) -> None:
    """
    The norms of a decoder layer.
    """
    for name in names:
        builder.norm(f"{layer}.{name}", hidden, layers=layers, bias=bias)


TWO_NORMS = ("input_layernorm", "post_attention_layernorm")
FOUR_NORMS = (*TWO_NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm")


def add_self_attention(
    builder: Builder,
    name: str,
    stack: Stack,
    *,
    attention: Attention | None = None,
    layers: Layers | None = None,
    bias: bool = False,
    output_bias: bool = False,
    head_norms: bool = False,
    windows: Mapping[int, int] | None = None,
    sinks: bool = False,
    causal: bool = True,
    qkv: str = "qkv_proj",
    output: str = "o_proj",
    fused: tuple[str, ...] = ("q_proj", "k_proj", "v_proj"),
    cache: str = "attn",
    **facts: Any,
) -> None:
    """
    qkv_proj, o_proj, optional norms of each head's q and k, optional sinks, and the cache.

    Args:
        name: Of the attention module, ``*`` for the layer number.

        attention, layers: Where they are not the whole stack's.

        causal: False: an encoder, which keeps no cache.

        fused: Names of q, k and v in the checkpoint.

        facts: Of the projection to q, k and v.
    """
    attention = attention or stack.attention
    layers = stack.layers if layers is None else layers
    heads, size = attention.num_heads, attention.head_size
    builder.qkv(
        f"{name}.{qkv}", stack.hidden, heads, attention.num_kv_heads, size,
        layers=layers, bias=bias, fused=fused, **facts,
    )  # fmt: skip
    builder.linear(f"{name}.{output}", heads * size, stack.hidden, shard=ROW, layers=layers, bias=output_bias)
    if head_norms:
        builder.norm(f"{name}.q_norm", size, layers=layers)
        builder.norm(f"{name}.k_norm", size, layers=layers)
    if sinks:
        builder.parameter(f"{name}.sinks", heads, layers=layers, shard=COLUMN)
        builder.traits.add("attention_sinks")
    builder.attention_caches(
        f"{name}.{cache}", layers, heads, attention.num_kv_heads, size, windows=dict(windows or {}), sinks=sinks,
        kept=causal,
    )  # fmt: skip


def add_rope(
    builder: Builder,
    name: str,
    stack: Stack,
    *,
    text: Config | None = None,
    head_size: int = 0,
    layers: Layers = (),
    **facts: Any,
) -> None:
    """
    The rotary table of a stack, or of some of its layers; ``facts`` as in `read_rope`.
    """
    facts.setdefault("max_position", stack.max_position)
    facts.setdefault("mrope_factor", builder.mrope_factor)
    table = read_rope(text or stack.text, head_size or stack.attention.head_size, **facts)
    builder.rope(f"{name}.rotary_emb", table, layers=layers)


def add_mlp(
    builder: Builder,
    name: str,
    hidden: int,
    intermediate: int,
    *,
    layers: Layers,
    up: str = "up_proj",
    down: str = "down_proj",
    bias: bool = False,
    divided: bool = True,
) -> None:
    """
    An MLP without a gate: up and down.
    """
    first, second = (COLUMN, ROW) if divided else (REPLICATED, REPLICATED)
    builder.linear(f"{name}.{up}", hidden, intermediate, shard=first, layers=layers, bias=bias)
    builder.linear(f"{name}.{down}", intermediate, hidden, shard=second, layers=layers, bias=bias)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Moe(Value):
    """
    A mixture-of-experts block.

    Attributes:
        layers: That have one; the others have a dense MLP.

        router: Name of the gate inside the block.

        router_dtype: Of its weight; None: the model's.

        correction_bias: Name of the float32 bias per expert inside the block, empty for none.

        shared_intermediate: Width of the experts that every token passes, together; 0: none.

        shared: Their name inside the block.

        shared_gate: Name of the one-wide gate on their output, empty for none.

        router_quantized: vLLM hands the gate the quant_config.

        adapters: Of gate and up in one LoRA slot; 0: one for each.
    """

    layers: Layers
    num_experts: int
    top_k: int
    intermediate: int
    router: str = "gate"
    router_dtype: str | None = None
    router_bias: bool = False
    router_quantized: bool = False
    correction_bias: str = ""
    shared_intermediate: int = 0
    shared: str = "shared_experts"
    shared_gate: str = ""
    expert_bias: bool = False
    adapters: int = 0


def add_moe(builder: Builder, name: str, hidden: int, moe: Moe) -> None:
    """
    Router, routed experts and shared experts.
    """
    layers = moe.layers
    if not layers:
        return
    builder.linear(
        f"{name}.{moe.router}", hidden, moe.num_experts,
        shard=REPLICATED, layers=layers, quantized=moe.router_quantized, dtype=moe.router_dtype,
        bias=moe.router_bias, bias_dtype=moe.router_dtype,
    )  # fmt: skip
    if moe.correction_bias:
        builder.parameter(f"{name}.{moe.correction_bias}", moe.num_experts, layers=layers, dtype="float32")
    builder.experts(
        f"{name}.experts",
        moe.num_experts,
        hidden,
        moe.intermediate,
        layers=layers,
        bias=moe.expert_bias,
        adapters=moe.adapters,
    )
    if moe.shared_intermediate:
        builder.gated_mlp(f"{name}.{moe.shared}", hidden, moe.shared_intermediate, layers=layers)
    if moe.shared_gate:
        builder.linear(f"{name}.{moe.shared_gate}", hidden, 1, shard=REPLICATED, layers=layers, quantized=False)


def read_experts(text: Config, *keys: str) -> int:
    """
    A number of experts.
    """
    return text.required(*keys, maximum=2**16)


def finish_draft(builder: Builder, *, num_layers: int = 1, method: str = "mtp", embeds: bool = True) -> Draft:
    """
    What a builder collected, as the draft of a model: on the last stage, shared by no adapter.

    The speculator keeps a copy of the target's hidden states and its own inputs for a whole batch.
    Source: vLLM 0.33 ``v1/worker/gpu/spec_decode``.

    Args:
        builder: Its layers have the numbers that come after the target's.

        embeds: False: the class knows how to share the target's embeddings over pipeline stages.
    """
    return Draft(
        method=method,
        embeds=embeds,
        tensors=tuple(
            attrs.evolve(tensor, layers=(), count=_draft_count(tensor), stage="last", lora=False)
            for tensor in builder.tensors
        ),
        cache_layers=tuple(builder.cache_layers),
        num_layers=num_layers,
    )


def _draft_count(tensor: WeightTensor) -> int:
    number = 1 if tensor.stage == "owners" else max(len(tensor.layers), 1)
    return number * tensor.count


def add_speculator(builder: Builder, hidden: int, *, embeds: bool = False) -> None:
    """
    The buffers of a speculator per batched token: hidden states, ids and positions.

    Args:
        embeds: The draft takes embeddings, which have a buffer too (multimodal targets).
    """
    facts: dict[str, Any] = {"per_batched_token": True, "role": "buffer", "stage": "last"}
    builder.parameter("speculator.hidden_states", 2 * hidden if embeds else hidden, **facts)
    builder.parameter("speculator.input_ids", 1, dtype="int32", **facts)
    builder.parameter("speculator.positions", 1, dtype="int64", **facts)


def finish(checkpoint: Checkpoint, builder: Builder, stack: Stack) -> ModelSpec:
    """
    The `ModelSpec` of a decoder.
    """
    return builder.build(
        name=checkpoint.name,
        architecture=checkpoint.architecture,
        dtype=checkpoint.dtype,
        num_layers=len(stack.layers),
        hidden_size=stack.hidden,
        vocab_size=stack.vocab_size,
        max_model_len=derived_max_model_len(stack.text),
        num_attention_heads=stack.attention.num_heads,
        num_experts=stack.num_experts,
        num_experts_per_token=stack.num_experts_per_token,
    )
