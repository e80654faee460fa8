"""
How a model is spread over ranks: tensor, pipeline, data and expert parallel.
"""

from __future__ import annotations

from functools import lru_cache

import attrs

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.specs.model import Part
from vllm_sizing.specs.value import Value
from vllm_sizing.units import ceil_div


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Layout(Value):
    """
    The parallel sizes of one deployment.

    Attributes:
        tensor, pipeline, data: Sizes; their product is the number of GPUs.

        decode_context: Ranks of the tensor group that share the tokens of the cache.

        expert: Experts are spread whole over tensor x data ranks.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    decode_context: int = 1
    expert: bool = False

    @property
    def num_ranks(self) -> int:
        """
        GPUs in all.
        """
        return self.tensor * self.pipeline * self.data

    @property
    def expert_ranks(self) -> int:
        """
        Ranks that whole experts are spread over; 1: each expert is divided instead.
        """
        return self.tensor * self.data if self.expert else 1

    @property
    def expert_tensor(self) -> int:
        """
        Ranks that share one expert: without expert parallelism those of every replica.

        Source: vLLM 0.33 ``fused_moe/config.py:flatten_tp_across_dp_and_pcp``.
        """
        return 1 if self.expert_ranks > 1 else self.tensor * self.data


@lru_cache(maxsize=256)
def stage_bounds(num_layers: int, num_stages: int) -> tuple[tuple[int, int], ...]:
    """
    First and last-plus-one layer of each pipeline stage.

    Layers left over go to the later stages but never to the last one.
    Source: vLLM 0.33 ``distributed/utils.py:get_pp_indices``.

    >>> stage_bounds(61, 2)
    ((0, 31), (31, 61))
    """
    sizes = [num_layers // num_stages] * num_stages
    for back in range(2, num_layers % num_stages + 2):
        sizes[-back] += 1
    bounds, start = [], 0
    for size in sizes:
        bounds.append((start, start + size))
        start += size
    return tuple(bounds)


def part_on_rank(part: Part, tensor: int, name: str) -> int:
    """
    Rows of a part that one tensor-parallel rank holds.

    Whole units (KV heads) are never split: beyond their number ranks hold copies.
    Source: vLLM 0.33 ``distributed/utils.py:divide``, ``layers/linear.py:QKVParallelLinear``.

    >>> part_on_rank(Part(1024, units=8), 16, "k_proj")
    128
    """
    units = part.units
    if part.blocks:
        return ceil_div(part.size // part.blocks, tensor) * part.blocks
    if units and units < tensor:
        if tensor % units or not part.copied:
            raise _indivisible(name, units, tensor)
        return part.size // units
    if (units or part.size) % tensor or part.size % tensor:
        raise _indivisible(name, units or part.size, tensor)
    return part.size // tensor if tensor == 1 else max(part.size // tensor, part.least)


def _indivisible(name: str, size: int, tensor: int) -> UnsupportedError:
    message = f"tensor_parallel_size is {tensor}, which does not divide the {size:,} of {name}; choose a divisor"
    return UnsupportedError(message, field="tensor_parallel_size", value=tensor)
