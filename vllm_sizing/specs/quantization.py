"""
How a matrix is stored: the weight itself and whatever scales lie beside it.

A `Scheme` is data, not a name to switch on: sizes follow from its numbers, so that a new
quantization method needs no new arithmetic.
"""

from __future__ import annotations

import attrs

from vllm_sizing.specs.value import Value

ONE = 0
PARTS = -1


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Extra(Value):
    """
    A tensor stored beside the weight: a scale, zero point, index or shape.

    Attributes:
        name: As vLLM names it (``weight_scale``, ``qzeros``, ``g_idx``).

        rows: `ONE`: one for all rows; `PARTS`: one per fused part (q, k, v); n: one per n rows.

        cols: The same for the input side.

        element_bytes: Of one such element.

        partial: Rows or columns that are left over have an element too.

        full_cols: A row-parallel layer keeps it for the whole input on every rank.
    """

    name: str
    rows: int = ONE
    cols: int = ONE
    element_bytes: int = 4
    partial: bool = False
    full_cols: bool = False


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Scheme(Value):
    """
    A storage format of matrices.

    Attributes:
        name: For people, for example ``fp8 128x128``.

        method: vLLM's method name (``fp8``, ``auto_awq``, ``modelopt_fp4``...).

        kind: What the kernels see, whatever the method: ``fp8``, ``int8``, ``nvfp4``, ``mxfp4``,
            ``mxfp8``, ``wna16``, ``w4a8_fp8``...

        weight_bits: Bits of one weight as stored.

        pack_rows: A rank's rows must divide by it.

        group_size: Input columns that share a scale, a rank's must divide by it; 0: none.

        block: (rows, columns) of a scale block, a rank's share must divide by it; (0, 0): none.

        adapts: A share that is no multiple of ``block`` is met halfway: merged outputs may end inside a
            block, fused experts get smaller blocks.

        fallback: What stores fused experts whose share is no multiple of ``group_size``; its groups
            are halved until they divide.

        compute: dtype of the matrix multiplication (``bf16``, ``fp8``, ``int8``, ``fp4``) on a GPU
            that has units for it.

        extras: What lies beside the weight.

        padding: Name of the kernel rule that pads fused experts, empty for none.

        row_multiple: Rows in memory are a multiple of it wherever the columns are; 0: any number.
    """

    name: str
    method: str
    weight_bits: int
    kind: str = ""
    pack_rows: int = 1
    group_size: int = 0
    block: tuple[int, int] = (0, 0)
    adapts: bool = False
    fallback: Scheme | None = None
    compute: str = "bf16"
    extras: tuple[Extra, ...] = ()
    padding: str = ""
    row_multiple: int = 0
