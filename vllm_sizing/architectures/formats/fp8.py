"""
FP8 checkpoints: ``fp8`` with tensor or block scales, ``fbgemm_fp8``, and DeepSeek-V4's mixture.

Source: vLLM 0.33 ``quantization/fp8.py``, ``fbgemm_fp8.py``, ``mxfp4.py``,
``models/deepseek_v4/quant_config.py``, ``models/deepseek_v41/quant_config.py``.
"""

from __future__ import annotations

import fnmatch
import re

from vllm_sizing.architectures.config import MAX_LAYERS, Config
from vllm_sizing.architectures.formats.names import Patterns, Renames, named, read_names, renamed
from vllm_sizing.architectures.formats.schemes import (
    PLAIN_EXPERTS,
    Experts,
    eight_bits,
    microscaled,
    nvfp4,
    same,
)
from vllm_sizing.architectures.quantization import CheckpointQuantization
from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.quantization import ONE, PARTS, Scheme


class ListedQuantization(CheckpointQuantization):
    """
    One format for every linear layer and expert that a list does not name exactly.

    Source: ``utils/quant_utils.py:is_layer_skipped``.
    """

    def __init__(self, method: str, ignored: list[str], linear: Scheme | None, experts: Experts) -> None:
        self.method = method
        self._ignored = ignored
        self._linear = linear
        self._experts = experts
        self.prepare(())

    def prepare(self, prefixes: Renames) -> None:
        """
        Build the matchers.
        """
        names = [renamed(name, prefixes) for name in self._ignored]
        self._names = Patterns(exact=names)
        self._expert_names = [name for name in names if "experts" in name]
        self.varies_by_layer = self._names.varies

    def _skipped(self, prefix: str, fused: tuple[str, ...] = ()) -> bool:
        if "experts" in prefix and not fused:
            # Experts are listed one by one; the fused module's name begins theirs.
            return any(prefix in name for name in self._expert_names)
        return named(prefix, fused, self._names.match)

    def linear(self, prefix: str, fused: tuple[str, ...] = ()) -> Scheme | None:
        """
        The format of a linear layer.
        """
        return None if self._linear is None or self._skipped(prefix, fused) else self._linear

    def experts(self, prefix: str) -> Experts:
        """
        The formats of ``w13`` and ``w2``.
        """
        return PLAIN_EXPERTS if self._skipped(prefix) else self._experts


def read_block(section: Config, key: str = "weight_block_size") -> tuple[int, int] | None:
    """
    Rows and columns of a scale block.
    """
    values = section.integers(key, minimum=1, maximum=2**16)
    if values is None:
        return None
    if len(values) != 2:
        raise section.refuse(key, "two integers: rows and columns of a block")
    return values[0], values[1]


def _read_fp8(section: Config) -> tuple[bool, tuple[int, int] | None, list[str]]:
    activation = section.text("activation_scheme")
    if activation not in ("static", "dynamic"):
        raise section.refuse("activation_scheme", "'static' or 'dynamic'")
    block = read_block(section)
    if block is not None and activation == "static":
        raise section.refuse("activation_scheme", "'dynamic' with weight_block_size")
    ignored = read_names(section, "ignored_layers") or read_names(section, "modules_to_not_convert")
    return activation == "static", block, ignored


def parse_fp8(section: Config) -> CheckpointQuantization:
    """
    ``quant_method: fp8``.
    """
    static, block, ignored = _read_fp8(section)
    linear = eight_bits("fp8", "fp8", block or "tensor", static_input=PARTS if static else None, adapts=True)
    if section.text("store_dtype") == "mxfp4":
        experts = microscaled("fp8", 4, padding="mxfp4")
    else:
        experts = eight_bits("fp8", "fp8", block or "tensor", static_input=ONE if static else None, adapts=True)
    found = ListedQuantization("fp8", ignored, linear, same(experts))
    found.attention_scale_bytes = SCALES
    return found


# The scales of Q, K, V and probabilities, scalars in the model's dtype.
# Source: quantization/kv_cache.py:BaseKVCacheMethod.create_weights.
SCALES = 4 * 2


def parse_fbgemm(section: Config) -> CheckpointQuantization:
    """
    ``quant_method: fbgemm_fp8``: linear layers only, a scale per output row.
    """
    section.number("activation_scale_ub", default=0.0)
    ignored = read_names(section, "modules_to_not_convert")
    scheme = eight_bits("fbgemm_fp8", "fp8", "channel", static_input=ONE)
    found = ListedQuantization("fbgemm_fp8", ignored, scheme, PLAIN_EXPERTS)
    found.findings = (deprecated("fbgemm_fp8"),)
    return found


def deprecated(method: str) -> Finding:
    """
    What to say about a method that newer releases load only on request.

    Source: ``quantization/__init__.py:DEPRECATED_QUANTIZATION_METHODS``, since 0.14.
    """
    return Finding(
        code="deprecated-quantization",
        severity="warning",
        message=f"quantization {method} is deprecated: vLLM refuses it since 0.14 unless told otherwise",
        hint="start with allow_deprecated_quantization, or take a checkpoint in another format",
    )


def parse_experts_int8(section: Config) -> CheckpointQuantization:
    """
    ``quant_method: experts_int8``: a 16-bit checkpoint whose experts are converted while loading.
    """
    return ListedQuantization("experts_int8", [], None, same(eight_bits("experts_int8", "int8", "channel")))


def parse_mxfp4(section: Config, method: str) -> CheckpointQuantization:
    """
    ``quant_method: mxfp4``: only the experts, padded for their kernel.
    """
    return ListedQuantization(method, [], None, same(microscaled(method, 4, padding=method)))


_EXPERTS_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.ffn\.experts$")


class DeepseekV4(ListedQuantization):
    """
    FP8 blocks with 8-bit exponents as scales, experts in MXFP4, NVFP4 or FP8.
    """

    def __init__(self, section: Config, config: Config) -> None:
        method = "deepseek_v4_fp8"
        static, block, ignored = _read_fp8(section)
        fp4 = config.text("expert_dtype", default="fp4") == "fp4"
        if not fp4 and config.text("expert_dtype") != "fp8":
            raise config.refuse("expert_dtype", "'fp4' or 'fp8'")
        self._native: Experts | None = None
        self._kept: list[str] = []
        self._num_layers = config.integer("num_hidden_layers", default=MAX_LAYERS, maximum=MAX_LAYERS)
        linear = eight_bits(method, "fp8", block or "tensor", static_input=PARTS if static else None,
                            scale_bytes=1 if fp4 and block else 4, adapts=True)  # fmt: skip
        if block == (32, 32) and fp4:
            linear = microscaled(method, 8)
        experts = same(eight_bits(method, "fp8", block or "tensor", static_input=ONE if static else None, adapts=True))
        if fp4:
            experts = self._native = same(microscaled(method, 4, padding="mxfp4"))
            if section.text("moe_quant_algo").upper() == "NVFP4":
                experts = same(nvfp4(method, input_scales=True))
                self._kept = read_names(section, "ignore")
        super().__init__(method, ignored, linear, experts)
        self.attention_scale_bytes = SCALES
        self.varies_by_layer = self.varies_by_layer or bool(self._kept)

    def experts(self, prefix: str) -> Experts:
        """
        The formats of ``w13`` and ``w2``; what ModelOpt left alone stays as DeepSeek made it.
        """
        layer = _EXPERTS_LAYER.search(prefix)
        if self._native is not None and layer and not self._skipped(prefix):
            # models/deepseek_v4/quant_config.py:align_mtp_quant_config: draft layers follow the decoder's.
            at = int(layer[1])
            name = f"layers.{at}" if at < self._num_layers else f"mtp.{at - self._num_layers}"
            name = f"{name}.ffn.experts"
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in self._kept):
                return self._native
        return super().experts(prefix)
