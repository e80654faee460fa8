"""
What a server of a plan needs around it: time to start, time to stop, shared and main memory.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from vllm_sizing.errors import SizingError
from vllm_sizing.render.deployment import deployment
from vllm_sizing.units import GB, GIB, MIB, ceil_div

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vllm_sizing.specs.plan import Plan

# vLLM 0.33 distributed/device_communicators/shm_broadcast.py: rings of the broadcast and of each worker's answers;
# the start compares each with the free space of /dev/shm and refuses.
_RING_BYTES = 160 * MIB
_WORKER_RING_BYTES = 240 * MIB
_FASTEST_BYTES_PER_S = 5 * GB  # of one NVMe disk, everything in place
_FASTEST_WARM_UP_S = 20
_DEPENDS_ON = ("shutdown_timeout", "mm_processor_cache_type", "mm_processor_cache_gb", "api_server_count")


class Needs(NamedTuple):
    """
    The numbers, per node.

    Attributes:
        least_start_s: No start is faster.

        start_s: A start is not slower, unless something is wrong.

        grace_s: To leave routers, drain and stop; 0 drained: what stopping alone takes.

        rings_bytes: Of /dev/shm, without which the start is refused.

        shm_bytes: With what NCCL wants.

        memory_bytes: Of the host.
    """

    least_start_s: int
    start_s: int
    drain_s: int
    rings_bytes: int
    shm_bytes: int
    memory_bytes: int


def needs_of(plan: Plan, values: Mapping[str, Any], num_nodes: int) -> Needs | None:
    """
    What the plan needs; None if no deployment of it can be computed.

    Args:
        values: Of the flags, by argument.
    """
    extra: list[str] = []
    for name in _DEPENDS_ON:
        if values.get(name) is not None:
            extra += [f"--{name.replace('_', '-')}", str(values[name])]
    args = attrs.evolve(plan.engine_args, extra_args=extra, trust_remote_code=None)
    bare = attrs.evolve(plan, engine_args=args, decisions=(), findings=(), alternatives=())
    try:
        wanted = deployment(bare, "check", container=False)
    except SizingError:
        return None
    gpus = ceil_div(plan.num_gpus, num_nodes)
    engines = max(1, ceil_div(plan.engine_args.data_parallel_size or 1, num_nodes))
    workers = ceil_div(gpus, engines)
    rings = (_RING_BYTES + _WORKER_RING_BYTES * workers) * engines if workers > 1 else 0
    if values.get("mm_processor_cache_type") == "shm":
        rings += ceil(float(values.get("mm_processor_cache_gb") or 4) * GIB)
    checkpoint = plan.model.checkpoint_bytes or plan.memory.weights_bytes_per_gpu * plan.num_gpus
    return Needs(
        least_start_s=_FASTEST_WARM_UP_S + checkpoint // _FASTEST_BYTES_PER_S,
        start_s=wanted.start_s,
        drain_s=wanted.drain_s,
        rings_bytes=rings,
        shm_bytes=rings + (GIB // 2 if gpus > 1 else 0),
        memory_bytes=wanted.memory_bytes,
    )
