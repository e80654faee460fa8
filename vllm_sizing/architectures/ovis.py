"""
Ovis 1.6 to 2.6: an encoder, a head that turns patches into words of a visual vocabulary, and their embeddings.

Source: vLLM 0.33 ``model_executor/models/ovis.py``, ``ovis2_5.py``, ``aimv2.py``, ``siglip2navit.py``; defaults from
``transformers_utils/configs/ovis.py``, transformers 5.20 and the checkpoints' own configuration.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.siglip import add_siglip
from vllm_sizing.architectures.towers import (
    Vit,
    add_encoder,
    add_patches,
    add_vit_layers,
    open_tower,
    read_vit,
    square,
)
from vllm_sizing.specs.model import REPLICATED, ModelSpec

_AIM = {
    "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "num_attention_heads": 8,
    "image_size": 224, "patch_size": 14, "qkv_bias": False, "mlp_bias": False,
}  # fmt: skip
_NAVIT = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
    "num_channels": 3, "num_patches": -1, "image_size": 512, "patch_size": 16, "hidden_stride": 2,
    "preserve_original_pe": True,
}  # fmt: skip
_INDICATORS, _INDICATORS25 = 5, 4  # Words of the visual vocabulary that no patch becomes.
_TILES = 9 + 1  # The largest image is nine tiles along a side of which nine are kept, and the whole.
_SIDE25 = 1792  # ovis2_5.py:get_image_size_with_most_features.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an Ovis.
    """
    builder = checkpoint.builder()
    stack = add_inner_model(builder, checkpoint, prefix="llm.", default_type="qwen2")
    add = _add_ovis if checkpoint.architecture == "Ovis" else _add_ovis25
    add(builder, checkpoint.config, stack.hidden)
    builder.traits |= {"no_lora", "no_encoder_data"}
    return finish(checkpoint, builder, stack)


def _add_ovis(builder: Builder, config: Config, hidden: int) -> None:
    section = config.needed_section("visual_tokenizer_config")
    stride = section.integer("hidden_stride", default=1, maximum=2**8)
    words = section.integer("vocab_size", default=16384, minimum=_INDICATORS + 1)
    backbone = section.needed_section("backbone_config")
    kind, name = backbone.text("model_type"), "visual_tokenizer.backbone"
    if kind not in ("aimv2", "siglip_vision_model"):
        raise backbone.refuse("model_type", "aimv2 or siglip_vision_model")
    with open_tower(builder, "image", data_parallel=False) as tower:
        vit = _add_aim(tower, backbone.over(_AIM), name) if kind == "aimv2" else add_siglip(tower, backbone, name)
        _add_words(tower, vit.hidden * stride**2, words, words - _INDICATORS, hidden)
    tokens = _TILES * max(1, vit.positions // stride**2)
    add_encoder(builder, "image", vit, hidden, tokens=tokens, positions=_TILES * vit.positions)


def _add_words(tower: Builder, inputs: int, words: int, patch_words: int, hidden: int) -> None:
    """
    The head over the visual vocabulary and its embeddings, whole on every rank.
    """
    tower.linear("visual_tokenizer.head.0", inputs, patch_words, shard=REPLICATED, quantized=False)
    tower.norm("visual_tokenizer.head.1", patch_words, bias=True)
    tower.parameter("vte.weight", words, hidden)


def _add_aim(tower: Builder, vision: Config, name: str) -> Vit:
    vit = read_vit(vision)
    bias = vision.flag("mlp_bias", default=False)
    patches = f"{name}.preprocessor"
    side, _ = add_patches(tower, f"{patches}.patchifier.proj", vision, vit.hidden)
    tower.norm(f"{patches}.patchifier.norm", vit.hidden)
    tower.parameter(f"{patches}.pos_embed", side**2, vit.hidden)
    add_vit_layers(
        tower, f"{name}.trunk.blocks.*", vit,
        attention="attn", qkv="qkv", output="proj", up="fc13", gated=True, gate_parts=("fc1", "fc3"), bias=bias,
        qkv_bias=vision.flag("qkv_bias", default=False), norms=("norm_1", "norm_2"), norm_bias=False,
    )  # fmt: skip
    return attrs.evolve(vit, positions=side**2)


def _add_ovis25(builder: Builder, config: Config, hidden: int) -> None:
    vision = (config.section("vit_config") or Config({}, "vit_config")).over(_NAVIT)
    stride = vision.required("hidden_stride", maximum=2**8)
    words = config.integer("visual_vocab_size", default=65536, minimum=_INDICATORS25 + 1)
    with open_tower(builder, data_parallel=False) as tower:
        vit = _add_navit(tower, vision, "visual_tokenizer.vit.vision_model")
        _add_words(tower, vit.hidden * stride**2, words, words - _INDICATORS25, hidden)
    positions = max(1, _SIDE25 // square(vision, "patch_size")) ** 2
    tokens = max(1, positions // stride**2)
    for modality in ("image", "video"):
        add_encoder(builder, modality, vit, hidden, tokens=tokens, positions=positions)


def _add_navit(tower: Builder, vision: Config, name: str) -> Vit:
    """
    SigLIP 2 with rotary positions.
    """
    vit = read_vit(vision)
    given = vision.integer("num_patches", default=-1, minimum=-1, maximum=2**30)
    embeddings = f"{name}.embeddings"
    side, _ = add_patches(tower, f"{embeddings}.patch_embedding", vision, vit.hidden)
    known = given if given > 0 else side**2
    if vision.flag("preserve_original_pe", default=True):
        tower.parameter(f"{embeddings}.position_embedding.weight", known, vit.hidden)
    add_vit_layers(tower, f"{name}.encoder.layers.*", vit)
    tower.parameter(
        f"{name}.encoder.rotary_pos_emb.inv_freq", (vit.head_size // 2 + 1) // 2, dtype="float32", role="buffer"
    )  # fmt: skip
    tower.norm(f"{name}.post_layernorm", vit.hidden, bias=True)
    return attrs.evolve(vit, positions=known)
