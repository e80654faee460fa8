"""
Inkling's encoders: patches that are merged step by step, and words for spectrogram values.

Source: vLLM 0.33 ``models/inkling/common/towers.py``, ``mm_preprocess.py``.  They are whole on every rank and on
every pipeline stage.
"""

from __future__ import annotations

import math
from itertools import pairwise

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import Encoder

_CHANNEL_STEP = 64
_MAX_AUDIO_TOKENS = 12_000
_IMAGE_TOKENS = 4096  # The processor's own limit is not in the config; a picture of 64 x 64 patches.

Scale = tuple[int, int, int, int]


def add_vision(builder: Builder, config: Config, hidden: int) -> None:
    """
    Linear layers between scales, each but the last with a norm.
    """
    vision = config.section("vision_config")
    if vision is None or not vision.has("decoder_dmodel"):
        return
    width, number = vision.required("decoder_dmodel"), vision.num_layers("n_layers")
    scales = _plan_scales(vision, number)
    name = "visual.vision_encoder"
    for at, (before, after) in enumerate(pairwise(scales)):
        last = at == number - 1
        merged = before[3] * (after[0] // before[0]) * (after[1] // before[1]) * (after[2] // before[2])
        out = width if last else after[3]
        builder.parameter(f"{name}.layers.linear_{at}.weight", out, merged, stage="all")
        if not last:
            builder.norm(f"{name}.layers.norm_{at}", out, stage="all")
    if vision.flag("use_vision_norm", default=False):
        builder.norm(f"{name}.final_norm", width, stage="all")
    builder.encoders.append(Encoder(modality="image", max_tokens_per_item=_IMAGE_TOKENS, hidden_size=hidden))


def add_audio(builder: Builder, config: Config, hidden: int) -> None:
    """
    A table of words for each band of the spectrogram.
    """
    audio = config.section("audio_config")
    if audio is None or not audio.has("decoder_dmodel"):
        return
    width = audio.required("decoder_dmodel")
    rows = audio.required("n_mel_bins", maximum=2**16) * audio.required("mel_vocab_size", maximum=2**24)
    builder.parameter("audio.encoder.weight", rows, width, stage="all")
    if audio.flag("use_audio_norm", default=False):
        builder.norm("audio.final_norm", width, stage="all")
    builder.encoders.append(Encoder(modality="audio", max_tokens_per_item=_MAX_AUDIO_TOKENS, hidden_size=hidden))


def _plan_scales(vision: Config, number: int) -> list[Scale]:
    """
    Frames, height, width and channels after each layer: the sizes closest to equal steps.
    """
    patch, frames = vision.required("patch_size", maximum=2**12), vision.required("temporal_patch_size", maximum=2**10)
    channels = vision.required("n_channels", maximum=2**10)
    if patch < 2:
        raise vision.refuse("patch_size", "above 1")
    scales: list[Scale] = [(1, 1, 1, channels)]
    side = depth = 1
    for factor in reversed(_prime_factors(patch)):
        side *= factor
        scales.append((1, side, side, _channels(side**2 * channels)))
    for factor in reversed(_prime_factors(frames)):
        depth *= factor
        scales.append((depth, side, side, _channels(side**2 * channels * depth)))
    sizes = [math.log(math.prod(scale[:3])) for scale in scales]
    whole = math.log(patch**2 * frames * channels)
    ideals = [whole * at / number for at in range(number + 1)]
    costs = [[abs(ideal - size) for size in sizes] for ideal in ideals]
    chosen = [row.index(min(row)) for row in costs] if number >= len(scales) else _assigned(costs)
    chosen[0], chosen[-1] = 0, len(scales) - 1
    return [scales[at] for at in chosen]


def _assigned(costs: list[list[float]]) -> list[int]:
    """
    A different column for each row, at the least cost; both are in order, so none need cross.
    """
    best: list[tuple[float, list[int]]] = [(cost, [at]) for at, cost in enumerate(costs[0])]
    for row in costs[1:]:
        nothing: tuple[float, list[int]] = (math.inf, [])
        before = [min(best[:at], default=nothing) for at in range(len(row))]
        best = [
            (total + cost, [*picked, at]) for at, (cost, (total, picked)) in enumerate(zip(row, before, strict=True))
        ]
    return min(best)[1]


def _channels(number: int) -> int:
    return math.ceil(number / _CHANNEL_STEP) * _CHANNEL_STEP


def _prime_factors(number: int) -> list[int]:
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors
