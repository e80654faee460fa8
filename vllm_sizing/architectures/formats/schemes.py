"""
The storage formats that several methods share, as vLLM 0.33 allocates them.

Source: the ``create_weights`` of each method under ``model_executor/layers/quantization``.
"""

from __future__ import annotations

import math

from vllm_sizing.specs.quantization import ONE, PARTS, Extra, Scheme

Experts = tuple[Scheme | None, Scheme | None]
PLAIN_EXPERTS: Experts = (None, None)
MARLIN_GROUPS = (-1, 32, 64, 128)  # utils/marlin_utils.py:MARLIN_SUPPORTED_GROUP_SIZES
MODEL_DTYPE_BYTES = 2  # Scales in the model's dtype: quantized models run in a 16-bit one.

Granularity = str | tuple[int, int]


def same(scheme: Scheme | None) -> Experts:
    """
    One format for ``w13`` and ``w2``.
    """
    return (scheme, scheme)


def _weight_scale(granularity: Granularity, element_bytes: int) -> Extra:
    name = "weight_scale"
    if isinstance(granularity, tuple):
        rows, cols = granularity
        return Extra(name=name, rows=rows, cols=cols, element_bytes=element_bytes, partial=True)
    rows = {"tensor": PARTS, "layer": ONE, "channel": 1}[granularity]
    return Extra(name=name, rows=rows, element_bytes=element_bytes)


def eight_bits(
    method: str,
    dtype: str,
    granularity: Granularity,
    *,
    static_input: int | None = None,
    scale_bytes: int = 4,
    adapts: bool = False,
    checked: bool = True,
    weight_only: bool = False,
    more: tuple[Extra, ...] = (),
) -> Scheme:
    """
    ``fp8`` or ``int8`` weights.

    Args:
        granularity: Of the weight's scales: ``tensor`` (one per fused part), ``layer``, ``channel``, or
            the (rows, columns) of a block.

        static_input: `ONE` or `PARTS` scales of the input; None: quantized on the fly.

        checked: vLLM wants whole blocks on each rank.
    """
    block = granularity if isinstance(granularity, tuple) else (0, 0)
    extras = [_weight_scale(granularity, scale_bytes)]
    if static_input is not None:
        extras.append(Extra(name="input_scale", rows=static_input))
    words = f"{block[0]}x{block[1]}" if isinstance(granularity, tuple) else f"per {granularity}"
    return Scheme(
        name=f"{dtype} {words}",
        method=method,
        kind=f"{dtype}_weight_only" if weight_only else dtype,
        weight_bits=8,
        block=block if checked else (0, 0),
        adapts=adapts,
        compute="bf16" if weight_only else dtype,
        extras=(*extras, *more),
    )


def nvfp4(
    method: str,
    *,
    input_scales: bool,
    weight_only: bool = False,
    group_size: int = 16,
    input_scale_bytes: int = 4,
) -> Scheme:
    """
    4-bit floats with an FP8 scale per 16 and one more per matrix.
    """
    extras = [
        Extra(name="weight_scale", rows=1, cols=group_size, element_bytes=1),
        Extra(name="weight_scale_2", rows=PARTS),
    ]
    if input_scales:
        extras.append(Extra(name="input_scale", rows=PARTS, element_bytes=input_scale_bytes))
    return Scheme(
        name="nvfp4 weights" if weight_only else "nvfp4",
        method=method,
        kind="nvfp4_weight_only" if weight_only else "nvfp4",
        weight_bits=4,
        group_size=group_size,
        compute="bf16" if weight_only else "fp4",
        extras=tuple(extras),
    )


def microscaled(method: str, bits: int, *, padding: str = "", more: tuple[Extra, ...] = ()) -> Scheme:
    """
    The OCP formats ``mxfp4``, ``mxfp6`` and ``mxfp8``: an 8-bit exponent per 32.
    """
    return Scheme(
        name=f"mxfp{bits}",
        method=method,
        kind=f"mxfp{bits}",
        weight_bits=bits,
        group_size=0 if padding else 32,
        compute="fp8" if bits == 8 else "fp4",
        padding=padding,
        extras=(Extra(name="weight_scale", rows=1, cols=32, element_bytes=1), *more),
    )


def packed(
    method: str,
    bits: int,
    group_size: int,
    *,
    zero_points: bool,
    more: tuple[Extra, ...] = (),
    full_cols: bool = False,
    fallback: Scheme | None = None,
    pack_rows: int = 1,
    kind: str = "wna16",
) -> Scheme:
    """
    Integers packed into 32-bit words, a 16-bit scale per group of inputs.

    Args:
        group_size: -1 or 0: one group for all inputs.

        zero_points: Packed like the weights, along the outputs.
    """
    group, shared = max(group_size, 0), math.gcd(32, bits)
    extras = [Extra(name="scales", rows=1, cols=group or ONE, element_bytes=MODEL_DTYPE_BYTES, full_cols=full_cols)]
    if zero_points:
        extras.append(
            Extra(
                name="qzeros",
                rows=32 // shared,
                cols=group or ONE,
                element_bytes=4 * bits // shared,
                full_cols=full_cols,
            )
        )
    return Scheme(
        name=f"int{bits} group {group}" if group else f"int{bits} per channel",
        method=method,
        kind=kind,
        weight_bits=bits,
        pack_rows=pack_rows,
        group_size=group,
        fallback=fallback,
        extras=(*extras, *more),
    )


def bitsandbytes(*, int8: bool = False) -> Scheme:
    """
    Blocks of 64 weights with their largest value beside them.

    Scales that a checkpoint quantized in turn are unpacked to float32 while loading
    (``model_loader/bitsandbytes_loader.py:_dequantize_dq``).
    """
    scale = Extra(name="SCB", rows=1) if int8 else Extra(name="absmax", rows=1, cols=64)
    return Scheme(
        name="bitsandbytes int8" if int8 else "bitsandbytes 4 bit",
        method="bitsandbytes",
        kind="bitsandbytes",
        weight_bits=8 if int8 else 4,
        extras=(scale,),
    )
