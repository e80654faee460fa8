"""
NVIDIA ModelOpt checkpoints: FP8, NVFP4, MXFP8 and a mixture by layer.

Source: vLLM 0.33 ``quantization/modelopt.py:from_config``, ``utils/torch_utils.py:get_kv_cache_quant_algo_string``.
"""

from __future__ import annotations

from collections.abc import Mapping

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.formats.fp8 import SCALES
from vllm_sizing.architectures.formats.modelopt_mixed import MixedPrecision, formats_of
from vllm_sizing.architectures.formats.modelopt_rules import ExcludingQuantization
from vllm_sizing.architectures.formats.names import read_names
from vllm_sizing.architectures.quantization import CheckpointQuantization

_METHODS = {
    "FP8": "modelopt", "FP8_PER_CHANNEL_PER_TOKEN": "modelopt", "FP8_PB_WO": "modelopt",
    "NVFP4": "modelopt_fp4", "W4A16_NVFP4": "modelopt_fp4", "MXFP8": "modelopt_mxfp8",
    "MIXED_PRECISION": "modelopt_mixed",
}  # fmt: skip
_KV_CACHE_DTYPES = {"fp8": "fp8_e4m3", "nvfp4": "nvfp4"}


def read_algo(section: Config) -> str:
    """
    ``quant_algo`` in upper case, from either spelling of the file; empty if there is none.
    """
    inner = section.section("quantization")
    return (inner or section).text("quant_algo").upper()


def method_of(section: Config) -> str:
    """
    vLLM's name for the method of a ModelOpt section.
    """
    algo = read_algo(section)
    if algo in _METHODS:
        return _METHODS[algo]
    raise (section.section("quantization") or section).refuse("quant_algo", "one of " + ", ".join(_METHODS))


def parse_modelopt(section: Config, method: str) -> CheckpointQuantization:
    """
    A ModelOpt section, from config.json or hf_quant_config.json.
    """
    inner = section.section("quantization")
    where = inner or section
    if method == "mxfp8" and inner is None and not section.has("quant_algo"):
        algo, excluded = "MXFP8", read_names(section, "ignored_layers")
    else:
        algo = read_algo(section)
        if algo not in _METHODS:
            raise where.refuse("quant_algo", "one of " + ", ".join(_METHODS))
        excluded = read_names(where, "exclude_modules") if inner else read_names(section, "ignore", "exclude_modules")
    group_size = where.integer("group_size", default=None, minimum=16, maximum=2**16)
    kv_cache_dtype = _kv_cache_dtype(section)
    if algo == "MIXED_PRECISION":
        return MixedPrecision(where, excluded, group_size, kv_cache_dtype, has_scales=_mixed_has_scales(section, inner))
    if algo == "NVFP4" and _is_weight_only(section):
        algo = "W4A16_NVFP4"
    found = ExcludingQuantization(method, excluded)
    found.uniform = formats_of(method, algo, group_size or 16)
    found.kv_cache_dtype = kv_cache_dtype
    found.attention_scale_bytes = found.mla_scale_bytes = SCALES
    return found


def _kv_cache_dtype(section: Config) -> str | None:
    inner = section.section("quantization")
    values = [
        found
        for key in ("kv_cache_scheme", "kv_cache_quant_algo")
        for where in (inner, section)
        if where is not None and (found := where.data.get(key))
    ]
    if not values:
        return None
    scheme = values[0]
    if isinstance(scheme, Mapping):
        kind = (scheme.get("type"), scheme.get("num_bits"))
        if kind == ("float", 8) and scheme.get("dynamic") is False:
            return "fp8_e4m3"
        return "nvfp4" if kind == ("float", 4) else None
    if not isinstance(scheme, str):
        raise section.refuse("kv_cache_scheme", "a string or a JSON object")
    return _KV_CACHE_DTYPES.get(scheme.lower())


def _mixed_has_scales(section: Config, inner: Config | None) -> bool:
    if inner is not None:
        return bool(inner.text("kv_cache_quant_algo"))
    scheme = section.data.get("kv_cache_scheme")
    return isinstance(scheme, Mapping) and scheme.get("type") == "float" and scheme.get("num_bits") == 8


def _is_weight_only(section: Config) -> bool:
    groups = section.section("config_groups")
    if groups is None or not groups.data:
        return False
    return all(isinstance(group, Mapping) and group.get("input_activations") is None for group in groups.data.values())
