"""
How long a server that is told to stop may take for the requests that it runs.

Source: vLLM 0.33 ``entrypoints/common/cli_args.py`` (``--shutdown-timeout``, 0: requests are aborted).
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from vllm_sizing.catalog.flags import flag_table

if TYPE_CHECKING:
    from typing import Any

    from vllm_sizing.catalog.flags import Release
    from vllm_sizing.specs.plan import Plan

_DRAIN_SINCE: Release = (0, 18, 0)
_LEAST_S, _MOST_S = 30, 300


def can_drain(plan: Plan) -> bool:
    """
    Whether the plan's version of vLLM lets running requests end.
    """
    return flag_table(plan.vllm_version).release >= _DRAIN_SINCE


def drain(plan: Plan, settings: dict[str, Any]) -> tuple[int, str]:
    """
    Seconds, and why as many.

    Args:
        settings: What ``extra_args`` set.
    """
    if not can_drain(plan):
        return 0, "0 s: vLLM before 0.18 aborts running requests when it is told to stop"
    if settings.get("shutdown_timeout") is not None:
        seconds = int(settings["shutdown_timeout"])
        return seconds, f"{seconds} s as asked (shutdown_timeout)"
    bounds = f"from {_LEAST_S} to {_MOST_S} s"
    if plan.performance is None:
        return _MOST_S, f"{_MOST_S} s: how long a request takes is not known; {bounds}"
    slow = ceil(min(plan.performance.e2el_ms.high / 1000, _MOST_S))
    seconds = max(_LEAST_S, slow)
    return seconds, f"{seconds} s = a slow request of the workload ({slow} s), {bounds}"
