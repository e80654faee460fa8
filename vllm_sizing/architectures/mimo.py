"""
MiMo-V2: windowed layers with sizes and sinks of their own, experts, and an MTP draft.

Where ``attention_projection_layout`` is ``fused_qkv`` in blocks of FP8 and ranks are fewer than KV heads, vLLM pads
keys and values to whole blocks; those few rows (below 0.01 % of a real checkpoint) are left out.

Source: vLLM 0.33 ``model_executor/models/mimo_v2.py``, ``mimo_v2_mtp.py``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import (
    MAX_HEADS,
    TWO_NORMS,
    Moe,
    Stack,
    add_ends,
    add_moe,
    add_norms,
    add_rope,
    add_speculator,
    finish,
    finish_draft,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import COLUMN, REPLICATED, ROW, Draft, ModelSpec
from vllm_sizing.specs.value import Value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Heads(Value):
    """
    One of the two kinds of attention.

    Attributes:
        window: 0: everything is seen.
    """

    num_heads: int
    num_kv_heads: int
    size: int
    value: int
    theta: float
    window: int = 0
    sinks: bool = False


def _read_heads(text: Config, prefix: str, *, theta: float, window: int = 0, sinks: bool = False) -> Heads:
    size = text.required(f"{prefix}head_dim", maximum=MAX_HEADS)
    return Heads(
        num_heads=text.required(f"{prefix}num_attention_heads", maximum=MAX_HEADS),
        num_kv_heads=text.required(f"{prefix}num_key_value_heads", maximum=MAX_HEADS),
        size=size,
        value=text.integer(f"{prefix}v_head_dim", default=size, maximum=MAX_HEADS),
        theta=theta,
        window=window,
        sinks=sinks,
    )


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder and its draft, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    text = text.over({"max_position_embeddings": 32768})
    theta = text.number("rope_theta", default=1e6)
    full = _read_heads(text, "", theta=theta)
    sliding = _read_heads(
        text, "swa_",
        theta=text.number("swa_rope_theta", default=theta),
        window=text.integer("sliding_window_size", default=0, minimum=0),
        sinks=text.flag("add_swa_attention_sink_bias", default=False),
    )  # fmt: skip
    stack = attrs.evolve(read_stack(text), tied=False)
    number, layer = len(stack.layers), f"{prefix}model.layers.*"
    pattern = _ones(text, "hybrid_layer_pattern", number)
    windowed = tuple(at for at in stack.layers if pattern[at] == 1)
    add_ends(builder, stack, prefix, lora=False)
    for heads, layers in ((full, tuple(at for at in stack.layers if pattern[at] != 1)), (sliding, windowed)):
        _add_attention(builder, f"{layer}.self_attn", stack, heads, layers)
    moe = _read_moe(text, number)
    add_moe(builder, f"{layer}.mlp", stack.hidden, moe)
    dense = tuple(at for at in stack.layers if at not in set(moe.layers))
    builder.gated_mlp(f"{layer}.mlp", stack.hidden, text.required("intermediate_size"), layers=dense)
    add_norms(builder, layer, stack.hidden, *TWO_NORMS, layers=stack.layers)
    builder.traits.add("no_lora")
    builder.draft = _draft(builder, stack, sliding)
    return stack.with_experts(moe)


def _ones(text: Config, key: str, number: int) -> list[int]:
    values = text.integers(key)
    if values is None or len(values) < number:
        raise text.refuse(key, f"a list of {number} zeros and ones, one for each layer")
    return values


def _read_moe(text: Config, number: int) -> Moe:
    sparse = _ones(text, "moe_layer_freq", number)
    return Moe(
        layers=tuple(at for at in range(number) if sparse[at]),
        num_experts=read_experts(text, "n_routed_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=text.required("moe_intermediate_size"),
        router_dtype=text.text("moe_router_dtype", default="float32"),
        correction_bias="gate.e_score_correction_bias",
    )


def _add_attention(
    builder: Builder, name: str, stack: Stack, heads: Heads, layers: Layers, *, quantized: bool = True
) -> None:
    """
    Attention whose values may be narrower than its keys.
    """
    if not layers:
        return
    text = stack.text
    builder.qkv(
        f"{name}.qkv_proj", stack.hidden, heads.num_heads, heads.num_kv_heads, heads.size,
        layers=layers, bias=text.flag("attention_bias", default=False), head_size_v=heads.value,
    )  # fmt: skip
    builder.linear(
        f"{name}.o_proj", heads.num_heads * heads.value, stack.hidden,
        shard=ROW, layers=layers, quantized=quantized,
    )  # fmt: skip
    if heads.sinks:
        builder.parameter(f"{name}.attention_sink_bias", heads.num_heads, layers=layers, shard=COLUMN)
        builder.traits.add("attention_sinks")
    builder.attention_caches(
        f"{name}.attn", layers, heads.num_heads, heads.num_kv_heads, heads.size,
        windows=dict.fromkeys(layers, heads.window) if heads.window else None,
        head_size_v=heads.value, sinks=heads.sinks,
    )  # fmt: skip
    # The class hands over a plain table of its own making.
    plain = text.changed(
        rope_theta=heads.theta, rope_scaling=None, rope_parameters={"rope_type": "default", "theta": heads.theta}
    )
    add_rope(builder, name, stack, text=plain, head_size=heads.size, layers=layers)


def _draft(builder: Builder, stack: Stack, sliding: Heads) -> Draft:
    """
    One dense windowed layer; vLLM builds it whatever the config says.
    """
    extra, hidden, layers, layer = builder.beside(), stack.hidden, (0,), "model.mtp.layers.*"
    extra.linear(f"{layer}.eh_proj", 2 * hidden, hidden, shard=REPLICATED, layers=layers, quantized=False)
    add_norms(
        extra, layer, hidden, "enorm", "hnorm", "input_layernorm", "pre_mlp_layernorm", "final_layernorm",
        layers=layers,
    )  # fmt: skip
    _add_attention(extra, f"{layer}.self_attn", stack, sliding, layers, quantized=False)
    extra.gated_mlp(f"{layer}.mlp", hidden, stack.text.required("intermediate_size"), layers=layers)
    add_speculator(extra, hidden)
    return finish_draft(extra)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a MiMo-V2.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
