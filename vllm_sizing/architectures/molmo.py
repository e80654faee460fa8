"""
Molmo: CLIP's sizes without its code, pooling by attention, a decoder of its own.

Source: vLLM 0.33 ``model_executor/models/molmo.py``, which fixes the encoder's sizes.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Stack,
    add_norms,
    add_rope,
    add_self_attention,
    finish,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.towers import Vit, add_encoder, open_tower
from vllm_sizing.specs.model import ROW, ModelSpec, Part

_WIDTH, _INNER, _HEADS, _DEPTH, _POSITIONS, _PATCH = 1024, 4096, 16, 23, 577, 14
_FEATURES = 2  # Layers whose output is taken.
_EXTRA_WORDS = 128
_PREFIXES = (
    ("model.vision_backbone.", "vision_backbone."),
    ("model.transformer.blocks.", "model.layers."),
    ("model.transformer.ln_f.", "model.norm."),
    ("model.transformer.ff_out.", "lm_head."),
)
# preprocessor_config.json of the released checkpoints: twelve crops of 24 patches that overlap by eight, pooled in
# squares of two, and the whole.
_IMAGE_TOKENS = 12 * (12 * 8 + 4) + 12 * 12


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Molmo.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    if config.flag("weight_tying", default=False):
        raise config.refuse("weight_tying", "false: vLLM 0.33 fails to load a tied Molmo")
    stack = _add_decoder(builder, config)
    with open_tower(builder, "image") as tower:
        vit = _add_vision(tower, stack)
    add_encoder(builder, "image", vit, stack.hidden, tokens=_IMAGE_TOKENS, positions=13 * _POSITIONS)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _add_decoder(builder: Builder, text: Config) -> Stack:
    """
    The decoder; both ends are on every pipeline stage, and ``intermediate_size`` is gate and up together.
    """
    rows = text.integer("embedding_size", "vocab_size", default=None)
    text = text.changed(vocab_size=rows, head_dim=None)
    stack = attrs.evolve(read_stack(text, max_position=4096), tied=False)
    layer, layers, hidden, attention = "model.layers.*", stack.layers, stack.hidden, stack.attention
    builder.embedding("model.embed_tokens", stack.vocab_size + _EXTRA_WORDS, hidden, stage="all", lora=False)
    builder.lm_head("lm_head", stack.vocab_size, hidden, stage="all", lora=False)
    builder.norm("model.norm", hidden, stage="all")
    add_self_attention(
        builder, f"{layer}.self_attn", stack, bias=text.flag("qkv_bias", default=False), fused=(), adapters=1
    )  # fmt: skip
    if text.flag("attention_layer_norm", default=False):
        builder.norm(f"{layer}.self_attn.q_norm", hidden, layers=layers)
        builder.norm(f"{layer}.self_attn.k_norm", attention.num_kv_heads * attention.head_size, layers=layers)
    add_rope(builder, f"{layer}.self_attn", stack)
    inner = text.required("intermediate_size", minimum=2) // 2
    builder.linear(f"{layer}.mlp.gate_up_proj", hidden, (inner, inner), layers=layers, adapters=1)
    builder.linear(f"{layer}.mlp.down_proj", inner, hidden, shard=ROW, layers=layers)
    add_norms(builder, layer, hidden, *TWO_NORMS, layers=layers)
    return stack


def _add_vision(tower: Builder, stack: Stack) -> Vit:
    name, layers = "vision_backbone.image_vit", tuple(range(_DEPTH))
    tower.parameter(f"{name}.class_embedding", _WIDTH)
    tower.parameter(f"{name}.positional_embedding", _POSITIONS, _WIDTH)
    tower.parameter(f"{name}.patch_embedding.weight", _WIDTH, 3 * _PATCH**2)
    tower.norm(f"{name}.pre_ln", _WIDTH, bias=True)
    block = f"{name}.transformer.resblocks.*"
    _add_attention(tower, f"{block}.attention", _WIDTH, layers=layers)
    tower.linear(f"{block}.feed_forward.w1", _WIDTH, _INNER, layers=layers, bias=True)
    tower.linear(f"{block}.feed_forward.w2", _INNER, _WIDTH, shard=ROW, layers=layers, bias=True)
    for norm in ("attention_norm", "ffn_norm"):
        tower.norm(f"{block}.{norm}", _WIDTH, layers=layers, bias=True)
    backbone = "vision_backbone"
    _add_attention(tower, f"{backbone}.image_pooling_2d", _FEATURES * _WIDTH)
    inner = stack.text.required("intermediate_size") // 2
    tower.linear(
        f"{backbone}.image_projector.merged_linear", _WIDTH, (inner, inner), fused=("gate_proj", "up_proj")
    )  # fmt: skip
    tower.linear(f"{backbone}.image_projector.down_proj", inner, stack.hidden, shard=ROW)
    tower.parameter(f"{backbone}.pad_embed", 2, _FEATURES * _WIDTH)
    return Vit(hidden=_WIDTH, intermediate=_INNER, num_heads=_HEADS, num_layers=_DEPTH, positions=_POSITIONS)


def _add_attention(tower: Builder, name: str, inputs: int, **facts: Any) -> None:
    heads = (Part(_WIDTH, _HEADS),)
    for part in ("wq", "wk", "wv"):
        tower.linear(f"{name}.{part}", inputs, heads, bias=True, **facts)
    tower.linear(f"{name}.wo", _WIDTH, _WIDTH, shard=ROW, bias=True, **facts)
