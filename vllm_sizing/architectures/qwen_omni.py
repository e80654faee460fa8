"""
Qwen2-Audio, Qwen3-ASR, and what vLLM serves of Qwen2.5-Omni and Qwen3-Omni: the thinker.

Source: vLLM 0.33 ``model_executor/models/qwen2_audio.py``, ``qwen3_asr.py``, ``qwen2_5_omni_thinker.py``,
``qwen3_omni_moe_thinker.py``; defaults from transformers 5.20 and vLLM's ``configs/qwen3_asr.py``.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.blocks import Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model, with_whole_adapters
from vllm_sizing.architectures.qwen2_vision import add_qwen25_vision
from vllm_sizing.architectures.qwen_audio import add_asr_audio, add_qwen2_audio, add_qwen3_audio
from vllm_sizing.architectures.qwen_vision import add_deepstack, add_omni_vision
from vllm_sizing.specs.model import ModelSpec

# hf_to_vllm_mapper of the classes: names in the ignore lists of quantized checkpoints.
_PREFIXES = (
    ("thinker.lm_head.", "language_model.lm_head."),
    ("thinker.model.", "language_model.model."),
    ("thinker.", ""),
)
_PREFIXES_OF = {
    "Qwen3ASRForConditionalGeneration": (
        *_PREFIXES,
        ("model.audio_tower.", "audio_tower."),
        ("model.language_model.", "language_model.model."),
    ),
    "Qwen3OmniMoeForConditionalGeneration": (
        *_PREFIXES,
        ("model.", "language_model.model."),
        ("lm_head.", "language_model.lm_head."),
    ),
    "Qwen2AudioForConditionalGeneration": (),
}
_OMNI2: dict[str, Any] = {
    "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": True,
}  # fmt: skip
_OMNI3: dict[str, Any] = {
    "hidden_size": 2048, "intermediate_size": 18_944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4,
}  # fmt: skip
_ASR: dict[str, Any] = {
    "vocab_size": 151_936, "hidden_size": 4096, "intermediate_size": 22_016, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 128_000,
}  # fmt: skip


def _add_qwen2_audio(builder: Builder, thinker: Config, stack: Stack) -> None:
    add_qwen2_audio(builder, _section(thinker, "audio_config"), stack.hidden)
    builder.traits.add("no_lora")


def _add_asr(builder: Builder, thinker: Config, stack: Stack) -> None:
    add_asr_audio(builder, _section(thinker, "audio_config"), stack.hidden)


def _add_omni2(builder: Builder, thinker: Config, stack: Stack) -> None:
    add_qwen2_audio(builder, _section(thinker, "audio_config"), stack.hidden, omni=True)
    add_qwen25_vision(builder, _section(thinker, "vision_config"), stack.hidden)


def _add_omni3(builder: Builder, thinker: Config, stack: Stack) -> None:
    add_qwen3_audio(builder, _section(thinker, "audio_config"), stack.hidden)
    taps = add_omni_vision(builder, _section(thinker, "vision_config"), stack.hidden)
    add_deepstack(builder, taps, stack.hidden)
    with_whole_adapters(builder, ".experts.")  # is_3d_moe_weight of the class


_CLASSES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "Qwen2AudioForConditionalGeneration": (_add_qwen2_audio, "Qwen2ForCausalLM", {}),
    "Qwen3ASRForConditionalGeneration": (_add_asr, "Qwen3ForCausalLM", _ASR),
    "Qwen3ASRRealtimeGeneration": (_add_asr, "Qwen3ForCausalLM", _ASR),
    "Qwen2_5OmniForConditionalGeneration": (_add_omni2, "Qwen2ForCausalLM", _OMNI2),
    "Qwen2_5OmniModel": (_add_omni2, "Qwen2ForCausalLM", _OMNI2),
    "Qwen3OmniMoeForConditionalGeneration": (_add_omni3, "Qwen3MoeForCausalLM", _OMNI3),
}


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Qwen that hears.
    """
    config, name = checkpoint.config, checkpoint.architecture
    add_towers, architecture, defaults = _CLASSES[name]
    builder = checkpoint.builder(prefixes=_PREFIXES_OF.get(name, _PREFIXES))
    thinker = config.section("thinker_config") or config
    text = (thinker.section("text_config") or Config({}, "text_config")).over(defaults)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture=architecture, text=text)
    add_towers(builder, thinker, stack)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _section(thinker: Config, key: str) -> Config:
    return thinker.section(key) or Config({}, key)
