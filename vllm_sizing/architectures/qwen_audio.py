"""
The audio encoders of Qwen2-Audio, Qwen2.5-Omni, Qwen3-Omni and Qwen3-ASR.

Source: vLLM 0.33 ``model_executor/models/qwen2_audio.py``, ``qwen3_omni_moe_thinker.py``; transformers 5.20
``Qwen2AudioEncoder``, ``Qwen2_5OmniAudioEncoder``.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.towers import Vit, add_encoder, add_vit_layers, open_tower, read_vit
from vllm_sizing.specs.model import REPLICATED

_DEFAULTS = {
    "num_mel_bins": 128, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120,
    "d_model": 1280, "max_source_positions": 1500, "output_dim": 3584, "downsample_hidden_size": 480,
}  # fmt: skip
_NORMS = ("self_attn_layer_norm", "final_layer_norm")
_NAME = "audio_tower"
# Profiling shows at most 30 seconds, of 100 frames each.
_FRAMES = 3000
_POSITIONS, _TOKENS = _FRAMES // 2, _FRAMES // 4  # qwen2_audio.py:_get_feat_extract_output_lengths
_ASR_TOKENS = _FRAMES // 100 * 13  # qwen3_omni_moe_thinker.py:_get_feat_extract_output_lengths


def add_qwen2_audio(builder: Builder, audio: Config, hidden: int, *, omni: bool = False) -> None:
    """
    A whisper-like encoder of plain torch layers; every rank holds all of it.

    Args:
        omni: Qwen2.5-Omni's, which projects to the decoder's width itself.
    """
    audio, vit = _read(audio)
    with open_tower(builder, "audio", data_parallel=False) as tower:
        channels = audio.required("num_mel_bins", maximum=2**16)
        for at, inputs in ((1, channels), (2, vit.hidden)):
            _add_convolution(tower, f"conv{at}", inputs, vit.hidden, 3)
        _add_layers(tower, vit)
        if omni:
            out = audio.required("output_dim")
            _add_sinusoids(tower, audio, vit)
            tower.parameter(f"{_NAME}.audio_bos_eos_token.weight", 2, out)
            tower.norm(f"{_NAME}.ln_post", vit.hidden, bias=True)
            _add_plain(tower, f"{_NAME}.proj", vit.hidden, out)
        else:
            tower.parameter(f"{_NAME}.embed_positions.weight", audio.required("max_source_positions"), vit.hidden)
            tower.norm(f"{_NAME}.layer_norm", vit.hidden, bias=True)
            _add_plain(tower, "multi_modal_projector.linear", vit.hidden, hidden)
    add_encoder(builder, "audio", vit, hidden, tokens=_TOKENS, positions=_POSITIONS)


def add_qwen3_audio(builder: Builder, audio: Config, hidden: int, *, tokens: int = _TOKENS) -> None:
    """
    Three convolutions over the spectrogram, then layers that are divided where their heads can be.
    """
    audio, vit = _read(audio)
    inner = audio.required("downsample_hidden_size", maximum=2**20)
    bands = audio.required("num_mel_bins", maximum=2**16)
    for _ in range(3):
        bands = (bands + 1) // 2
    with open_tower(builder, "audio", data_parallel=False, heads=vit.num_heads) as tower:
        for at, inputs in ((1, 1), (2, inner), (3, inner)):
            _add_convolution(tower, f"conv2d{at}", inputs, inner, 3, 3)
        _add_plain(tower, f"{_NAME}.conv_out", inner * bands, vit.hidden, bias=False)
        _add_sinusoids(tower, audio, vit)
        add_vit_layers(tower, f"{_NAME}.layers.*", vit, mlp="", norms=_NORMS, quantized=False)
        tower.norm(f"{_NAME}.ln_post", vit.hidden, bias=True)
        _add_plain(tower, f"{_NAME}.proj1", vit.hidden, vit.hidden)
        _add_plain(tower, f"{_NAME}.proj2", vit.hidden, audio.required("output_dim"))
    add_encoder(builder, "audio", vit, hidden, tokens=tokens, positions=tokens)


def add_asr_audio(builder: Builder, audio: Config, hidden: int) -> None:
    """
    The same in Qwen3-ASR, which profiles what its processor makes of 30 seconds.
    """
    add_qwen3_audio(builder, audio, hidden, tokens=_ASR_TOKENS)


def _read(audio: Config) -> tuple[Config, Vit]:
    audio = audio.over(_DEFAULTS)
    vit = read_vit(
        audio,
        hidden="d_model",
        intermediate="encoder_ffn_dim",
        heads="encoder_attention_heads",
        layers="encoder_layers",
    )
    return audio, vit


def _add_layers(tower: Builder, vit: Vit) -> None:
    """
    Layers whose keys have no bias.
    """
    layers = tuple(range(vit.num_layers))
    name, hidden, inner = f"{_NAME}.layers.*", vit.hidden, vit.intermediate
    common: dict[str, Any] = {"layers": layers}
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        _add_plain(tower, f"{name}.self_attn.{part}", hidden, hidden, bias=part != "k_proj", **common)
    _add_plain(tower, f"{name}.fc1", hidden, inner, **common)
    _add_plain(tower, f"{name}.fc2", inner, hidden, **common)
    for norm in _NORMS:
        tower.norm(f"{name}.{norm}", hidden, bias=True, **common)


def _add_plain(tower: Builder, name: str, inputs: int, outputs: int, *, bias: bool = True, **facts: Any) -> None:
    tower.linear(name, inputs, outputs, shard=REPLICATED, bias=bias, quantized=False, **facts)


def _add_convolution(tower: Builder, name: str, inputs: int, outputs: int, *kernel: int) -> None:
    tower.parameter(f"{_NAME}.{name}.weight", outputs, inputs, *kernel)
    tower.parameter(f"{_NAME}.{name}.bias", outputs)


def _add_sinusoids(tower: Builder, audio: Config, vit: Vit) -> None:
    """
    The table of positions, in float32 whatever the model is in.
    """
    positions = audio.required("max_source_positions", maximum=2**20)
    tower.parameter(f"{_NAME}.positional_embedding", positions, vit.hidden, dtype="float32", role="buffer")
