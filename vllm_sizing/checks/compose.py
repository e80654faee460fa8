"""
What else is wrong with a service of Compose: its health check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.catalog.check_rules import finding
from vllm_sizing.sources.quantities import parse_seconds, parse_size
from vllm_sizing.units import format_gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.checks.needs import Needs
    from vllm_sizing.sources.launch import Launch
    from vllm_sizing.sources.yaml_nodes import Node
    from vllm_sizing.specs.check import CheckFinding


def about_service(launch: Launch, service: Node, port: int, needs: Needs | None) -> Iterator[CheckFinding]:
    """
    Remarks that need the service itself, and how long the server takes to start.
    """
    health = service.get("healthcheck")
    if health is None:
        message = "nothing tells Compose whether the server answers"
        yield finding("liveness-missing", message, line=launch.line, hint="add a healthcheck that asks /health")
    elif needs is not None:
        start = parse_seconds(health.string("start_period") or "0") or 0.0
        interval = parse_seconds(health.string("interval") or "30") or 30.0
        budget = start + interval * (health.number("retries") or 3)
        if budget < needs.start_s:
            severity = "error" if budget < needs.least_start_s else "warning"
            message = f"the server counts as unhealthy after {budget:g} s; a start may take {needs.start_s} s"
            hint = f"start_period: {needs.start_s}s"
            yield finding("probe-short", message, line=health.line, hint=hint, severity=severity)
        test = " ".join(item.text for item in health.words("test"))
        if "http" in test and f":{port}" not in test and "localhost/" not in test:
            message = f"the healthcheck asks another port than {port}, on which the server listens"
            yield finding("probe-port", message, line=health.line)
    limit = service.get("deploy", "resources", "limits", "memory") or service.get("mem_limit")
    size = parse_size(limit.text) if limit is not None else None
    if limit is not None and size is not None and needs is not None and size < needs.memory_bytes:
        message = (
            f"the memory limit is {format_gib(size)}; the server is expected to need {format_gib(needs.memory_bytes)}"
        )
        yield finding("memory-limit-tight", message, line=limit.line)
