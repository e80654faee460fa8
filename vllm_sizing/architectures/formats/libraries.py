"""
Formats that a library outside vLLM lays out: bitsandbytes, torchao, FP-Quant.

Source: vLLM 0.27 ``quantization/bitsandbytes.py`` (removed in 0.28), 0.33 ``torchao.py``, ``fp_quant.py``.
"""

from __future__ import annotations

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.formats.fp8 import deprecated
from vllm_sizing.architectures.formats.names import Patterns, Renames, named, read_names, renamed
from vllm_sizing.architectures.formats.schemes import PLAIN_EXPERTS, Experts, bitsandbytes, same
from vllm_sizing.architectures.quantization import CheckpointQuantization
from vllm_sizing.errors import ConfigError
from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.quantization import Extra, Scheme


class LibraryQuantization(CheckpointQuantization):
    """
    One format for all linear layers (and experts) but those below a listed module.
    """

    def __init__(self, scheme: Scheme, kept: list[str], *, has_experts: bool) -> None:
        self.method = scheme.method
        self._scheme = scheme
        self._kept_names = kept
        self._has_experts = has_experts
        self.prepare(())

    def prepare(self, prefixes: Renames) -> None:
        """
        Build the matchers: a module's whole name, or some of its components in a row.
        """
        self._kept = Patterns(parts=[f".{renamed(name, prefixes)}." for name in self._kept_names])
        self.varies_by_layer = self._kept.varies

    def _is_kept(self, name: str) -> bool:
        return self._kept.match(f".{name}.")

    def linear(self, prefix: str, fused: tuple[str, ...] = ()) -> Scheme | None:
        """
        The format of a linear layer.
        """
        return None if named(prefix, (), self._is_kept) else self._scheme

    def experts(self, prefix: str) -> Experts:
        """
        The formats of ``w13`` and ``w2``.
        """
        if self._scheme.method == "bitsandbytes" and self._scheme.weight_bits == 8:
            message = (
                "config.json: quantization_config.load_in_8bit is True, but vLLM loads no experts that bitsandbytes "
                "packed in 8 bits; take a checkpoint in 4 bits"
            )
            raise ConfigError(message, field="quantization_config.load_in_8bit", value=True)
        return same(self._scheme) if self._has_experts else PLAIN_EXPERTS


def parse_bitsandbytes(section: Config) -> CheckpointQuantization:
    """
    ``quant_method: bitsandbytes``.
    """
    int8 = section.flag("load_in_8bit", "_load_in_8bit", default=False)
    found = LibraryQuantization(bitsandbytes(int8=int8), read_names(section, "llm_int8_skip_modules"), has_experts=True)
    if int8:
        found.traits = frozenset({"eager"})  # config/model.py:_verify_bnb_config
    return found


# Type of torchao config -> (name, bits, inputs per scale or 0 for a row, bytes of a scale).
_TORCHAO = {
    "Int4WeightOnlyConfig": ("int4", 4, 128, 4),
    "Int8WeightOnlyConfig": ("int8", 8, 0, 2),
    "Int8DynamicActivationInt8WeightConfig": ("int8", 8, 0, 4),
    "Int8DynamicActivationInt4WeightConfig": ("int4 in int8", 8, 32, 4),
    "Float8WeightOnlyConfig": ("fp8", 8, 0, 4),
    "Float8DynamicActivationFloat8WeightConfig": ("fp8", 8, 0, 4),
}


def parse_torchao(section: Config) -> CheckpointQuantization:
    """
    ``quant_method: torchao``: linear layers; the tensors' layout is the library's.
    """
    kinds = section.needed_section("quant_type")
    default = kinds.needed_section("default")
    kind = default.text("_type")
    if kind not in _TORCHAO or len(kinds.data) != 1:
        raise default.refuse("_type", "one of " + ", ".join(_TORCHAO))
    name, bits, group, scale_bytes = _TORCHAO[kind]
    if group:
        data = default.section("_data") or default
        group = data.integer("group_size", default=group, minimum=16, maximum=2**16)
    scale = Extra(name="scale", rows=1, cols=group, element_bytes=scale_bytes)
    scheme = Scheme(
        name=f"torchao {name}",
        method="torchao",
        kind="torchao",
        weight_bits=bits,
        group_size=group,
        extras=(scale,),
    )
    found = LibraryQuantization(scheme, read_names(section, "modules_to_not_convert"), has_experts=False)
    found.findings = (
        Finding(
            code="torchao-layout",
            severity="info",
            message="torchao lays out its tensors itself: the size of the scales is the one it documents",
        ),
    )
    return found


def parse_fp_quant(section: Config) -> CheckpointQuantization:
    """
    ``quant_method: fp_quant``: linear layers in MXFP4 or NVFP4 with a Hadamard matrix each.
    """
    forward = section.text("forward_dtype")
    if forward not in ("mxfp4", "nvfp4"):
        raise section.refuse("forward_dtype", "'mxfp4' or 'nvfp4'")
    size = section.required("hadamard_group_size", maximum=2**12)
    extras = (
        Extra(name="scales", rows=1, cols=32 if forward == "mxfp4" else 16, element_bytes=1),
        Extra(name="global_scales", element_bytes=2 * 4),
        Extra(name="forward_hadamard_matrix", element_bytes=2 * size * size),
    )
    scheme = Scheme(
        name=f"fp_quant {forward}", method="fp_quant", kind="fp_quant", weight_bits=4, group_size=size,
        compute="fp4", extras=extras,
    )  # fmt: skip
    found = LibraryQuantization(scheme, read_names(section, "modules_to_not_convert"), has_experts=False)
    found.findings = (deprecated("fp_quant"),)
    return found
