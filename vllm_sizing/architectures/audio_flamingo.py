"""
Audio Flamingo 3: Transformers' encoder of Qwen2-Audio, a projector, Qwen2.

Source: vLLM 0.33 ``model_executor/models/audioflamingo3.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.towers import add_encoder, open_tower
from vllm_sizing.architectures.whisper_encoder import add_plain_whisper
from vllm_sizing.specs.model import ModelSpec

_AUDIO = {
    "num_mel_bins": 128, "num_hidden_layers": 32, "num_attention_heads": 20, "intermediate_size": 5120,
    "hidden_size": 1280, "max_source_positions": 1500,
}  # fmt: skip
_WINDOWS, _POOLED = 20, 2  # processing_audioflamingo3.py: ten minutes in windows of 30 s; pairs of frames are averaged.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an Audio Flamingo 3.
    """
    config, builder = checkpoint.config, checkpoint.builder()
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture="Qwen2ForCausalLM")
    audio = (config.section("audio_config") or Config({}, "audio_config")).over(_AUDIO)
    with open_tower(builder, "audio") as tower:
        vit = add_plain_whisper(tower, audio, "audio_tower")
        for at, inputs in ((1, vit.hidden), (2, stack.hidden)):
            name = f"multi_modal_projector.linear_{at}"
            tower.parameter(f"{name}.weight", stack.hidden, inputs)
            if config.flag("projector_bias", default=True):
                tower.parameter(f"{name}.bias", stack.hidden)
    tokens = _WINDOWS * max(1, vit.positions // _POOLED)
    add_encoder(builder, "audio", vit, stack.hidden, tokens=tokens, positions=_WINDOWS * vit.positions)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)
