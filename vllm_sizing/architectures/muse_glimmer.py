"""
Muse Glimmer: a gate on every attention, some layers without positions, a windowed encoder of images and video.

Source: vLLM 0.33 ``model_executor/models/muse_glimmer.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import (
    FOUR_NORMS,
    Stack,
    add_ends,
    add_norms,
    add_rope,
    add_self_attention,
    finish,
    read_stack,
    read_windows,
)
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.towers import Vit, add_encoder, open_tower, read_vit
from vllm_sizing.specs.model import ROW, ModelSpec, Part

_TEXT: dict[str, Any] = {
    "vocab_size": 202048, "hidden_size": 6656, "intermediate_size": 19968, "num_hidden_layers": 52,
    "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072,
    "sliding_window": 2048, "tie_word_embeddings": False,
}  # fmt: skip
_VISION = {
    "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 50, "num_attention_heads": 16,
    "patch_size": 14, "patch_temporal": 2, "merge_size": 2, "pos_emb_height": 32, "pos_emb_width": 32,
}  # fmt: skip
_PREFIXES = (
    ("model.language_model.", "model."),
    ("language_model.", "model."),
    ("model.vision_tower.", "vision_encoder."),
    ("vision_tower.", "vision_encoder."),
    ("model.vision_encoder.", "vision_encoder."),
    ("model.vision_adapter.", "vision_adapter."),
    ("model.vision_projection.", "vision_projection."),
)
_PERIOD = 4  # Counted from the last layer, every so many see everything and have no positions.
# Defaults of transformers' processors; a pair of frames is one step.
_IMAGE_TOKENS, _FRAME_TOKENS, _FRAMES = 4096, 144, 96


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Muse Glimmer.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    stack = _add_decoder(builder, checkpoint.text)
    if "vision_config" in config.data:
        vision = (config.section("vision_config") or Config({}, "vision_config")).over(_VISION)
        _add_vision(builder, config, vision, stack.hidden)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _add_decoder(builder: Builder, text: Config) -> Stack:
    """
    The decoder; both ends are on every pipeline stage, and never tied.
    """
    stack = attrs.evolve(read_stack(text.over(_TEXT)), tied=False)
    text, layers, layer = stack.text, stack.layers, "model.layers.*"
    add_ends(builder, stack, "", everywhere=True, lora=False)
    default = ["full_attention" if (len(layers) - 1 - at) % _PERIOD == 0 else "sliding_attention" for at in layers]
    add_self_attention(
        builder, f"{layer}.self_attn", stack, windows=read_windows(text, layers, kinds=default)
    )  # fmt: skip
    attention = stack.attention
    gates = attention.num_heads * attention.head_size
    builder.linear(f"{layer}.self_attn.output_gate_proj", stack.hidden, gates, layers=layers)
    thetas = text.items("layer_rope_theta")
    rotated = tuple(at for at in layers if (thetas[at] if thetas else default[at] != "full_attention"))
    if rotated:
        add_rope(builder, f"{layer}.self_attn", stack, layers=rotated)
    builder.gated_mlp(f"{layer}.mlp", stack.hidden, text.required("intermediate_size"), layers=layers)
    add_norms(builder, layer, stack.hidden, *FOUR_NORMS, layers=layers)
    return stack


def _add_vision(builder: Builder, config: Config, vision: Config, hidden: int) -> None:
    """
    The encoder, the adapter and the projection; none is quantized, and only attention is divided.
    """
    vit = read_vit(vision)
    width, merge = vit.hidden, vision.required("merge_size", maximum=2**8)
    patch = 3 * vision.required("patch_temporal", maximum=2**10) * vision.required("patch_size", maximum=2**12) ** 2
    rows = vision.required("pos_emb_height", maximum=2**15) * vision.required("pos_emb_width", maximum=2**15)
    name = "vision_encoder"
    with open_tower(builder) as tower:
        tower.parameter(f"{name}.conv1_linear.weight", width, patch)
        tower.parameter(f"{name}.positional_embedding_vlm", rows, width)
        for norm in ("ln_pre", "ln_post"):
            tower.norm(f"{name}.{norm}", width, bias=True)
        _add_blocks(tower, f"{name}.transformer.*", vit)
        inner = config.integer("projector_hidden_size", default=4096)
        for part, inputs, outputs in (
            ("vision_adapter.c_fc", width * merge**2, inner),
            ("vision_adapter.c_proj", inner, inner),
            ("vision_projection", inner, hidden),
        ):
            tower.parameter(f"{part}.weight", outputs, inputs)
    for modality, tokens in (("image", _IMAGE_TOKENS), ("video", _FRAMES // 2 * _FRAME_TOKENS)):
        add_encoder(builder, modality, vit, hidden, tokens=tokens, positions=tokens * merge**2)


def _add_blocks(tower: Builder, name: str, vit: Vit) -> None:
    width, layers = vit.hidden, tuple(range(vit.num_layers))
    with open_tower(tower, tower.tower, heads=vit.num_heads) as attention:
        common: dict[str, Any] = {"layers": layers, "bias": True, "quantized": False}
        attention.linear(f"{name}.attn.qkv_proj", width, (Part(width, vit.num_heads),) * 3, **common)
        attention.linear(f"{name}.attn.o_proj", width, width, shard=ROW, **common)
    for part, inputs, outputs in (("c_fc", width, vit.intermediate), ("c_proj", vit.intermediate, width)):
        tower.parameter(f"{name}.mlp.{part}.weight", outputs, inputs, layers=layers)
        tower.parameter(f"{name}.mlp.{part}.bias", outputs, layers=layers)
    for norm in ("ln_1", "ln_2"):
        tower.norm(f"{name}.{norm}", width, layers=layers, bias=True)
