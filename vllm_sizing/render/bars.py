"""
Length and load as small bars for the terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.render.report import Row, figure
from vllm_sizing.sizing import curves

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

LONGEST = 10  # Cells of the longest bar over the load.


def by_length(plan: Plan, glyph: str) -> list[Row]:
    """
    Requests at once by their length; each further cell of a bar is twice as many.
    """
    return [
        Row(f"{point.tokens:,} tokens", f"{point.num_requests:,} at once", glyph * point.num_requests.bit_length())
        for point in curves.capacity_curve(plan)
    ]


def by_load(plan: Plan, glyph: str) -> list[Row]:
    """
    Throughput by requests at once, as a bar, and what a request feels of it.
    """
    points = curves.load_points(plan)
    most = max((point.performance.output_tokens_per_s.mid for point in points), default=1.0)
    rows = []
    for point in points:
        load, speed = point.concurrency, point.performance
        rate = speed.output_tokens_per_s.mid
        bar = (glyph * max(1, round(LONGEST * rate / most))).ljust(LONGEST)
        felt = f"{figure(speed.tpot_ms.mid)} ms each, first {figure(speed.ttft_ms.mid)}"
        chosen = " (here)" if load == plan.workload.concurrency and plan.workload.request_rate is None else ""
        rows.append(Row(f"{load:,} at once", f"{figure(rate)} tokens/s", f"{bar} {felt}{chosen}"))
    return rows
