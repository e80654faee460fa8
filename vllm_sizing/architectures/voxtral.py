"""
Voxtral: Whisper's encoder, frames joined by fours, Mistral.

Source: vLLM 0.33 ``model_executor/models/voxtral.py``, ``transformers_utils/configs/mistral.py``.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint, derived_max_model_len
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.towers import add_encoder, open_tower
from vllm_sizing.architectures.whisper_encoder import add_whisper_encoder, whisper_sizes
from vllm_sizing.specs.model import REPLICATED, ModelSpec

_JOINED, _WINDOW = 4, 400  # Where the config has neither, which is so in transformers' spelling.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Voxtral.
    """
    builder = checkpoint.builder()
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", default_type="llama")
    audio = _one_spelling(checkpoint.config.needed_section("audio_config"))
    joined = audio.integer("downsample_factor", default=_JOINED, maximum=2**10)
    window, mel_bins = audio.integer("window_size", default=_WINDOW, maximum=2**24), audio.required("num_mel_bins")
    with open_tower(builder, "audio", spread=True) as tower:
        name = "whisper_encoder"
        vit = add_whisper_encoder(tower, audio, f"{name}.whisper_encoder", positions_dtype="float32")
        tower.parameter(f"{name}.mel_filters", 1 + window // 2, mel_bins, dtype="float32", role="buffer")
        for part, width in (("w_in", vit.hidden * joined), ("w_out", stack.hidden)):
            tower.linear(
                f"audio_language_adapter.{part}", width, stack.hidden, shard=REPLICATED, quantized=False, lora=False
            )  # fmt: skip
    # voxtral.py:get_max_audio_tokens: an audio may fill the context.
    tokens = derived_max_model_len(stack.text)
    add_encoder(builder, "audio", vit, stack.hidden, tokens=tokens, positions=tokens * joined)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _one_spelling(audio: Config) -> Config:
    """
    A ``WhisperConfig``, which transformers' own ``VoxtralEncoderConfig`` only resembles.
    """
    if audio.has("intermediate_size") and not audio.has("encoder_ffn_dim"):
        audio = audio.changed(encoder_ffn_dim=audio.data.get("intermediate_size"))
    return whisper_sizes(audio)
