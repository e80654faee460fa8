"""
ERNIE 4.5-VL: experts for text beside experts for images in every layer.

Source: vLLM 0.33 ``model_executor/models/ernie45_vl.py``, ``ernie45_vl_moe.py``; defaults as its checkpoints'
own configuration has them.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Moe,
    Stack,
    add_ends,
    add_norms,
    add_self_attention,
    finish,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint, derived_max_model_len
from vllm_sizing.architectures.config import MAX_LAYERS, Config
from vllm_sizing.architectures.towers import Vit, add_encoder, add_vit_layers, open_tower, read_vit, square
from vllm_sizing.specs.model import REPLICATED, ModelSpec

_PREFIXES = (("lm_head.", "language_model.lm_head."), ("model.", "language_model.model."))
_DEFAULTS: dict[str, Any] = {"max_position_embeddings": 131_072, "tie_word_embeddings": True}
_VISION: dict[str, Any] = {
    "depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4, "in_channels": 3, "patch_size": 14,
}  # fmt: skip
_POSITIONS_FACTOR = 4  # mrope.py: tables have room for video positions.
_PIXELS = 4_816_896  # Largest image: preprocessor_config.json of the released checkpoints, max_pixels.
_SIDES = ("text", "vision")


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an ERNIE 4.5-VL.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    text = checkpoint.text.over(_DEFAULTS)
    stack = read_stack(text)
    add_ends(builder, stack, "language_model.", lora=False)
    layer = "language_model.model.layers.*"
    bias = text.flag("use_bias", default=False)
    add_self_attention(builder, f"{layer}.self_attn", stack, bias=bias)
    # Every layer makes a table of its own.
    builder.parameter(
        f"{layer}.self_attn.rotary_emb.cos_sin_cache", _POSITIONS_FACTOR * stack.max_position,
        stack.attention.head_size, layers=stack.layers, role="buffer",
    )  # fmt: skip
    stack = _add_mlps(builder, f"{layer}.mlp", stack, text, bias=bias)
    add_norms(builder, layer, stack.hidden, *TWO_NORMS, layers=stack.layers)
    vision = (config.section("vision_config") or Config({}, "vision_config")).over(_VISION)
    vit = read_vit(vision, hidden="embed_dim", heads="num_heads", layers="depth", ratio="mlp_ratio")
    with open_tower(builder, data_parallel=False, lora=True) as tower:
        _add_tower(tower, vision, vit)
        _add_resampler(tower, config, stack)
    _add_image_ids(builder, config)
    _add_items(builder, config, vision, vit, stack)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _add_mlps(builder: Builder, name: str, stack: Stack, text: Config, *, bias: bool) -> Stack:
    """
    Experts of both kinds where there are any, dense layers elsewhere; returns the stack with their number.
    """
    counts = _pair(text, "moe_num_experts")
    if counts[0] != counts[1]:
        raise text.refuse("moe_num_experts", "two equal numbers")
    starts, widths = _pair(text, "moe_layer_start_index"), _pair(text, "moe_intermediate_size")
    ends = _pair(text, "moe_layer_end_index")
    every = text.integer("moe_layer_interval", default=1, maximum=MAX_LAYERS)
    chosen = read_experts(text, "moe_k")
    sparse: Layers = ()
    if text.flag("use_moe", default=counts[0] > 0):
        sparse = tuple(at for at in stack.layers if (at + 1) % every == 0 and min(starts) <= at <= max(ends))
    inner = text.required("intermediate_size")
    shared = widths[0] * text.integer("moe_num_shared_experts", default=0, minimum=0, maximum=2**16)
    if sparse:
        builder.parameter(f"{name}.e_score_correction_bias", 2, counts[0], layers=sparse, dtype="float32")
        if shared:
            builder.gated_mlp(f"{name}.shared_experts", stack.hidden, shared, layers=sparse)
    for side, start, end, width in zip(_SIDES, starts, ends, widths, strict=True):
        owners = tuple(at for at in sparse if start <= at <= end)
        _add_experts(builder, name, side, stack.hidden, Moe(
            layers=owners, num_experts=counts[0], top_k=chosen, intermediate=width, router_dtype="float32",
            router_quantized=True,
        ))  # fmt: skip
        plain = tuple(at for at in sparse if at not in set(owners))
        if plain:
            builder.gated_mlp(f"{name}.{side}_experts", stack.hidden, inner, layers=plain, bias=bias)
    dense = tuple(at for at in stack.layers if at not in set(sparse))
    if dense:
        builder.gated_mlp(name, stack.hidden, inner, layers=dense, bias=bias)
    return attrs.evolve(stack, num_experts=counts[0], num_experts_per_token=chosen) if sparse else stack


def _add_experts(builder: Builder, name: str, side: str, hidden: int, moe: Moe) -> None:
    if not moe.layers:
        return
    builder.linear(
        f"{name}.{side}_experts_gate", hidden, moe.num_experts,
        shard=REPLICATED, layers=moe.layers, quantized=moe.router_quantized, dtype=moe.router_dtype,
    )  # fmt: skip
    builder.experts(f"{name}.{side}_experts", moe.num_experts, hidden, moe.intermediate, layers=moe.layers)


def _pair(text: Config, key: str) -> tuple[int, int]:
    """
    A number for text and one for images.
    """
    values = text.integers(key, maximum=2**24) or ()
    if len(values) != 2:
        raise text.refuse(key, "two numbers: of text and of images")
    return values[0], values[1]


def _add_tower(tower: Builder, vision: Config, vit: Vit) -> None:
    name, patch = "vision_model", square(vision, "patch_size")
    channels = vision.required("in_channels", maximum=2**10)
    tower.linear(
        f"{name}.patch_embed.proj", channels * patch**2, vit.hidden, shard=REPLICATED, quantized=False, lora=False
    )
    half = vit.head_size // 2
    tower.parameter(f"{name}.rotary_pos_emb.inv_freq", max(1, (half + 1) // 2), dtype="float32", role="buffer")
    add_vit_layers(
        tower, f"{name}.blocks.*", vit,
        attention="attn", qkv="qkv", fused=(), output="proj", norms=("norm1", "norm2"), qkv_lora=False,
    )  # fmt: skip
    tower.norm(f"{name}.ln", vit.hidden, bias=True)


def _add_resampler(tower: Builder, config: Config, stack: Stack) -> None:
    """
    Neighbouring patches, and neighbouring frames, become one embedding; never quantized.
    """
    name = "resampler_model"
    space = config.integer("spatial_conv_size", default=2, maximum=2**8)
    time = config.integer("temporal_conv_size", default=2, maximum=2**8)
    whole = config.required("pixel_hidden_size") * space**2
    parts = [("spatial", whole)]
    if config.flag("use_temporal_conv", default=True):
        parts.append(("temporal", whole * time))
    for part, inputs in parts:
        tower.linear(f"{name}.{part}_linear1", inputs, whole, bias=True, quantized=False)
        tower.linear(f"{name}.{part}_linear2", whole, whole, bias=True, quantized=False)
        tower.norm(f"{name}.{part}_norm", whole, bias=True)
    tower.linear(f"{name}.mlp", whole, stack.hidden, bias=True, quantized=False)
    tower.norm(f"{name}.after_norm", stack.hidden)


def _add_image_ids(builder: Builder, config: Config) -> None:
    keys = ("image_start_token_id", "image_end_token_id", "video_start_token_id", "video_end_token_id")
    if config.integer("im_patch_id", default=0, minimum=0):
        number = 1 + sum(config.has(key) for key in keys)
        builder.parameter("_visual_token_ids_tensor_cache", number, dtype="int64", role="buffer", stage="all")


def _add_items(builder: Builder, config: Config, vision: Config, vit: Vit, stack: Stack) -> None:
    """
    The largest image, and the longest video of such images that fits the context beside one.
    """
    space = config.integer("spatial_conv_size", default=2, maximum=2**8)
    image = max(1, int(_PIXELS**0.5) // (square(vision, "patch_size") * space)) ** 2
    frames = max(1, derived_max_model_len(stack.text) // image - 1)
    for modality, tokens, step in (("image", image, 0), ("video", image * frames, image)):
        add_encoder(builder, modality, vit, stack.hidden, tokens=tokens, positions=tokens * space**2, step=step)
