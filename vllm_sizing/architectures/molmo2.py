"""
Molmo 2: an encoder whose features of two layers are pooled by attention, and a decoder of its own.

Source: vLLM 0.33 ``model_executor/models/molmo2.py``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Attention,
    Stack,
    add_norms,
    add_rope,
    add_self_attention,
    finish,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint, derived_max_model_len
from vllm_sizing.architectures.config import MAX_LAYERS, Config
from vllm_sizing.architectures.towers import Vit, add_encoder, add_vit_layers, open_tower, read_vit
from vllm_sizing.specs.model import ROW, ModelSpec, Part

_PREFIXES = (
    ("model.vision_backbone.", "vision_backbone."),
    ("model.transformer.blocks.", "model.layers."),
    ("model.transformer.ln_f.", "model.norm."),
)
# Processors of the released checkpoints: eight crops of 27 patches that overlap by eight, pooled in squares of two;
# 384 frames pooled in squares of three.
_IMAGE_TOKENS, _VIDEO_TOKENS = 14 * 80 + 14 * 14, 384 * 9 * 9
_POOLED = 4


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Molmo 2.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    stack = _add_decoder(builder, checkpoint.text)
    vision, adapter = config.needed_section("vit_config"), config.needed_section("adapter_config")
    with open_tower(builder) as tower:
        vit = _add_vision(tower, vision, adapter)
    # A video has no more frames than the context holds.
    video = min(derived_max_model_len(stack.text), _VIDEO_TOKENS)
    for modality, tokens in (("image", _IMAGE_TOKENS), ("video", video)):
        add_encoder(builder, modality, vit, stack.hidden, tokens=tokens, positions=tokens * _POOLED)
    builder.traits |= {"prefix_lm", "no_encoder_data"}
    return finish(checkpoint, builder, stack)


def _add_decoder(builder: Builder, text: Config) -> Stack:
    """
    The decoder; both ends are on every pipeline stage, and the table has more rows than the head.
    """
    stack = attrs.evolve(read_stack(text, max_position=4096), tied=False)
    layer, layers, hidden = "model.layers.*", stack.layers, stack.hidden
    rows = stack.vocab_size + text.integer("additional_vocab_size", default=0, minimum=0)
    builder.embedding("model.embed_tokens", rows, hidden, stage="all", lora=False)
    builder.lm_head("lm_head", stack.vocab_size, hidden, stage="all", lora=False)
    builder.norm("model.norm", hidden, stage="all")
    add_self_attention(
        builder, f"{layer}.self_attn", stack, bias=text.flag("qkv_bias", default=False), fused=(), adapters=1
    )  # fmt: skip
    if text.flag("use_qk_norm", default=False):
        _add_head_norms(builder, f"{layer}.self_attn", text, stack.attention, layers)
    _add_ropes(builder, f"{layer}.self_attn", stack)
    inner = text.required("intermediate_size")
    builder.linear(f"{layer}.mlp.up_gate_proj", hidden, (inner, inner), layers=layers, adapters=1)
    builder.linear(f"{layer}.mlp.down_proj", inner, hidden, shard=ROW, layers=layers)
    add_norms(builder, layer, hidden, *TWO_NORMS, layers=layers)
    return stack


def _add_head_norms(builder: Builder, name: str, text: Config, attention: Attention, layers: Layers) -> None:
    """
    One head wide, or all heads wide and whole on every rank.
    """
    each = text.text("qk_norm_type", default="olmo") == "qwen3"
    for norm, heads in (("q_norm", attention.num_heads), ("k_norm", attention.num_kv_heads)):
        builder.norm(f"{name}.{norm}", attention.head_size * (1 if each else heads), layers=layers)


def _add_ropes(builder: Builder, name: str, stack: Stack) -> None:
    """
    Layers that are not scaled have the plain table.
    """
    scaled = stack.text.integers("rope_scaling_layers", maximum=MAX_LAYERS)
    if scaled is None:
        add_rope(builder, name, stack)
        return
    chosen = tuple(at for at in stack.layers if at in set(scaled))
    rest = tuple(at for at in stack.layers if at not in set(scaled))
    if chosen:
        add_rope(builder, name, stack, layers=chosen)
    if rest:
        given = stack.text.section("rope_parameters") or Config({})
        plain = {"rope_type": "default", "rope_theta": given.number("rope_theta", default=1e6)}
        add_rope(builder, name, stack, text=stack.text.changed(rope_parameters=plain, rope_scaling=None), layers=rest)


def _add_vision(tower: Builder, vision: Config, adapter: Config) -> Vit:
    """
    Patches and layers up to the deepest that is wanted, pooling and the projector.
    """
    vit = read_vit(vision)
    hidden, number = vit.hidden, vit.num_layers
    wanted = adapter.integers("vit_layers", minimum=-number, maximum=number - 1)
    if not wanted:
        raise adapter.refuse("vit_layers", f"a list of layers from -{number} to {number - 1}")
    built = min(number, max(at + number if at < 0 else at for at in wanted) + 1)
    name, positions = "vision_backbone.image_vit", vision.required("image_num_pos", maximum=2**24)
    tower.parameter(f"{name}.positional_embedding", positions, hidden)
    tower.parameter(
        f"{name}.patch_embedding.weight", hidden, 3 * vision.required("image_patch_size", maximum=2**12) ** 2
    )
    tower.parameter(f"{name}.patch_embedding.bias", hidden)
    kv_heads = vision.integer("num_key_value_heads", default=vit.num_heads, maximum=2**16)
    add_vit_layers(
        tower, f"{name}.transformer.resblocks.*", vit,
        num_layers=built, attention="attention", qkv="merged_qkv", fused=("wq", "wk", "wv"), output="wo",
        mlp="feed_forward", up="w1", down="w2", norms=("attention_norm", "ffn_norm"), kv_heads=kv_heads,
    )  # fmt: skip
    _add_adapter(tower, adapter, hidden * len(wanted))
    return attrs.evolve(vit, positions=positions)


def _add_adapter(tower: Builder, adapter: Config, inputs: int) -> None:
    hidden, heads = adapter.required("hidden_size"), adapter.required("num_attention_heads", maximum=2**16)
    kv_heads = adapter.integer("num_key_value_heads", default=heads, maximum=2**16)
    size = adapter.required("head_dim", maximum=2**16)
    name = "vision_backbone.image_pooling_2d"
    tower.linear(f"{name}.q_proj", inputs, (Part(heads * size, heads),), bias=True)
    keys = (Part(kv_heads * size),) * 2
    tower.linear(f"{name}.merged_kv", inputs, keys, bias=True, fused=("k_proj", "v_proj"))
    tower.linear(f"{name}.o_proj", heads * size, hidden, shard=ROW, bias=True)
    name, inner = "vision_backbone.image_projector", adapter.required("intermediate_size")
    tower.linear(f"{name}.merged_linear", hidden, (inner, inner), fused=("gate_proj", "up_proj"))
    tower.linear(f"{name}.down_proj", inner, adapter.required("text_hidden_size"), shard=ROW)
