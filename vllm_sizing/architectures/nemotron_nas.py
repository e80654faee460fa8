"""
Models that a search cut out of a Llama (Nemotron Super and Ultra): each layer has its own widths, or lacks a part.

Source: vLLM 0.33 ``model_executor/models/nemotron_nas.py``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import (
    MAX_HEADS,
    Attention,
    Stack,
    add_ends,
    add_rope,
    add_self_attention,
    finish,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.units import round_up

_FFN_MULTIPLE = 256


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder.
    """
    heads = text.required("num_attention_heads", maximum=MAX_HEADS)
    hidden = text.required("hidden_size")
    size = text.integer("head_dim", default=max(1, hidden // heads), maximum=MAX_HEADS)
    stack = read_stack(text, attention=Attention(num_heads=heads, num_kv_heads=heads, head_size=size))
    layer, blocks = f"{prefix}model.layers.*", _blocks(text, len(stack.layers))
    add_ends(builder, stack, prefix)
    bias = text.flag("attention_bias", default=False) or text.flag("bias", default=False)
    attending: dict[int, list[int]] = {}
    for at, block in enumerate(blocks):
        kv_heads = _kv_heads(block.section("attention"), heads)
        if kv_heads:
            attending.setdefault(kv_heads, []).append(at)
    for kv_heads, owners in sorted(attending.items()):
        add_self_attention(
            builder, f"{layer}.self_attn", stack,
            attention=attrs.evolve(stack.attention, num_kv_heads=kv_heads), layers=tuple(owners),
            bias=text.flag("qkv_bias", default=bias), output_bias=bias,
        )  # fmt: skip
    users = tuple(sorted(at for owners in attending.values() for at in owners))
    if users:
        add_rope(builder, f"{layer}.self_attn", stack, layers=users)
    builder.norm(f"{layer}.input_layernorm", hidden, layers=users)
    _add_mlps(builder, layer, hidden, text, [_width(block.section("ffn"), hidden) for block in blocks])
    return stack


def _blocks(text: Config, number: int) -> list[Config]:
    blocks = text.items("block_configs")
    if blocks is None or len(blocks) < number:
        raise text.refuse("block_configs", f"a list of {number} objects, one for each layer")
    return [Config(block, f"block_configs[{at}]") for at, block in enumerate(blocks[:number])]


def _kv_heads(attention: Config | None, heads: int) -> int:
    """
    0 where a layer has no attention.
    """
    if attention is None or attention.flag("no_op", default=False):
        return 0
    if attention.flag("replace_with_linear", default=False):
        raise attention.refuse("replace_with_linear", "false; vLLM does not know such layers")
    group = attention.required("n_heads_in_group", maximum=heads)
    if heads % group:
        raise attention.refuse("n_heads_in_group", f"a divisor of num_attention_heads ({heads})")
    return heads // group


def _width(ffn: Config | None, hidden: int) -> int:
    """
    0 where a layer has no MLP.
    """
    if ffn is None or ffn.flag("no_op", default=False):
        return 0
    if ffn.flag("replace_with_linear", default=False):
        raise ffn.refuse("replace_with_linear", "false; vLLM does not know such layers")
    if not ffn.has("ffn_mult"):
        return ffn.required("intermediate_size")
    width = int(2 * ffn.number("ffn_mult", default=0.0) * hidden / 3)
    if not 0 < width < 2**40:
        raise ffn.refuse("ffn_mult", "above 0")
    return round_up(width, _FFN_MULTIPLE)


def _add_mlps(builder: Builder, layer: str, hidden: int, text: Config, widths: list[int]) -> None:
    for width in sorted(set(widths) - {0}):
        owners: Layers = tuple(at for at, found in enumerate(widths) if found == width)
        builder.gated_mlp(f"{layer}.mlp", hidden, width, layers=owners, bias=text.flag("mlp_bias", default=False))
    with_mlp = tuple(at for at, width in enumerate(widths) if width)
    builder.norm(f"{layer}.post_attention_layernorm", hidden, layers=with_mlp)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a searched Llama.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
