"""
Decoders: what their model classes have in common, and the switches by which they differ.

A family is a `Style` per model class; everything it does not say is as in Llama.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Moe,
    Stack,
    add_ends,
    add_mlp,
    add_moe,
    add_norms,
    add_rope,
    add_self_attention,
    add_speculator,
    finish_draft,
    read_stack,
    read_windows,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import REPLICATED, Draft
from vllm_sizing.specs.value import Value

Bias = bool | tuple[str, ...]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Names(Value):
    """
    Module names of a model class, and of the parts that the checkpoint stores.

    Attributes:
        qkv_parts, mlp_parts: Empty: the checkpoint stores the merged matrix, and LoRA sees only that.
    """

    embed: str = "model.embed_tokens"
    layer: str = "model.layers.*"
    attention: str = "self_attn"
    qkv: str = "qkv_proj"
    output: str = "o_proj"
    mlp: str = "mlp"
    moe: str = "mlp"
    gate_up: str = "gate_up_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    norm: str = "model.norm"
    head: str = "lm_head"
    qkv_parts: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    mlp_parts: tuple[str, ...] = ("gate_proj", "up_proj")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Style(Value):
    """
    One model class.

    Attributes:
        defaults: What its config class fills in where a config.json is silent.

        qkv_bias, output_bias, mlp_bias: True, False, or the config's keys of which one must be true.

        head_norms: Norms of one head's width on q and k.

        head_dim: The class reads ``head_dim``; else heads share out hidden_size.

        moe: Reads the experts; None: dense.

        norms: Names of the norms in a layer.

        norm_bias: All norms have a bias.

        norm_weights: The last norm has a weight.

        head_bias: So has the LM head.

        head_quantized: vLLM hands the LM head the quant_config.

        gated: The MLP has a gate.

        divided_mlp: Tensor parallelism divides an MLP without a gate.

        partial: Part of a head that is rotated where the config does not say.

        neox: See `read_rope`.

        rotary: The class has a rotary table.

        per_layer_windows: The class looks at the type of each layer.

        switched_windows: ``use_sliding_window`` and ``max_window_layers`` count.

        pattern: Every so many layers one sees everything, where the config says neither types nor
            ``sliding_window_pattern``; 0: the class knows no pattern.

        everywhere: Embeddings, last norm and head are on every pipeline stage.

        tied: None: as the config says.

        lora, lora_qkv: LoRA may target the layers, and among them q, k and v.

        lora_ends, lora_head: The same of embeddings and LM head; the head as the embeddings, where it
            is None.
    """

    defaults: Mapping[str, Any] = attrs.field(factory=dict)
    names: Names = Names()
    qkv_bias: Bias = ("attention_bias", "bias")
    output_bias: Bias = ("attention_bias", "bias")
    mlp_bias: Bias = ("mlp_bias",)
    head_norms: bool = False
    head_dim: bool = True
    moe: Callable[[Config, Layers], Moe | None] | None = None
    norms: tuple[str, ...] = TWO_NORMS
    norm_bias: bool = False
    norm_weights: bool = True
    head_bias: bool = False
    head_quantized: bool = True
    gated: bool = True
    divided_mlp: bool = True
    partial: float = 1.0
    neox: bool = True
    rotary: bool = True
    per_layer_windows: bool = True
    switched_windows: bool = False
    pattern: int = 0
    everywhere: bool = False
    tied: bool | None = None
    lora: bool = True
    lora_qkv: bool = True
    lora_ends: bool = True
    lora_head: bool | None = None


def add_decoder(builder: Builder, text: Config, style: Style, *, prefix: str = "") -> Stack:
    """
    A decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    text = text.over(style.defaults)
    if not style.head_dim:
        text = text.changed(head_dim=None)
    stack = read_stack(text)
    if style.tied is not None:
        stack = attrs.evolve(stack, tied=style.tied)
    names = style.names
    add_ends(
        builder, stack, prefix,
        everywhere=style.everywhere, norm_bias=style.norm_bias, bias=style.head_bias, lora=style.lora_ends,
        lora_head=style.lora_head, embed=names.embed, norm=names.norm if style.norm_weights else "",
        head=names.head, head_quantized=style.head_quantized,
    )  # fmt: skip
    layer = f"{prefix}{names.layer}"
    if style.rotary:
        add_rope(builder, f"{layer}.{names.attention}", stack, partial=style.partial, neox=style.neox)
    moe = style.moe(text, stack.layers) if style.moe else None
    add_decoder_layers(builder, stack, style, layer, layers=stack.layers, windows=windows_of(style, stack), moe=moe)
    if not style.lora:
        builder.traits.add("no_lora")
    return stack.with_experts(moe)


def add_decoder_layers(
    builder: Builder,
    stack: Stack,
    style: Style,
    layer: str,
    *,
    layers: Layers,
    windows: Mapping[int, int],
    moe: Moe | None = None,
) -> None:
    """
    Attention, MLP or experts, and norms of some layers.
    """
    text, names = stack.text, style.names
    add_self_attention(
        builder, f"{layer}.{names.attention}", stack,
        layers=layers,
        bias=has_bias(text, style.qkv_bias),
        output_bias=has_bias(text, style.output_bias),
        head_norms=style.head_norms,
        windows=windows,
        causal=text.flag("is_causal", default=True),
        qkv=names.qkv, output=names.output, fused=names.qkv_parts,
        adapters=0 if names.qkv_parts else 1, lora=style.lora_qkv,
    )  # fmt: skip
    sparse = set(moe.layers) if moe else set()
    dense = tuple(at for at in layers if at not in sparse)
    if moe is not None:
        add_moe(builder, f"{layer}.{names.moe}", stack.hidden, moe)
    if dense:
        _add_mlp(builder, stack, style, f"{layer}.{names.mlp}", dense)
    add_norms(builder, layer, stack.hidden, *style.norms, layers=layers, bias=style.norm_bias)


def _add_mlp(builder: Builder, stack: Stack, style: Style, name: str, layers: Layers) -> None:
    names, intermediate = style.names, stack.text.required("intermediate_size")
    bias = has_bias(stack.text, style.mlp_bias)
    if style.gated:
        builder.gated_mlp(
            name, stack.hidden, intermediate,
            layers=layers, bias=bias, gate_up=names.gate_up, down=names.down, fused=names.mlp_parts,
            adapters=0 if names.mlp_parts else 1,
        )  # fmt: skip
    else:
        add_mlp(
            builder,
            name,
            stack.hidden,
            intermediate,
            layers=layers,
            bias=bias,
            up=names.up,
            down=names.down,
            divided=style.divided_mlp,
        )


def has_bias(text: Config, bias: Bias) -> bool:
    """
    Whether layers have a bias.
    """
    if isinstance(bias, bool):
        return bias
    return any(text.flag(key, default=False) for key in bias)


def windows_of(style: Style, stack: Stack) -> dict[int, int]:
    """
    The window of each layer that has one.
    """
    text, kinds = stack.text, None
    if style.switched_windows:
        if not text.flag("use_sliding_window", default=False):
            return {}
        first = text.integer("max_window_layers", default=28, minimum=0)
        kinds = ["sliding_attention" if at >= first else "full_attention" for at in stack.layers]
    elif style.pattern and text.layer_types(len(stack.layers)) is None:
        kinds = repeated_kinds(len(stack.layers), text.integer("sliding_window_pattern", default=style.pattern))
    return read_windows(text, stack.layers, kinds=kinds, per_layer=style.per_layer_windows)


def repeated_kinds(num_layers: int, pattern: int) -> list[str]:
    """
    Layer types where every ``pattern``-th layer sees everything.
    """
    return ["sliding_attention" if (at + 1) % pattern else "full_attention" for at in range(num_layers)]


def dense_draft(
    builder: Builder, stack: Stack, style: Style, layer: str, *, number: int, projection: str, norms: tuple[str, ...]
) -> Draft | None:
    """
    A draft of ordinary layers: norms, a projection of hidden state and embedding, and the layer.

    Args:
        number: Of draft layers; 0: no draft.

        projection: Name of the projection, a plain torch layer: neither divided nor quantized.

        norms: Beside those of the layer.
    """
    if not number:
        return None
    first = len(stack.layers)
    layers = tuple(range(first, first + number))
    extra = builder.beside()
    extra.linear(
        f"{layer}.{projection}", 2 * stack.hidden, stack.hidden, shard=REPLICATED, layers=layers, quantized=False
    )
    add_norms(extra, layer, stack.hidden, *norms, layers=layers)
    add_rope(extra, f"{layer}.self_attn", stack, partial=style.partial, neox=style.neox)
    windows = windows_of(style, stack)
    same = len(windows) == first and len(set(windows.values())) == 1
    add_decoder_layers(
        extra, stack, style, layer, layers=layers, windows=dict.fromkeys(layers, windows[0]) if same else {}
    )
    add_speculator(extra, stack.hidden)
    return finish_draft(extra, num_layers=number)
