"""
AMD Quark checkpoints.

Source: vLLM 0.33 ``quantization/quark/quark.py``, ``quark_moe.py``, ``schemes``.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.formats.fp8 import SCALES
from vllm_sizing.architectures.formats.integers import awq_schemes
from vllm_sizing.architectures.formats.names import (
    MAX_RULES,
    Patterns,
    Renames,
    named,
    read_names,
    renamed,
    shards,
)
from vllm_sizing.architectures.formats.schemes import (
    PLAIN_EXPERTS,
    Experts,
    eight_bits,
    microscaled,
    nvfp4,
    same,
)
from vllm_sizing.architectures.quantization import CheckpointQuantization
from vllm_sizing.specs.quantization import ONE, PARTS, Extra, Scheme

METHOD = "quark"
_MX_BITS = {"fp4": 4, "fp6_e3m2": 6, "fp6_e2m3": 6, "fp8_e4m3": 8}


class Quark(CheckpointQuantization):
    """
    A global setting, overridden for layers that a wildcard names.
    """

    method = METHOD

    def __init__(self, section: Config) -> None:
        export = section.needed_section("export")
        self._packed = export.text("pack_method") in ("order", "reorder")
        self._base = _read(section, "global_quant_config", packed=self._packed)
        layers = section.section("layer_quant_config") or Config({}, "layer_quant_config")
        if len(layers.data) > MAX_RULES:
            raise section.refuse("layer_quant_config", f"an object of at most {MAX_RULES:,} patterns")
        cache = set(read_names(export, "kv_cache_group"))
        self._layers = {name: _read(layers, name, packed=self._packed, is_cache=name in cache) for name in layers.data}
        self._excluded_names = read_names(section, "exclude")
        self.attention_scale_bytes = SCALES
        self.prepare(())

    def prepare(self, prefixes: Renames) -> None:
        """
        Build the matchers.
        """
        names = [renamed(name, prefixes) for name in self._excluded_names]
        self._listed = [name for name in names if not name.startswith("re:")]
        self._excluded = Patterns(exact=self._listed, regexes=[name[3:] for name in names if name.startswith("re:")])
        self._rules = [
            (Patterns(globs=[name]) if "*" in name else None, renamed(name, prefixes), found)
            for name, found in self._layers.items()
        ]
        self.varies_by_layer = self._excluded.varies or Patterns(globs=[name for _, name, _ in self._rules]).varies

    def _find(self, prefix: str, fused: tuple[str, ...] = ()) -> tuple[Scheme | None, Scheme | None]:
        for name in shards(prefix, fused) or [prefix]:
            for glob, text, found in self._rules:
                if glob.match(name) if glob else name in text:
                    return found
        return self._base

    def linear(self, prefix: str, fused: tuple[str, ...] = ()) -> Scheme | None:
        """
        The format of a linear layer.
        """
        return None if named(prefix, fused, self._excluded.match) else self._find(prefix, fused)[0]

    def experts(self, prefix: str) -> Experts:
        """
        The formats of ``w13`` and ``w2``: plain if any expert is excluded.
        """
        if self._excluded.match(prefix) or any(name.startswith(f"{prefix}.") for name in self._listed):
            return PLAIN_EXPERTS
        return same(self._find(prefix)[1])


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _read(where: Config, key: str, *, packed: bool, is_cache: bool = False) -> tuple[Scheme | None, Scheme | None]:
    """
    The linear and expert formats of a setting.
    """
    setting = where.needed_section(key)
    if setting.data.get("bias") or (setting.data.get("output_tensors") and not is_cache):
        raise where.refuse(key, "free of output_tensors and bias, which vLLM does not read")
    weight, inputs = _single(setting.data.get("weight")), _single(setting.data.get("input_tensors"))
    if isinstance(weight, list):
        if len(weight) == 2 and isinstance(inputs, list) and _is_fp4(weight[0], 16):
            scheme = nvfp4(METHOD, input_scales=True)
            return scheme, scheme
        raise where.refuse(key, "one weight format, or NVFP4 in two levels")
    return _schemes(
        Config(weight, f"{setting.path}.weight"),
        None if inputs is None else Config(inputs, setting.path),
        packed=packed,
    )


def _is_fp4(level: object, group_size: int) -> bool:
    return isinstance(level, dict) and level.get("dtype") == "fp4" and level.get("group_size") == group_size


def _schemes(weight: Config, inputs: Config | None, *, packed: bool) -> tuple[Scheme, Scheme]:
    dtype, scheme = weight.text("dtype"), weight.text("qscheme")
    group_size = weight.integer("group_size", default=0, minimum=0, maximum=2**16)
    static = inputs is not None and not inputs.flag("is_dynamic", default=False)
    by = {"per_tensor": "tensor", "per_channel": "channel"}.get(scheme)
    if dtype == "fp8_e4m3" and inputs is not None and scheme == "per_block":
        scale_bytes = 1 if weight.text("scale_type") == "float8_e8m0fnu" else 4
        return eight_bits(METHOD, "fp8", (128, 128), scale_bytes=scale_bytes), eight_bits(METHOD, "fp8", (128, 128))
    if dtype == "fp8_e4m3" and inputs is not None and by:
        return (
            eight_bits(METHOD, "fp8", by, static_input=PARTS if static else None),
            eight_bits(METHOD, "fp8", by, static_input=ONE if static else None),
        )
    if dtype == "int8" and inputs is not None and by:
        weight_zeros = Extra(name="weight_zero_point", rows=1 if by == "channel" else PARTS, element_bytes=1)
        input_zeros = Extra(name="input_zero_point", element_bytes=1)
        expert_zeros = Extra(name="input_zero_point", rows=PARTS, element_bytes=1)
        scales = ONE if static else None
        return (
            eight_bits(
                METHOD, "int8", by, static_input=scales, more=(weight_zeros, input_zeros) if static else (weight_zeros,)
            ),
            eight_bits(METHOD, "int8", by, static_input=scales, more=(weight_zeros, expert_zeros)),
        )
    if dtype in ("int4", "uint4") and inputs is None and packed and group_size:
        linear, experts = awq_schemes(METHOD, 4, group_size)
        return linear, experts.fallback or experts
    if dtype in _MX_BITS and scheme == "per_group" and group_size == 32:
        per_part, single = Extra(name="input_scale", rows=PARTS), Extra(name="input_scale")
        return (
            microscaled(METHOD, _MX_BITS[dtype], more=(per_part,) if static else ()),
            microscaled(METHOD, _MX_BITS[dtype], more=(single,) if static else ()),
        )
    raise weight.refuse("dtype", "a combination with qscheme that vLLM has a Quark scheme for")
