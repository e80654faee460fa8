"""
Each measured row with the `Server` that its plan rests on, so that constants can be tried quickly.
"""

from __future__ import annotations

import math

import attrs

from tests.validation import speed
from vllm_sizing.sizing import decisions, performance, steady


@attrs.frozen
class Case:
    """
    One measured row with what the library knows of it.
    """

    row: dict[str, str]
    server: steady.Server
    gpu: str
    logs: tuple[float, float, float]
    burst: tuple[float, float]

    @property
    def model(self):
        """
        All quantizations of a model are one.
        """
        return next(name for name in ("MiniMax", "gpt-oss", "Llama", "Kimi", "Qwen3") if name in self.row["config"])


def cases():
    """
    Every row, with the `Server` that its plan rests on.
    """
    made, found = {}, []
    real = decisions.estimate_performance

    def recording(*args):
        answer = real(*args)
        made[id(answer)] = (answer, performance.server_of(*args))
        return answer

    decisions.estimate_performance = recording
    try:
        for row in speed.rows():
            made.clear()
            plan = speed.plan_row(row)
            want = speed.measured(row)
            logs = tuple(math.log(want[metric]) for metric in speed.METRICS)
            dp = float(row["dp"])
            found.append(
                Case(
                    row,
                    made[id(plan.performance)][1],
                    plan.cluster.gpu.name,
                    logs,
                    (speed.burst(row, 1.0, dp) * dp, dp),
                )
            )
    finally:
        decisions.estimate_performance = real
    return found


def answers(case, constants):
    """
    TTFT (burst included), TPOT and throughput.
    """
    state = steady.steady_state(case.server, constants)
    tokens = case.server.workload.output_tokens
    rate = case.server.slots * case.server.replicas / state.e2el_s * tokens
    return state.ttft_s * 1e3 + case.burst[0] / state.prefill_tokens_per_s, state.tpot_s * 1e3, rate
