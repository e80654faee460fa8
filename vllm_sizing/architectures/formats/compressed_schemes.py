"""
Which storage format a group of a compressed-tensors config means.

Source: vLLM 0.33 ``compressed_tensors.py:_get_scheme_from_parts``,
``compressed_tensors_moe.py:get_moe_method`` and the ``create_weights`` of each scheme.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from vllm_sizing.architectures.formats.compressed_args import Group, is_nvfp4
from vllm_sizing.architectures.formats.schemes import (
    MODEL_DTYPE_BYTES,
    eight_bits,
    microscaled,
    nvfp4,
    packed,
)
from vllm_sizing.specs.quantization import ONE, PARTS, Extra, Scheme

METHOD = "compressed-tensors"
_ACTIVATION_FORMATS = ("naive-quantized", "int-quantized", "float-quantized", "nvfp4-pack-quantized")
# Rows and columns of the weight, kept beside the packed one.
_SHAPE = Extra(name="weight_shape", element_bytes=2 * 8)
_EXPERT_SHAPE = Extra(name="weight_shape", element_bytes=2 * MODEL_DTYPE_BYTES)

Rule = Callable[[Group], Scheme | None]


def linear_scheme(group: Group) -> Scheme:
    """
    The format of a linear layer.

    Raises:
        ConfigError: vLLM has no scheme for it.
    """
    found = next((scheme for rule in _LINEAR if (scheme := rule(group)) is not None), None)
    if found is None:
        raise group.refuse("use a checkpoint in a format that vLLM documents")
    return found


def expert_scheme(group: Group) -> Scheme:
    """
    The format of fused experts.

    Raises:
        ConfigError: vLLM has no scheme for it.
    """
    found = next((scheme for rule in _EXPERTS if (scheme := rule(group)) is not None), None)
    if found is None:
        raise group.refuse("use a checkpoint in a format that vLLM documents for experts")
    return found


def embedding_scheme(group: Group) -> Scheme:
    """
    The format of a vocabulary embedding: weight-only integers.
    """
    if not group.is_weight_only or group.weights.floating:
        raise group.refuse("embeddings want weight-only integers")
    return _packed(_symmetric(group), _SHAPE)


def _granularity(group: Group) -> str | tuple[int, int]:
    block = group.weights.block
    return block if group.weights.strategy == "block" and block is not None else group.weights.strategy


def _static(group: Group, rows: int) -> int | None:
    return rows if group.inputs is not None and not group.inputs.dynamic else None


def _symmetric(group: Group) -> Group:
    return attrs.evolve(group, weights=attrs.evolve(group.weights, symmetric=True))


def _packed(group: Group, shape: Extra, *, kind: str = "wna16") -> Scheme:
    weights = group.weights
    if weights.bits > 8:
        raise group.refuse("packed weights have 2 to 8 bits")
    if weights.reordered:
        kind = "act_order"
    return packed(METHOD, weights.bits, weights.group_size, zero_points=not weights.symmetric, more=(shape,), kind=kind)


# --- one function per scheme, in vLLM's order ---


def _nvfp4(group: Group) -> Scheme | None:
    if not group.is_nvfp4:
        return None
    if group.inputs is not None and not is_nvfp4(group.inputs):
        raise group.refuse("NVFP4 weights want NVFP4 or 16-bit inputs")
    return nvfp4(METHOD, input_scales=group.inputs is not None, weight_only=group.inputs is None)


def _microscaled(group: Group) -> Scheme | None:
    if group.is_mxfp4:
        return microscaled(METHOD, 4)
    return microscaled(METHOD, 8) if group.is_mxfp8 else None


def _int4_fp8(group: Group) -> Scheme | None:
    if not group.is_int4_fp8:
        return None
    if group.weights.group_size != 128:
        raise group.refuse("4-bit integers with FP8 inputs want groups of 128")
    return _packed(group, _SHAPE, kind="w4a8_fp8")


def _fake_quantized(group: Group) -> Scheme | None:
    if not group.is_fake_quantized:
        return None
    activations = (Extra(name="input_scale"), Extra(name="output_scale"))
    scheme = _packed(_symmetric(group), _SHAPE)
    if group.format == "pack-quantized":
        return attrs.evolve(scheme, extras=(*scheme.extras, *activations))
    return attrs.evolve(scheme, weight_bits=8, extras=(scheme.extras[0], *activations))


def _integer_matmul(group: Group) -> Scheme | None:
    return _packed(group, _SHAPE, kind="wnam") if group.is_integer_matmul else None


def _weight_only(group: Group) -> Scheme | None:
    return _packed(group, _SHAPE) if group.is_weight_only and group.format == "pack-quantized" else None


def _fp8(group: Group) -> Scheme | None:
    if group.format not in _ACTIVATION_FORMATS or not group.has_fp8_weights:
        return None
    return eight_bits(
        METHOD, "fp8", _granularity(group), static_input=_static(group, PARTS), weight_only=not group.is_fp8
    )


def _int8(group: Group) -> Scheme | None:
    inputs = group.inputs
    if group.format not in _ACTIVATION_FORMATS or inputs is None or not group.is_int8:
        return None
    azp = () if inputs.symmetric or inputs.dynamic else (Extra(name="input_zero_point", element_bytes=1),)
    return eight_bits(METHOD, "int8", _granularity(group), static_input=_static(group, ONE), more=azp)


def _expert_mxfp4(group: Group) -> Scheme | None:
    inputs = group.inputs
    fp8_inputs = inputs is not None and inputs.floating and inputs.bits == 8 and inputs.dynamic
    return microscaled(METHOD, 4, padding="mxfp4" if fp8_inputs else "") if group.is_mxfp4 else None


def _expert_weight_only(group: Group) -> Scheme | None:
    if not group.is_weight_only:
        return None
    if group.format != "pack-quantized":
        raise group.refuse("experts want pack-quantized weights")
    if not group.weights.symmetric and group.weights.bits != 4:
        raise group.refuse("experts with zero points have 4 bits")
    return _packed(group, _EXPERT_SHAPE)


def _expert_nvfp4(group: Group) -> Scheme | None:
    scheme = _nvfp4(group)
    if scheme is None:
        return None
    stored = nvfp4(METHOD, input_scales=True, weight_only=group.inputs is None)
    return attrs.evolve(stored, group_size=0)  # Experts of any width are stored.


def _expert_fp8(group: Group) -> Scheme | None:
    return eight_bits(METHOD, "fp8", _granularity(group), static_input=_static(group, ONE)) if group.is_fp8 else None


def _expert_int8(group: Group) -> Scheme | None:
    inputs = group.inputs
    if inputs is None or not inputs.dynamic or not group.is_int8 or group.weights.strategy != "channel":
        return None
    return eight_bits(METHOD, "int8", "channel")


def _expert_int4_fp8(group: Group) -> Scheme | None:
    scheme = _int4_fp8(group)
    return None if scheme is None else _packed(group, _EXPERT_SHAPE, kind="w4a8_fp8")


_LINEAR: tuple[Rule, ...] = (
    _nvfp4, _microscaled, _int4_fp8, _fake_quantized, _integer_matmul, _weight_only, _fp8, _int8
)  # fmt: skip
_EXPERTS: tuple[Rule, ...] = (
    _expert_mxfp4, _microscaled, _expert_weight_only, _expert_nvfp4, _expert_fp8, _expert_int8,
    _expert_int4_fp8,
)  # fmt: skip
