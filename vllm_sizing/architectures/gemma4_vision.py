"""
Gemma 4 with its encoders of images, video and audio, and the block-diffusion model built on it.

Source: vLLM 0.33 ``model_executor/models/gemma4_mm.py``, ``gemma4_unified.py``, ``diffusion_gemma.py``.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.gemma4 import add_language_model
from vllm_sizing.architectures.gemma4_towers import add_gemma4_audio, add_gemma4_vision, add_projection
from vllm_sizing.architectures.inner import with_outer_tying
from vllm_sizing.architectures.towers import add_encoder
from vllm_sizing.specs.model import Encoder, ModelSpec

_PREFIXES = (
    ("model.vision_tower", "vision_tower"),
    ("model.embed_vision", "embed_vision"),
    ("model.audio_tower.", "audio_tower."),
    ("model.embed_audio.", "embed_audio."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
)
_DIFFUSION_PREFIXES = (
    ("model.decoder.self_conditioning.", "self_conditioning."),
    ("model.decoder.", "model."),
    ("model.encoder.language_model.", "model."),
    ("model.encoder.vision_tower.", "vision_tower."),
    ("model.encoder.embed_vision.", "embed_vision."),
)
_IMAGE_TOKENS = 280  # vision_config.default_output_length of the released checkpoints.
_VIDEO_FRAMES, _FRAME_TOKENS, _FRAME_WORDS = 32, 70, 8  # gemma4_mm.py; words mark a frame's time.
_AUDIO_TOKENS = 750  # transformers processing_gemma4.py: audio_seq_length.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Gemma 4 that sees and hears.
    """
    if checkpoint.architecture.startswith("DiffusionGemma"):
        return _diffusion(checkpoint)
    unified = checkpoint.architecture == "Gemma4UnifiedForConditionalGeneration"
    builder = checkpoint.builder(prefixes=_PREFIXES)
    defaults: dict[str, Any] = {}
    if unified:
        defaults = {
            "hidden_size_per_layer_input": 0, "max_position_embeddings": 262144, "sliding_window": 1024,
            "use_bidirectional_attention": "vision",
        }  # fmt: skip
    text = with_outer_tying(checkpoint, checkpoint.text, default=True)
    stack = add_language_model(builder, text, prefix="language_model.", **defaults)
    width = stack.text.integer("hidden_size_per_layer_input", default=0, minimum=0)
    if width:
        builder.parameter(
            "per_layer_embeddings", len(stack.layers), width, role="buffer", stage="all", per_batched_token=True
        )
    if unified:
        _add_unified(builder, checkpoint.config, stack)
    else:
        _add_towers(builder, checkpoint.config, stack)
    if stack.text.text("use_bidirectional_attention") == "vision":
        builder.traits |= {"prefix_lm", "whole_items"}
    return finish(checkpoint, builder, stack)


def _add_towers(builder: Builder, config: Config, stack: Stack) -> None:
    builder.traits.add("no_encoder_data")
    _add_images(builder, config.needed_section("vision_config"), stack.hidden)
    audio = config.section("audio_config")
    if audio is not None:
        vit = add_gemma4_audio(builder, audio, stack.hidden)
        add_encoder(builder, "audio", vit, stack.hidden, tokens=_AUDIO_TOKENS, positions=_AUDIO_TOKENS)


def _add_images(builder: Builder, vision: Config, hidden: int) -> None:
    add_gemma4_vision(builder, vision, hidden)
    add_vision_items(builder, vision, hidden)


def add_vision_items(builder: Builder, vision: Config, hidden: int) -> None:
    """
    The largest image and video.
    """
    tokens = vision.integer("default_output_length", default=_IMAGE_TOKENS, maximum=2**20)
    patches = vision.integer("pooling_kernel_size", default=3, maximum=2**10) ** 2
    sizes = {
        "hidden_size": hidden, "patches_per_token": patches, "width": vision.integer("hidden_size", default=768),
        "intermediate_size": vision.integer("intermediate_size", default=3072),
        "num_heads": vision.integer("num_attention_heads", default=12, maximum=2**16),
    }  # fmt: skip
    builder.encoders.append(Encoder(modality="image", max_tokens_per_item=tokens, **sizes))
    video = _VIDEO_FRAMES * (_FRAME_TOKENS + _FRAME_WORDS)
    builder.encoders.append(Encoder(modality="video", max_tokens_per_item=video, **sizes))


def _add_unified(builder: Builder, config: Config, stack: Stack) -> None:
    """
    Patches and sounds projected straight into the decoder, on every stage; no encoder.
    """
    vision = config.needed_section("vision_config")
    patch = vision.integer("patch_size", default=16, maximum=2**12) * vision.integer(
        "pooling_kernel_size", default=3, maximum=2**8
    )
    patch = vision.integer("model_patch_size", default=patch, maximum=2**12)
    pixels, width = 3 * patch**2, vision.integer("mm_embed_dim", default=3840)
    name = "vision_embedder"
    builder.norm(f"{name}.patch_ln1", pixels, bias=True, stage="all")
    builder.linear(f"{name}.patch_dense", pixels, width, bias=True, lora=False, stage="all")
    builder.norm(f"{name}.patch_ln2", width, bias=True, stage="all")
    builder.parameter(f"{name}.pos_embedding", vision.integer("mm_posemb_size", default=1120), 2, width, stage="all")
    builder.norm(f"{name}.pos_norm", width, bias=True, stage="all")
    out = vision.integer("output_proj_dims", default=3840)
    add_projection(builder, "embed_vision", out, stack.hidden, quantized=False, stage="all")
    tokens = vision.integer("num_soft_tokens", "default_output_length", default=_IMAGE_TOKENS, maximum=2**20)
    builder.encoders.append(Encoder(modality="image", max_tokens_per_item=tokens, hidden_size=stack.hidden))
    video = _VIDEO_FRAMES * (_FRAME_TOKENS + _FRAME_WORDS)
    builder.encoders.append(Encoder(modality="video", max_tokens_per_item=video, hidden_size=stack.hidden))
    audio = config.section("audio_config")
    if audio is not None:
        inputs = audio.integer("output_proj_dims", "hidden_size", "audio_embed_dim", default=640)
        add_projection(builder, "embed_audio", inputs, stack.hidden, quantized=False, stage="all")
        builder.encoders.append(Encoder(modality="audio", max_tokens_per_item=_AUDIO_TOKENS, hidden_size=stack.hidden))


def _diffusion(checkpoint: Checkpoint) -> ModelSpec:
    """
    Tokens in blocks that are refined together; the previous guess is an input.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_DIFFUSION_PREFIXES)
    text = checkpoint.text.changed(attention_k_eq_v=True)
    stack = add_language_model(builder, text, hidden_size_per_layer_input=0, num_kv_shared_layers=0)
    # Unlike Gemma 4's, its config class fills in an encoder.
    _add_images(builder, config.section("vision_config") or Config({}, "vision_config"), stack.hidden)
    inner = config.integer("self_conditioning_size", default=None)
    inner = stack.text.required("intermediate_size") if inner is None else inner
    name = "self_conditioning"
    for norm in ("pre_norm", "post_norm"):
        builder.norm(f"{name}.{norm}", stack.hidden)
    for matrix in ("gate_proj", "up_proj", "down_proj"):  # Plain torch layers.
        builder.parameter(f"{name}.{matrix}.weight", inner, stack.hidden)
    builder.traits |= {"no_lora", "no_pipeline", "no_encoder_data"}
    spec = finish(checkpoint, builder, stack)
    return attrs.evolve(spec, traits=spec.traits - {"prefix_lm"})
