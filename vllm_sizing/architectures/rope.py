"""
The cosine and sine tables of rotary embeddings, which count as weights.

Source: vLLM 0.33 ``model_executor/layers/rotary_embedding``: one table per distinct setting, of
positions x rotary dimension, in the model's dtype; not divided by tensor parallelism.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.value import Value

# Every kind that vLLM's get_rope knows; the second group multiplies its positions by ``factor``.
_UNSCALED = frozenset((
    "default", "llama3", "dynamic", "ntk", "longrope", "proportional", "mllama4", "bailing_mrope", "openpangu",
))  # fmt: skip
_YARN = frozenset(("yarn", "deepseek_yarn", "deepseek_llama_scaling"))
_SCALED = _YARN | {"linear"}
_MAX_POSITION = 2**30
# Positions of a video run ahead of the text.  Source: vLLM 0.33 ``layers/rotary_embedding/mrope.py``.
MROPE_FACTOR = 4


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RopeTable(Value):
    """
    One table.

    Attributes:
        positions: Rows.

        dim: Elements per row: half cosines, half sines.

        dtype: None: the model's.

        key: Settings that make two layers share it.

        older_factor: Times so many rows in releases that always left room for video positions.
    """

    positions: int
    dim: int
    dtype: str | None = None
    key: tuple[object, ...] = ()
    older_factor: int = 1


def rope_parameters(config: Config, layer_type: str | None = None) -> Config:
    """
    The RoPE settings of a config, old spelling (``rope_scaling``) or new (``rope_parameters``).

    Some configs keep one object per layer type; then ``layer_type`` picks it.
    """
    key = "rope_scaling" if config.data.get("rope_scaling") else "rope_parameters"
    section = config.section(key)
    if section is None:
        return Config({}, "rope_parameters")
    nested = section.section(layer_type) if layer_type and isinstance(section.data.get(layer_type), Mapping) else None
    return nested or section


def rope_type(parameters: Config) -> str:
    """
    The kind of scaling; ``default`` for none.

    Source: vLLM ``transformers_utils/config.py:patch_legacy_rope_type``.
    """
    kind = parameters.text("rope_type", "type", default="default")
    return {"su": "longrope", "mrope": "default"}.get(kind, kind)


def partial_rotary(text: Config, parameters: Config, default: float = 1.0) -> float:
    """
    The part of a head that is rotated; the RoPE object counts before the config.
    """
    keys = ("partial_rotary_factor", "rotary_pct", "rotary_emb_fraction")
    factor = parameters.number("partial_rotary_factor", default=text.number(*keys, default=default))
    if not 0 < factor <= 1:
        raise parameters.refuse("partial_rotary_factor", "above 0 and at most 1")
    return factor


def read_rope(
    text: Config,
    head_size: int,
    *,
    max_position: int,
    layer_type: str | None = None,
    partial: float = 1.0,
    deepseek: bool = False,
    dtype: str | None = None,
    neox: bool = True,
    mrope_factor: int = MROPE_FACTOR,
) -> RopeTable:
    """
    The table that vLLM's ``get_rope`` builds for a config.

    Args:
        text: The language model's section.

        head_size: Dimension handed to get_rope.

        max_position: Positions handed to get_rope.

        layer_type: Which of the nested objects counts.

        partial: Part of a head that is rotated where the config does not say.

        deepseek: The class turns every kind but ``default`` into DeepSeek's YaRN.

        dtype: The class asks for this dtype; None: the model's.

        neox: Halves are rotated, not pairs; only tables of one kind are shared.

        mrope_factor: Room for video positions in tables of several axes.
    """
    parameters = rope_parameters(text, layer_type)
    kind = rope_type(parameters)
    if kind not in _UNSCALED | _SCALED:
        raise parameters.refuse("rope_type", "one of " + ", ".join(sorted(_UNSCALED | _SCALED)))
    if deepseek and kind != "default":
        kind = "deepseek_yarn"
    dim = parameters.integer("rope_dim", default=None, maximum=2**16)
    if dim is None:
        dim = int(head_size * partial_rotary(text, parameters, partial))
    positions, older = max_position, 1
    original = _original_positions(text, parameters, max_position)
    if kind == "longrope":
        positions = original + max_position
    elif kind in _SCALED:
        positions = math.ceil((original if kind in _YARN else max_position) * _factor(parameters))
    elif kind == "proportional":
        dim = head_size
    if kind in ("default", "yarn") and parameters.has("mrope_section"):
        positions, older = positions * mrope_factor, MROPE_FACTOR // mrope_factor
    key = (head_size, dim, positions, dtype, neox, text.number("rope_theta", default=0.0), repr(parameters.data))
    # Frequencies come in pairs of a cosine and a sine.
    return RopeTable(positions=positions, dim=2 * ((dim + 1) // 2), dtype=dtype, key=key, older_factor=older)


def _original_positions(text: Config, parameters: Config, max_position: int) -> int:
    """
    Positions before scaling; the config's own key counts before the one in the RoPE object.

    Source: transformers 5.20 ``modeling_rope_utils.py:standardize_rope_params``.
    """
    key = "original_max_position_embeddings"
    inner = parameters.integer(key, default=None, maximum=_MAX_POSITION)
    if inner is None:
        inner = text.integer("max_position_embeddings", default=max_position, maximum=_MAX_POSITION)
    return text.integer(key, default=inner, maximum=_MAX_POSITION)


def _factor(parameters: Config) -> float:
    factor = parameters.number("factor", default=0.0)
    if not 0 < factor <= 2**20:
        raise parameters.refuse("factor", "a number above 0 and at most 2**20")
    return factor
