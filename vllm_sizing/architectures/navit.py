"""
Encoders that take images as they are and make their own frequencies.

dots.ocr, Keye-VL, LLaVA-OneVision 2 and PaddleOCR-VL.
Source: vLLM 0.33 ``model_executor/models/dots_ocr.py``, ``keye.py``, ``keye_vl1_5.py``, ``llava_onevision2.py``,
``paddleocr_vl.py``; defaults from transformers 5.20 and vLLM's ``configs/dotsocr.py``.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.qwen_vision import add_frames, add_merger
from vllm_sizing.architectures.siglip import add_siglip
from vllm_sizing.architectures.towers import Vit, add_encoder, add_vit_layers, open_tower, read_vit, square
from vllm_sizing.specs.model import REPLICATED, ROW, ModelSpec

_PREFIXES = (("lm_head.", "language_model.lm_head."), ("model.", "language_model.model."))
_ONEVISION_PREFIXES = (
    ("model.language_model.", "language_model.model."),
    ("model.visual.", "visual."),
    *_PREFIXES,
)
_DOTS: dict[str, Any] = {
    "embed_dim": 1536, "hidden_size": 1536, "intermediate_size": 4224, "num_hidden_layers": 42,
    "num_attention_heads": 12, "num_channels": 3, "patch_size": 14, "spatial_merge_size": 2,
    "temporal_patch_size": 1,
}  # fmt: skip
_SIGLIP: dict[str, Any] = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
    "image_size": 384, "patch_size": 14, "spatial_merge_size": 2,
}  # fmt: skip
_PADDLE_TEXT: dict[str, Any] = {
    "vocab_size": 103_424, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 18,
    "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 128,
}  # fmt: skip
_PACKED_POSITIONS = 32_768  # keye.py:KeyeVisionEmbeddings.packing_position_embedding
# Largest image that the processors of the released checkpoints let through: preprocessor_config.json, max_pixels.
_DOTS_PIXELS, _KEYE_PIXELS, _PADDLE_PIXELS = 11_289_600, 1_003_520, 2_822_400
_ONEVISION_SIDE, _ONEVISION_FRAMES = 1800, 14  # What profiling shows, whatever the processor allows.
_MERGE = 2  # The projectors always join two by two.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of one of these models.
    """
    if checkpoint.architecture == "DotsOCRForCausalLM":
        return _build_dots(checkpoint)
    if checkpoint.architecture == "PaddleOCRVLForConditionalGeneration":
        return _build_paddle(checkpoint)
    if checkpoint.architecture == "LlavaOnevision2ForConditionalGeneration":
        return _build_onevision(checkpoint)
    return _build_keye(checkpoint)


def _build_dots(checkpoint: Checkpoint) -> ModelSpec:
    builder = checkpoint.builder(prefixes=_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture="Qwen2ForCausalLM")
    vision = (checkpoint.config.section("vision_config") or Config({}, "vision_config")).over(_DOTS)
    vit = read_vit(vision, hidden="embed_dim")
    merge, bias = vision.required("spatial_merge_size", maximum=2**8), vision.flag("use_bias", default=False)
    name, patch = "vision_tower", square(vision, "patch_size")
    with open_tower(builder, "image") as tower:
        channels = vision.required("num_channels", maximum=2**10)
        tower.parameter(f"{name}.patch_embed.patchifier.proj.weight", vit.hidden, channels, patch, patch)
        tower.parameter(f"{name}.patch_embed.patchifier.proj.bias", vit.hidden)
        tower.norm(f"{name}.patch_embed.patchifier.norm", vit.hidden)
        _add_frequencies(tower, f"{name}.rotary_pos_emb", vit)
        add_vit_layers(
            tower, f"{name}.blocks.*", vit,
            bias=bias, attention="attn", qkv="qkv", fused=(), output="proj", up="fc13", down="fc2", gated=True,
            gate_parts=("fc1", "fc3"), norms=("norm1", "norm2"), norm_bias=False,
        )  # fmt: skip
        if vision.flag("post_norm", default=True):
            tower.norm(f"{name}.post_trunk_norm", vit.hidden)
        add_merger(
            tower, f"{name}.merger", vit.hidden, merge, vision.required("hidden_size"),
            norm="ln_q", up="mlp.0", down="mlp.2", quantized=False,
        )  # fmt: skip
    add_frames(builder, vision, vit, stack.hidden, pixels=_DOTS_PIXELS, video=False)
    return finish(checkpoint, builder, stack)


def _build_paddle(checkpoint: Checkpoint) -> ModelSpec:
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES[::-1])
    text = checkpoint.text.over(_PADDLE_TEXT)
    section = config.section("text_config") or Config({}, "text_config")
    # Its class ties the ends where the whole or the text section says so, and both say so if they are silent.
    tied = any(part.flag("tie_word_embeddings", default=True) for part in (config, section))
    checkpoint = attrs.evolve(checkpoint, config=config.changed(tie_word_embeddings=tied))
    stack = add_inner_model(
        builder, checkpoint, prefix="language_model.", architecture="Ernie4_5ForCausalLM", text=text
    )
    vision = (config.section("vision_config") or Config({}, "vision_config")).over(_SIGLIP)
    with open_tower(builder, "image", data_parallel=False) as tower:
        vit = add_siglip(tower, vision, "visual.vision_model")
        _add_frequencies(tower, "visual.vision_model.encoder.rotary_pos_emb", vit)
        whole = vit.hidden * _MERGE**2
        tower.norm("mlp_AR.pre_norm", vit.hidden, bias=True)
        for at, outputs in ((1, whole), (2, stack.hidden)):
            tower.linear(f"mlp_AR.linear_{at}", whole, outputs, shard=REPLICATED, bias=True, quantized=False)
    _add_image(builder, vision, vit, stack.hidden, _PADDLE_PIXELS, "image")
    builder.traits |= {"no_lora", "no_encoder_data"}
    return finish(checkpoint, builder, stack)


def _build_keye(checkpoint: Checkpoint) -> ModelSpec:
    """
    Keye-VL; version 1.5 normalizes patches after they are joined.
    """
    builder = checkpoint.builder(prefixes=_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture="Qwen3ForCausalLM")
    vision = (checkpoint.config.section("vision_config") or Config({}, "vision_config")).over(_SIGLIP)
    joined = checkpoint.architecture == "KeyeVL1_5ForConditionalGeneration"
    with open_tower(builder, data_parallel=False) as tower:
        vit = add_siglip(tower, vision, "visual.vision_model")
        tower.parameter(
            "visual.vision_model.embeddings.packing_position_embedding.weight", _PACKED_POSITIONS, vit.hidden
        )
        _add_frequencies(tower, "visual.vision_model.encoder.rotary_pos_emb", vit)
        whole = vit.hidden * _MERGE**2
        tower.norm("mlp_AR.pre_norm", whole if joined else vit.hidden, bias=True)
        tower.linear("mlp_AR.linear_1", whole, whole, bias=True)
        tower.linear("mlp_AR.linear_2", whole, stack.hidden, shard=ROW, bias=True)
    for modality in ("image", "video"):  # No frame of a video is left beside the images that may come before it.
        _add_image(builder, vision, vit, stack.hidden, _KEYE_PIXELS, modality)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _build_onevision(checkpoint: Checkpoint) -> ModelSpec:
    """
    LLaVA-OneVision 2, whose encoder has positions in time too and is never quantized.
    """
    builder = checkpoint.builder(prefixes=_ONEVISION_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture="Qwen3ForCausalLM", tied=False)
    vision = checkpoint.config.section("vision_config") or Config({}, "vision_config")
    vit, patch = read_vit(vision), square(vision, "patch_size")
    merge = vision.required("spatial_merge_size", maximum=2**8)
    with open_tower(builder, data_parallel=False) as tower:
        channels = vision.integer("num_channels", default=3, maximum=2**10)
        tower.parameter("visual.embeddings.patch_embedding.weight", vit.hidden, channels, patch, patch)
        tower.norm("visual.layernorm_pre", vit.hidden, bias=True)
        # Time, rows and columns together have half a head.
        tower.parameter("visual.rotary_pos_emb.inv_freq", max(1, vit.head_size // 2), dtype="float32", role="buffer")
        add_vit_layers(tower, "visual.encoder.layers.*", vit, qkv="qkv", fused=(), output="proj", quantized=False)
        add_merger(
            tower, "visual.merger", vit.hidden, merge, stack.hidden,
            norm="ln_q", up="mlp.0", down="mlp.2", quantized=False,
        )  # fmt: skip
    image = max(1, round(_ONEVISION_SIDE / (patch * merge))) ** 2
    for modality, tokens, step in (("image", image, 0), ("video", image * _ONEVISION_FRAMES, image)):
        add_encoder(builder, modality, vit, stack.hidden, tokens=tokens, positions=tokens * merge**2, step=step)
    builder.traits |= {"no_lora", "no_encoder_data"}
    return finish(checkpoint, builder, stack)


def _add_frequencies(tower: Builder, name: str, vit: Vit) -> None:
    """
    Frequencies of rows and columns, in float32 whatever the model is in.
    """
    half = vit.head_size // 2
    tower.parameter(f"{name}.inv_freq", max(1, (half + 1) // 2), dtype="float32", role="buffer")


def _add_image(builder: Builder, vision: Config, vit: Vit, hidden: int, pixels: int, modality: str) -> None:
    """
    The largest square image of whole embeddings.
    """
    merge = vision.required("spatial_merge_size", maximum=2**8)
    unit = square(vision, "patch_size") * merge
    tokens = max(1, int(pixels**0.5) // unit) ** 2
    add_encoder(builder, modality, vit, hidden, tokens=tokens, positions=tokens * merge**2)
