"""
Whisper's encoder of audio, which many models that hear share.

Source: vLLM 0.33 ``model_executor/models/whisper.py:WhisperEncoder``; defaults from transformers 5.20
``WhisperConfig``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.towers import Vit, add_vit_layers, read_vit

_DEFAULTS = {
    "hidden_size": 384, "num_hidden_layers": 4, "num_attention_heads": 6, "num_mel_bins": 80,
    "max_source_positions": 1500,
}  # fmt: skip
_SPELLINGS = (
    ("hidden_size", "d_model"),
    ("num_hidden_layers", "encoder_layers"),
    ("num_attention_heads", "encoder_attention_heads"),
)


def whisper_sizes(audio: Config) -> Config:
    """
    A ``WhisperConfig`` in the usual spelling; it has no ``intermediate_size`` of its own.
    """
    given = {usual: audio.data.get(own) for usual, own in _SPELLINGS if audio.has(own)}
    inner = audio.integer("encoder_ffn_dim", default=1536)
    return audio.changed(**given, intermediate_size=inner).over(_DEFAULTS)


def add_whisper_encoder(
    tower: Builder,
    audio: Config,
    name: str,
    *,
    positions_dtype: str | None = None,
    quantized: bool = True,
) -> Vit:
    """
    Two convolutions, positions, layers and the last norm.

    Args:
        audio: As `whisper_sizes` gives it.

        positions_dtype: Of the table of positions; None: the model's.
    """
    vit = read_vit(audio)
    hidden, positions = vit.hidden, audio.required("max_source_positions", maximum=2**24)
    add_mel_convolutions(tower, name, audio.required("num_mel_bins", maximum=2**16), hidden)
    tower.parameter(f"{name}.embed_positions.weight", positions, hidden, dtype=positions_dtype)
    add_vit_layers(
        tower, f"{name}.layers.*", vit,
        norms=("self_attn_layer_norm", "final_layer_norm"), quantized=quantized,
    )  # fmt: skip
    tower.norm(f"{name}.layer_norm", hidden, bias=True)
    return attrs.evolve(vit, positions=positions)


def add_plain_whisper(tower: Builder, audio: Config, name: str) -> Vit:
    """
    Transformers' own encoder of plain torch layers, whole on every rank; keys have no bias.
    """
    vit = read_vit(audio)
    hidden, inner, layers = vit.hidden, vit.intermediate, tuple(range(vit.num_layers))
    positions = audio.required("max_source_positions", maximum=2**24)
    add_mel_convolutions(tower, name, audio.required("num_mel_bins", maximum=2**16), hidden)
    tower.parameter(f"{name}.embed_positions.weight", positions, hidden)
    layer = f"{name}.layers.*"
    for part, inputs, outputs in (
        ("self_attn.q_proj", hidden, hidden),
        ("self_attn.k_proj", hidden, hidden),
        ("self_attn.v_proj", hidden, hidden),
        ("self_attn.out_proj", hidden, hidden),
        ("fc1", hidden, inner),
        ("fc2", inner, hidden),
    ):
        tower.parameter(f"{layer}.{part}.weight", outputs, inputs, layers=layers)
        if part != "self_attn.k_proj":
            tower.parameter(f"{layer}.{part}.bias", outputs, layers=layers)
    for norm in ("self_attn_layer_norm", "final_layer_norm"):
        tower.norm(f"{layer}.{norm}", hidden, layers=layers, bias=True)
    tower.norm(f"{name}.layer_norm", hidden, bias=True)
    return attrs.evolve(vit, positions=positions)


def add_mel_convolutions(tower: Builder, name: str, mel_bins: int, hidden: int) -> None:
    """
    Two convolutions of three frames; the second halves their number.
    """
    for conv, channels in (("conv1", mel_bins), ("conv2", hidden)):
        tower.parameter(f"{name}.{conv}.weight", hidden, channels, 3)
        tower.parameter(f"{name}.{conv}.bias", hidden)
