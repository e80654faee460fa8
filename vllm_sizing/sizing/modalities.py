"""
What encoders of images, video and audio change in a start.

Source: vLLM 0.33 ``config/multimodal.py``, ``config/model.py``, ``engine/arg_utils.py``.
"""

from __future__ import annotations

from functools import lru_cache

import attrs

from vllm_sizing.sizing.defaults import Rules
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.model import CrossAttention, ModelSpec

MODALITIES = frozenset({"image", "video", "audio", "vision_chunk"})


def _limited_to_zero(args: EngineArgs) -> frozenset[str]:
    """
    Modalities that the user switched off.
    """
    if args.language_model_only:
        return MODALITIES
    return frozenset(
        modality
        for modality, limit in dict(args.limit_mm_per_prompt or ()).items()
        if limit == 0 or dict(limit if isinstance(limit, tuple) else ()).get("count") == 0
    )


def cross_tokens(model: ModelSpec, max_num_batched_tokens: int) -> int:
    """
    Tokens of the encoder that cross attention caches for a request; 0 without, so that equal caches are shared.

    Source: vLLM 0.33 ``v1/kv_cache_interface.py:CrossAttentionSpec``.
    """
    crossed = any(isinstance(layer, CrossAttention) for layer in model.cache_layers)
    return max_num_batched_tokens if crossed else 0


def without_unserved(model: ModelSpec, args: EngineArgs) -> ModelSpec:
    """
    A model as far as requests may use it.

    Profiling shows it no item of a modality that is limited to 0, and a model that no image reaches needs
    no kernel that looks both ways.

    Source: ``multimodal/encoder_budget.py``, ``config/model.py:_supports_multimodal_for_mm_prefix``.
    """
    off = _limited_to_zero(args)
    return _serving(model, off) if off else model


@lru_cache(maxsize=64)
def _serving(model: ModelSpec, off: frozenset[str]) -> ModelSpec:
    served = tuple(encoder for encoder in model.encoders if encoder.modality not in off)
    if len(served) == len(model.encoders):
        return model
    return attrs.evolve(model, encoders=served, traits=model.traits if served else model.traits - {"prefix_lm"})


def largest_item(model: ModelSpec, rules: Rules) -> int:
    """
    Tokens of the largest item, where a model takes it in one batch and vLLM knows its size beforehand.

    Source: ``engine/arg_utils.py:_get_min_mm_batched_tokens``, since 0.22.
    """
    if not {"prefix_lm", "whole_items"} <= model.traits or rules.version < (0, 22, 0):
        return 0
    return max((encoder.max_tokens_per_item for encoder in model.encoders), default=0)


def skipped_towers(model: ModelSpec, args: EngineArgs) -> frozenset[str]:
    """
    Encoders that are not loaded because their modality is limited to 0.

    Source: ``config/multimodal.py``; ``language_model_only`` sets every limit to 0.
    """
    towers = {tensor.tower for tensor in model.tensors} - {"language"}
    off = _limited_to_zero(args)
    return frozenset(tower for tower in towers if ({"image", "video"} if tower == "vision" else {tower}) <= off)
