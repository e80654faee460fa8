"""
The cosine and sine tables of rotary embeddings, which count as weights.

Source: vLLM 0.33 ``model_executor/layers/rotary_embedding``: one table per distinct setting, of
positions x rotary dimension, in the model's dtype; not divided by tensor parallelism.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from vllm_sizing.architectures.config import Config


@attrs.frozen(kw_only=True)
class RopeTable:
    """
    One table.

    Attributes:
        positions: Rows.

        dim: Elements per row: half cosines, half sines.

        dtype: None: the model's.

        key: Settings that make two layers share it.
    """

    positions: int
    dim: int
    dtype: str | None = None
    key: tuple[object, ...] = ()


def rope_parameters(config: Config, layer_type: str | None = None) -> Config:
    """
    The RoPE settings of a config, old spelling (``rope_scaling``) or new (``rope_parameters``).

    Some configs keep one object per layer type; then ``layer_type`` picks it.
    """
    section = config.section("rope_parameters", "rope_scaling")
    if section is None:
        return Config({}, "rope_parameters")
    nested = section.section(layer_type) if layer_type and isinstance(section.data.get(layer_type), Mapping) else None
    return nested or section


def rope_type(parameters: Config) -> str:
    """
    The kind of scaling; ``default`` for none.

    Source: vLLM ``transformers_utils/config.py:patch_rope_parameters``.
    """
    kind = parameters.text("rope_type", "type", default="default")
    return {"su": "longrope", "mrope": "default"}.get(kind, kind)


def rope_table(
    parameters: Config,
    *,
    head_size: int,
    max_position: int,
    partial_rotary_factor: float = 1.0,
    deepseek: bool = False,
    original_max_position: int | None = None,
) -> RopeTable:
    """
    The table that vLLM's ``get_rope`` builds for these settings.

    Args:
        parameters: From `rope_parameters`.

        head_size: Dimension handed to get_rope (already partial where the model does that).

        max_position: Positions handed to get_rope.

        partial_rotary_factor: Of the config where the parameters do not say.

        deepseek: The model turns ``yarn`` into DeepSeek's variant.
    """
    factor = parameters.number("partial_rotary_factor", default=partial_rotary_factor)
    if not 0 < factor <= 1:
        raise parameters.refuse("partial_rotary_factor", "above 0 and at most 1")
    dim = parameters.integer("rope_dim", default=int(head_size * factor), maximum=2**16)
    kind = rope_type(parameters)
    scale = parameters.number("factor", default=1.0)
    if not 0 < scale <= 2**20:
        raise parameters.refuse("factor", "above 0 and at most 2**20")
    original = parameters.integer(
        "original_max_position_embeddings", default=original_max_position or max_position, maximum=2**30
    )
    positions, key = max_position, (kind, scale, original, parameters.number("rope_theta", default=0.0))
    if kind in ("yarn", "deepseek_yarn", "deepseek_llama_scaling"):
        positions = int(original * scale)
    elif kind == "linear":
        positions = int(max_position * scale)
    elif kind == "longrope":
        positions = original + max_position
    if parameters.has("mrope_section") and not deepseek:
        # Video positions run ahead of the text: vLLM makes the table four times as long.
        positions *= 4
    return RopeTable(positions=positions, dim=dim, key=(head_size, dim, positions, *key))
