"""
How far an estimate of speed can be trusted: 80 % intervals by regime.

From the residuals of models that the constants were not fitted on: ``python -m tests.validation fit``
prints them; what they cover is in ``docs/explanation/accuracy.md``.
"""

from __future__ import annotations

import math
from functools import lru_cache

import attrs

from vllm_sizing.sizing.steady import Server, Steady
from vllm_sizing.specs.plan import Estimate
from vllm_sizing.specs.value import Value

Logs = tuple[float, float]

WAITING, PREFILL_HEAVY, SMALL_BATCH = 0.2, 2.0, 16
# By regime: 10 and 90 % of the logarithms of measured over predicted TTFT, TPOT and throughput, 1.12 times as wide.
LOGS: dict[str, tuple[Logs, Logs, Logs]] = {
    "large batch": ((-0.45, 0.3), (-0.18, 0.19), (-0.19, 0.18)),
    "prefill-heavy": ((-0.35, 0.37), (-0.13, 0.14), (-0.15, 0.12)),
    "small batch": ((-0.41, 0.39), (-0.14, 0.18), (-0.18, 0.14)),
    "waiting": ((-0.51, 1.53), (-0.37, 0.2), (-0.26, 0.09)),
}
WIDER = 2.0  # GPUs outside the fit: the same physics with datasheet figures.
FITTED = frozenset({"h100-sxm", "h200-sxm", "b200"})


def regime(server: Server, steady: Steady) -> str:
    """
    What an estimate's error depends on: waiting for cache blocks, mostly prefill, or the batch.

    >>> sorted(LOGS)
    ['large batch', 'prefill-heavy', 'small batch', 'waiting']
    """
    if steady.wait_s > WAITING * steady.ttft_s:
        return "waiting"
    if server.prompt > PREFILL_HEAVY * server.workload.output_tokens:
        return "prefill-heavy"
    return "small batch" if steady.running <= SMALL_BATCH else "large batch"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Interval(Value):
    """
    The 80 % interval of a figure as factors of its middle.
    """

    low: float
    high: float
    basis: str

    def around(self, mid: float) -> Estimate:
        """
        A figure with its interval.
        """
        return Estimate(mid * self.low, mid, mid * self.high, self.basis)

    def against(self, mid: float) -> Estimate:
        """
        A figure that falls where this one rises.
        """
        return Estimate(mid / self.high, mid, mid / self.low, self.basis)


@lru_cache(maxsize=256)
def intervals(kind: str, gpu: str, remark: str = "") -> tuple[Interval, Interval, Interval]:
    """
    Intervals of TTFT, TPOT and throughput in a regime.
    """
    basis, width = f"80 % of left-out models on H100, H200 and B200, {kind}", 1.0
    if gpu not in FITTED:
        basis, width = f"{basis}; {gpu} was not among them: twice as wide", WIDER
    ttft, tpot, rate = (
        Interval(low=math.exp(low * width), high=math.exp(high * width), basis=basis + remark)
        for low, high in LOGS[kind]
    )
    return ttft, tpot, rate
