"""
Qwen2-VL, Qwen2.5-VL, and what is built with their encoders: EXAONE 4.5, OpenCUA.

Source: vLLM 0.33 ``model_executor/models/qwen2_vl.py``, ``qwen2_5_vl.py``, ``exaone4_5.py``, ``opencua.py``;
defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import Stack, add_speculator, finish, finish_draft
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import add_decoder_layers, windows_of
from vllm_sizing.architectures.dense import EXAONE4
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.qwen2_vision import add_qwen2_vision, add_qwen25_vision
from vllm_sizing.architectures.towers import MAX_HEADS
from vllm_sizing.specs.model import Draft, ModelSpec

# hf_to_vllm_mapper of the classes: names in the ignore lists of quantized checkpoints.
PREFIXES = (
    ("model.language_model.", "language_model.model."),
    ("model.visual.", "visual."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
)
_CUA_PREFIXES = (*PREFIXES[:2], ("vision_tower.", "visual."), *PREFIXES[2:])
_TEXT: dict[str, Any] = {
    "vocab_size": 152_064, "hidden_size": 8192, "intermediate_size": 29_568, "num_hidden_layers": 80,
    "num_attention_heads": 64, "num_key_value_heads": 8, "max_window_layers": 80,
}  # fmt: skip


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Qwen2-VL or a relative.
    """
    config, name = checkpoint.config, checkpoint.architecture
    vision = config.section("vision_config") or Config({}, "vision_config")
    if name == "Exaone4_5_ForConditionalGeneration":
        builder = checkpoint.builder(prefixes=PREFIXES)
        stack = add_inner_model(
            builder, checkpoint, prefix="language_model.", architecture="Exaone4ForCausalLM", tied=False
        )
        add_qwen25_vision(
            builder, vision, stack.hidden,
            kv_heads=vision.integer("num_key_value_heads", default=8, maximum=MAX_HEADS),
        )  # fmt: skip
        builder.draft = _exaone_draft(builder, config, stack)
        return finish(checkpoint, builder, stack)
    if name == "OpenCUAForConditionalGeneration":
        builder = checkpoint.builder(prefixes=_CUA_PREFIXES)
        stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture="Qwen2ForCausalLM")
        add_qwen25_vision(builder, vision, stack.hidden, modality="image")
        return finish(checkpoint, builder, stack)
    builder = checkpoint.builder(prefixes=PREFIXES)
    checkpoint = attrs.evolve(checkpoint, config=either_tied(config, checkpoint.text))
    stack = add_inner_model(
        builder, checkpoint, prefix="language_model.", architecture="Qwen2ForCausalLM", text=checkpoint.text.over(_TEXT)
    )
    add = add_qwen2_vision if name == "Qwen2VLForConditionalGeneration" else add_qwen25_vision
    add(builder, vision, stack.hidden)
    return finish(checkpoint, builder, stack)


def either_tied(config: Config, text: Config) -> Config:
    """
    A config whose class ties the ends where the whole or its text section says so.
    """
    tied = config.flag("tie_word_embeddings", default=False) or text.flag("tie_word_embeddings", default=False)
    return config.changed(tie_word_embeddings=tied)


def _exaone_draft(builder: Builder, config: Config, stack: Stack) -> Draft | None:
    """
    Layers behind one projection, numbered from 0 and of the types of the first layers.

    Source: vLLM 0.33 ``exaone4_5_mtp.py``.
    """
    number = config.integer("num_nextn_predict_layers", default=1, minimum=0, maximum=64)
    if not number:
        return None
    extra = builder.beside()
    extra.linear("mtp.fc", 2 * stack.hidden, stack.hidden)
    for norm in ("norm", "pre_fc_norm_hidden", "pre_fc_norm_embedding"):
        extra.norm(f"mtp.{norm}", stack.hidden)
    layers = tuple(range(number))
    windows = {at: window for at, window in windows_of(EXAONE4, stack).items() if at in layers}
    add_decoder_layers(extra, stack, EXAONE4, "mtp.layers.*", layers=layers, windows=windows)
    add_speculator(extra, stack.hidden, embeds=True)
    return finish_draft(extra, num_layers=number)
