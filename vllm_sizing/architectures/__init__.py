"""
config.json -> `ModelSpec`: one module per family of architectures, all pure.

Nothing here computes bytes or reads files; a module names vLLM's layers and their sizes.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import attrs

from vllm_sizing.architectures.checkpoint import Checkpoint, declares_float32, parse_dtype
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.registry import FAMILIES, TEXT_SECTIONS, base_architecture, default_serving
from vllm_sizing.architectures.rough import model_from_params
from vllm_sizing.errors import ConfigError, UnknownArchitectureError
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.model import ModelSpec

__all__ = ["known_architectures", "model_from_config", "model_from_params"]


_NO_SECTIONS = ("quantization_config", "compression_config")


def known_architectures() -> tuple[str, ...]:
    """
    Every architecture that can be planned, as ``architectures`` names it.
    """
    return tuple(sorted(FAMILIES))


def model_from_config(
    config: Mapping[str, Any],
    *,
    name: str = "",
    hf_quant_config: Mapping[str, Any] | None = None,
    provenance: tuple[str, ...] = ("config.json",),
    hf_overrides: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """
    A model from its config.json, as plain data.

    Args:
        config: The parsed file.

        name: What to call the model; empty: what the config calls itself.

        hf_quant_config: The second file of ModelOpt checkpoints, ``hf_quant_config.json``.

        provenance: Recorded on the model: where the facts came from.

        hf_overrides: Values that replace those of the file, as ``--hf-overrides`` does.

    Raises:
        ConfigError: A value is missing, of the wrong type or out of range.

        UnknownArchitectureError: Nobody taught us this architecture.

    >>> model_from_config({"architectures": ["LlamaForCausalLM"], "hidden_size": 64,
    ...     "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 128,
    ...     "vocab_size": 1000}).num_parameters
    210240
    """
    try:
        if not hf_overrides:
            return _model(Config(config), name, hf_quant_config, provenance)
        model = _model(Config(_overridden(config, hf_overrides)), name, hf_quant_config, provenance)
        return attrs.evolve(model, hf_overrides=EngineArgs(hf_overrides=hf_overrides).hf_overrides)
    except RecursionError:
        message = "config.json: sections are nested too deeply or contain themselves"
        raise ConfigError(message) from None


def _overridden(config: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """
    A config with other values; sections are merged, everything else is replaced.

    Source: vLLM 0.33 ``config/model.py:_apply_dict_overrides``.
    """
    merged = dict(config)
    for key, value in overrides.items():
        inner = config.get(key)
        if not key.endswith("_config") or key in _NO_SECTIONS:
            merged[key] = value
        elif isinstance(inner, Mapping) and isinstance(value, Mapping):
            merged[key] = _overridden(inner, value)
        else:
            merged[key] = value
    return merged


def _model(
    whole: Config, name: str, hf_quant_config: Mapping[str, Any] | None, provenance: tuple[str, ...]
) -> ModelSpec:
    from vllm_sizing.architectures.checkpoint_formats import parse_quantization

    name_in_config, architecture = _architecture(whole)
    module = importlib.import_module(f"vllm_sizing.architectures.{FAMILIES[architecture]}")
    text = whole.section(*TEXT_SECTIONS) or whole
    companion = None if hf_quant_config is None else Config(hf_quant_config, "hf_quant_config.json")
    checkpoint = Checkpoint(
        name=name or whole.text("_name_or_path", default=architecture),
        config=whole,
        text=text,
        architecture=architecture,
        dtype=parse_dtype(whole),
        quantization=parse_quantization(whole, companion, architecture=architecture),
    )
    model: ModelSpec = module.build(checkpoint)
    runner, convert = default_serving(name_in_config)
    facts: dict[str, Any] = {"provenance": provenance, "runner": runner, "convert": convert}
    if (runner, convert) != ("pooling", "none"):
        from vllm_sizing.architectures.pooling import score_head

        facts["score"] = score_head(checkpoint.builder(), whole, text, model.hidden_size)
    if declares_float32(whole):
        facts["traits"] = model.traits | {"float32"}
    return attrs.evolve(model, architecture=name_in_config, **facts)


def _architecture(config: Config) -> tuple[str, str]:
    """
    The class that the config names, and the one whose module builds it.
    """
    names = config.words("architectures")
    if not names:
        message = "config.json: architectures is missing; it must name the model class, e.g. ['LlamaForCausalLM']"
        raise ConfigError(message, field="architectures", value=config.data.get("architectures"))
    for name in names:
        base = base_architecture(name)
        if base is not None:
            return name, base
    known = ", ".join(_similar(names[0]))
    message = (
        f"architecture {names[0][:100]!r} is not modelled" + (f" (similar ones are: {known})" if known else "")
        + "; give params_b for a rough plan, or add it: docs/how-to/add-an-architecture.md"
    )  # fmt: skip
    raise UnknownArchitectureError(message, architecture=names[0])


def _similar(name: str) -> list[str]:
    import difflib

    return difflib.get_close_matches(name, FAMILIES, n=3, cutoff=0.75)
