"""
Bytes of a matrix in its storage format, and whether a rank's share of it can be stored so.

Source: vLLM 0.33 ``layers/quantization``: the ``create_weights`` of each method,
``utils/fp8_utils.py:validate_fp8_block_shape``, ``fused_moe/oracle/fp8.py:refine_fp8_moe_block_shape``,
``moe_wna16.py``, ``utils/marlin_utils.py:check_moe_marlin_supports_config``.
"""

from __future__ import annotations

import math
from functools import lru_cache

import attrs

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.layout import part_on_rank
from vllm_sizing.specs.model import WeightTensor
from vllm_sizing.specs.quantization import ONE, PARTS, Scheme
from vllm_sizing.specs.value import Value
from vllm_sizing.units import ceil_div, round_up

_SMALLEST_GROUP = 32


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExpertPadding(Value):
    """
    How a kernel enlarges a rank's fused experts; 1 everywhere: not at all.

    Attributes:
        rule: `Scheme.padding` of the experts that it reads, or ``plain``.

        intermediate, hidden: Multiples that both widths are rounded up to.

        values: Multiple of input columns that the packed values are rounded up to once loaded.
    """

    rule: str
    intermediate: int = 1
    hidden: int = 1
    values: int = 1

    def shape(self, tensor: WeightTensor, rows: int, cols: int) -> tuple[int, int]:
        """
        Rows and columns of one expert's matrix.
        """
        if tensor.shard.axis == 1:
            num_parts = len(tensor.shard.parts)
            return num_parts * round_up(rows // num_parts, self.intermediate), round_up(cols, self.hidden)
        return round_up(rows, self.hidden), round_up(cols, self.intermediate)

    def more_bytes(self, scheme: Scheme, rows: int, cols: int) -> int:
        """
        What the values of such a matrix grow by once loaded.
        """
        return (round_up(cols, self.values) - cols) * rows * scheme.weight_bits // 8


def scheme_bytes(scheme: Scheme, rows: int, cols: int, *, num_parts: int = 1, full_cols: int | None = None) -> int:
    """
    Bytes of a matrix and what lies beside it.

    Args:
        num_parts: Parts that the matrix is fused of.

        full_cols: Columns of the whole matrix, where this is a rank's share.

    >>> from vllm_sizing.specs.quantization import Extra
    >>> fp8 = Scheme(name="fp8", method="fp8", weight_bits=8, extras=(Extra(name="s", rows=128, cols=128),))
    >>> scheme_bytes(fp8, 4096, 4096) - 4096 * 4096
    4096
    """
    multiple = scheme.row_multiple
    stored = round_up(rows, multiple) if multiple and cols % multiple == 0 else rows
    total = ceil_div(stored * cols * scheme.weight_bits, 8)
    for extra in scheme.extras:
        wide = full_cols if extra.full_cols and full_cols is not None else cols
        high = _count(extra.rows, rows, num_parts, partial=extra.partial)
        total += high * _count(extra.cols, wide, num_parts, partial=extra.partial) * extra.element_bytes
    return total


def _count(per: int, size: int, num_parts: int, *, partial: bool) -> int:
    if per == ONE:
        return 1
    if per == PARTS:
        return num_parts
    return ceil_div(size, per) if partial else size // per


@lru_cache(maxsize=8192)
def fitted(scheme: Scheme, tensor: WeightTensor, shape: tuple[int, ...], tensor_size: int) -> Scheme:
    """
    The format in which a rank stores its share of a tensor.

    Raises:
        UnsupportedError: vLLM cannot divide the format so.
    """
    if tensor.role == "experts":
        num_parts = len(tensor.shard.parts) or 1
        first = tensor.shard.axis == 1
        intermediate, hidden = (shape[1] // num_parts, shape[2]) if first else (shape[2], shape[1])
        return _fitted_experts(scheme, tensor.name, intermediate, hidden, tensor_size)
    _check_linear(scheme, tensor, *shape, tensor_size=tensor_size)
    return scheme


def _check_linear(scheme: Scheme, tensor: WeightTensor, rows: int, cols: int, *, tensor_size: int) -> None:
    # vLLM 0.33 has a kernel for GPTQ groups that ranks share, and allocates whole groups only.
    if scheme.group_size and cols % scheme.group_size and not (scheme.kind == "gptq" or scheme.method == "inc"):
        raise _refused(tensor.name, tensor_size, f"{cols:,} inputs", f"share a scale by {scheme.group_size}")
    if rows % scheme.pack_rows:
        raise _refused(tensor.name, tensor_size, f"{rows:,} outputs", f"are packed by {scheme.pack_rows}")
    block_rows, block_cols = scheme.block
    if not block_rows:
        return
    split = tensor_size > 1
    if split and tensor.shard.axis == 1 and cols % block_cols:
        raise _refused(tensor.name, tensor_size, f"{cols:,} inputs", f"share a scale by {block_cols}")
    parts = tensor.shard.parts
    merged, columns = len(parts) > 1, tensor.shard.axis == 0
    if merged and columns and scheme.adapts:
        return
    if split and columns:
        sizes = [part_on_rank(part, tensor_size, tensor.name) for part in parts] or [rows]
    else:
        sizes = [part.size for part in parts[:-1]]  # The last matrix may end inside a block.
    if any(size % block_rows for size in sizes):
        shown = " and ".join(f"{size:,}" for size in sizes)
        raise _refused(tensor.name, tensor_size, f"{shown} outputs", f"share a scale by {block_rows}")


def _fitted_experts(scheme: Scheme, name: str, intermediate: int, hidden: int, tensor_size: int) -> Scheme:
    width = f"experts of width {intermediate:,} (hidden size {hidden:,})"
    block_rows, block_cols = scheme.block
    if block_rows and (intermediate % block_rows or (tensor_size > 1 and intermediate % block_cols)):
        size = math.gcd(block_rows, block_cols, intermediate, hidden)
        if not scheme.adapts or size < _SMALLEST_GROUP:
            raise _refused(name, tensor_size, width, f"share scales by {block_rows} x {block_cols}")
        extras = tuple(
            attrs.evolve(extra, rows=size, cols=size) if (extra.rows, extra.cols) == scheme.block else extra
            for extra in scheme.extras
        )
        return attrs.evolve(scheme, block=(size, size), extras=extras)
    group = scheme.group_size
    if scheme.kind == "w4a8_fp8" and (intermediate % 256 or hidden % 256):
        raise _refused(name, tensor_size, width, "are tiled by 256")
    if not group:
        return scheme
    across = hidden % group if scheme.method != "gguf" else 0  # Its blocks lie along the inputs.
    unfit = bool(intermediate % group or across)
    if scheme.fallback is None:
        if unfit and scheme.kind not in ("awq", "awq_int8", "gptq", "gptq_exllama"):
            raise _refused(name, tensor_size, width, f"share a scale by {group}")
        return _halved(scheme, intermediate, hidden, name, tensor_size) if unfit else scheme
    if unfit or hidden % 128:
        return _halved(scheme.fallback, intermediate, hidden, name, tensor_size)
    return scheme


def _halved(scheme: Scheme, intermediate: int, hidden: int, name: str, tensor_size: int) -> Scheme:
    """
    Groups halved until they divide both widths.
    """
    group = scheme.group_size
    while intermediate % group or hidden % group:
        group //= 2
        if group < _SMALLEST_GROUP:
            raise _refused(
                name,
                tensor_size,
                f"experts of width {intermediate:,}",
                f"share a scale by {scheme.group_size}",
            )
    extras = tuple(
        attrs.evolve(extra, cols=group) if extra.cols == scheme.group_size else extra for extra in scheme.extras
    )
    return attrs.evolve(scheme, group_size=group, extras=extras)


def _refused(name: str, tensor_size: int, what: str, rule: str) -> UnsupportedError:
    way_out = "use a smaller one, pipeline stages or expert parallelism" if tensor_size > 1 else "vLLM cannot load it"
    message = f"tensor_parallel_size is {tensor_size}: a rank has {what} of {name}, which {rule}; {way_out}"
    return UnsupportedError(message, field="tensor_parallel_size", value=tensor_size)
