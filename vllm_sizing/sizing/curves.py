"""
The planned server under other workloads: how much it holds by length, how fast it is by load.

Each point is planned with the same flags, so a curve agrees with the plan that it belongs to.
"""

from __future__ import annotations

from typing import NamedTuple

from vllm_sizing.errors import SizingError
from vllm_sizing.sizing.decisions import decide
from vllm_sizing.sizing.defaults import parse_version, rules_for
from vllm_sizing.sizing.load_curve import load_curve
from vllm_sizing.specs.plan import LoadPoint, Plan
from vllm_sizing.specs.workload import Workload

SHORTEST = 256  # Tokens: where the curve over lengths begins.


class Capacity(NamedTuple):
    """
    So many requests of a length fit into the KV cache at once, over all replicas.
    """

    tokens: int
    num_requests: int


def capacity_curve(plan: Plan) -> tuple[Capacity, ...]:
    """
    Requests at once by their length, in doublings up to max_model_len; empty for a plan that does not fit.

    >>> import vllm_sizing as vs
    >>> plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> curve = capacity_curve(plan)
    >>> curve[0].tokens, curve[-1].tokens
    (256, 40960)
    """
    longest = (plan.engine_args.max_model_len or 0) if plan.fits else 0
    lengths = [length for length in (SHORTEST * 2**power for power in range(32)) if length < longest]
    replicas = plan.engine_args.data_parallel_size or 1
    points = []
    for length in (*lengths, longest):
        if length > 1:
            other = _again(plan, Workload(length - 1, 1))
            if other is not None:
                points.append(Capacity(length, other.kv_cache.max_concurrency_at_workload * replicas))
    return tuple(points)


def load_points(plan: Plan) -> tuple[LoadPoint, ...]:
    """
    Speed by requests at once, in doublings and at the workload's own; empty where it does not fit or no speed is known.

    It ends one doubling beyond what the server admits, and not far beyond the workload.

    >>> import vllm_sizing as vs
    >>> plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"), vs.Workload(concurrency=24))
    >>> [point.concurrency for point in load_points(plan)]
    [1, 2, 4, 8, 16, 24, 32, 64, 128]
    """
    if plan.performance is None or not plan.fits:
        return ()
    wanted = max(1, round(plan.performance.in_flight))
    admitted = 2 * (plan.engine_args.max_num_seqs or 1) * (plan.engine_args.data_parallel_size or 1)
    most = min(max(4 * wanted, 64), max(admitted, 2 * wanted))
    loads = {2**power for power in range(most.bit_length() + 1) if 2**power < 2 * most}
    if plan.workload.request_rate is None:
        loads.add(wanted)
    try:
        return load_curve(plan, sorted(loads))
    except SizingError:
        return ()


def _again(plan: Plan, workload: Workload) -> Plan | None:
    """
    The same start under another workload; None where it cannot be planned.
    """
    try:
        return decide(
            model=plan.model,
            cluster=plan.cluster,
            workload=workload,
            args=plan.engine_args,
            policy=plan.policy,
            rules=rules_for(parse_version(plan.vllm_version)),
            vllm_version=plan.vllm_version,
            propose=False,
            find_loads=False,
        )
    except SizingError:
        return None
