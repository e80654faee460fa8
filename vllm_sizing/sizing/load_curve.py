"""
How a planned deployment behaves under other loads than the one it was planned for.
"""

from __future__ import annotations

from collections.abc import Iterable

from vllm_sizing.errors import InvalidValueError
from vllm_sizing.sizing.decisions import Question, settle
from vllm_sizing.sizing.defaults import parse_version, rules_for
from vllm_sizing.sizing.layouts import fixed_layout
from vllm_sizing.sizing.performance import performance_of, server_of
from vllm_sizing.specs.plan import LoadPoint, Plan

BEYOND = 2  # The default curve ends at so many times what runs at once, where queueing shows.


def load_curve(plan: Plan, concurrencies: Iterable[int] | None = None) -> tuple[LoadPoint, ...]:
    """
    Latency and throughput of a plan over its load, as a closed loop; empty where its speed is unknown.

    Args:
        plan: As it was answered; its flags are kept at every load.

        concurrencies: Requests in flight, in the whole deployment; None: powers of two until requests
            only queue, and the plan's own load.

    Raises:
        InvalidValueError: A concurrency is not a positive integer.

    >>> import vllm_sizing as vs
    >>> p = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> [point.concurrency for point in load_curve(p, [1, 8, 64])]
    [1, 8, 64]
    """
    layout = fixed_layout(plan.engine_args, plan.cluster)
    rules = rules_for(parse_version(plan.vllm_version))
    closed = plan.workload.replaced(request_rate=None)
    question = Question(
        model=plan.model, cluster=plan.cluster, workload=closed, args=plan.engine_args, policy=plan.policy, rules=rules
    )
    server = None if layout is None else server_of(settle(question, layout).evaluation, plan.cluster, closed)
    if server is None:
        return ()
    if concurrencies is None:
        most = max(plan.workload.concurrency, BEYOND * int(server.seats) * server.replicas)
        powers = (2**power for power in range(most.bit_length()))
        concurrencies = sorted({*powers, most, plan.workload.concurrency})
    points = []
    for number in concurrencies:
        if number.__class__ is not int or number < 1:
            message = f"concurrency is {number!r}; it must be an integer of at least 1"
            raise InvalidValueError(message, field="concurrency", value=number)
        loaded = server.replaced(slots=max(1.0, number / server.replicas))
        points.append(LoadPoint(number, performance_of(loaded, plan.gpu.name)))
    return tuple(points)
