"""
What a server pays for and does not use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.sizing.defaults import parse_version, rules_for
from vllm_sizing.specs.check import Waste
from vllm_sizing.units import format_gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.specs.plan import Plan


def find_waste(plan: Plan, given: int | None, num_nodes: int) -> tuple[Waste, ...]:
    """
    Each with its bytes over all GPUs, the largest first.

    Args:
        given: GPUs of one node; None: as many as the plan uses.
    """
    found = [*_idle_gpus(plan, given, num_nodes), *_outside(plan), *_unreachable(plan)]
    return tuple(sorted(found, key=lambda waste: -waste.num_bytes))


def _idle_gpus(plan: Plan, given: int | None, num_nodes: int) -> Iterator[Waste]:
    idle = (given or 0) * num_nodes - plan.num_gpus
    if idle > 0:
        size = idle * plan.gpu.memory_bytes
        yield Waste(name="idle-gpus", num_bytes=size, message=f"{idle} GPUs that the command does not use")


def _outside(plan: Plan) -> Iterator[Waste]:
    """
    GPU memory that vLLM would take by default and is told not to.
    """
    used = plan.engine_args.gpu_memory_utilization
    default = rules_for(parse_version(plan.vllm_version)).gpu_memory_utilization
    if used is None or used >= default or plan.requested.kv_cache_memory_bytes is not None or not plan.kv_cache.groups:
        return
    size = int((default - used) * plan.memory.total_bytes) * plan.num_gpus
    message = f"gpu_memory_utilization is {used:g}, the default {default:g}: {format_gib(size)} would be more cache"
    yield Waste(name="unused-gpu-memory", num_bytes=size, message=message)


def _unreachable(plan: Plan) -> Iterator[Waste]:
    """
    Cache that the admitted requests cannot fill, at the lengths of the workload.
    """
    cache, seqs = plan.kv_cache, plan.engine_args.max_num_seqs
    held = cache.max_concurrency_at_workload
    if not plan.fits or not seqs or not cache.groups or held <= seqs:
        return
    size = int(plan.memory.kv_cache_bytes * (1 - seqs / held)) * plan.num_gpus
    message = (
        f"the cache holds {held:,} requests of {plan.workload.tokens_per_request:,} tokens, and max_num_seqs admits "
        f"{seqs:,}; the rest only keeps prefixes"
    )
    yield Waste(name="unreachable-kv-cache", num_bytes=size, message=message)
