"""
What Prometheus is asked about a server: which pods it reads, which series, and when to wake somebody.

Metrics: vLLM 0.33 ``v1/metrics/loggers.py``; the names used here are in every version since 0.10.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from vllm_sizing.render.argv import served_name
from vllm_sizing.render.deployment import deployment, plan_notes
from vllm_sizing.render.kubernetes import metadata, server_labels
from vllm_sizing.render.yaml import to_yaml

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

_USAGE = (
    "Needs the Prometheus operator; it must select objects of this namespace and these labels.",
    "",
)
_SCRAPE_S = 15
# A p95 over this many times the slow end of the estimate means that the server is not the planned one.
_SLOWER = 2


def podmonitor(plan: Plan) -> str:
    """
    A PodMonitor: every server is read, which a Service in front of several would prevent.

    Raises:
        UnsupportedError: What `deployment` cannot express.
    """
    wanted = deployment(plan, "podmonitor", folders=False)
    endpoint = {"port": "http", "path": "/metrics", "interval": f"{_SCRAPE_S}s"}
    spec = {"selector": {"matchLabels": server_labels(wanted)}, "podMetricsEndpoints": [endpoint]}
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(wanted),
        "spec": spec,
    }
    return to_yaml(document, comments=(*_USAGE, *plan_notes(plan)))


def alerts(plan: Plan) -> str:
    """
    A PrometheusRule: the queue, time to first token, preemptions, a server that hangs, one that is gone.

    Raises:
        UnsupportedError: What `deployment` cannot express.
    """
    wanted = deployment(plan, "alerts", folders=False)
    running, waiting = series(plan, "num_requests_running"), series(plan, "num_requests_waiting")
    tokens = [f"rate({series(plan, name)}[5m])" for name in ("generation_tokens_total", "prompt_tokens_total")]
    queue, queue_note = queue_limit(plan)
    rules = [
        _rule("VllmQueueGrows", f"sum({waiting}) > {queue}", "10m", "Requests wait; add a replica or lower the load."),
        _rule(
            "VllmPreempts",
            f"sum(increase({series(plan, 'num_preemptions_total')}[10m])) > 0",
            "10m",
            "The KV cache is full and requests are computed again; lower max-num-seqs or add a replica.",
        ),
        # /health answers as long as the process lives, whatever the GPU does.
        _rule(
            "VllmHangs",
            f"sum({running}) > 0 and sum({tokens[0]}) == 0 and sum({tokens[1]}) == 0",
            "5m",
            "Requests run and no token comes; restart the server.",
            severity="critical",
        ),
        _rule(
            "VllmGone",
            f"absent({running})",
            f"{ceil(wanted.start_s / 60)}m",
            "No server reports for longer than a start takes.",
            severity="critical",
        ),
    ]
    limit, note = _first_token_limit(plan)
    if limit:
        buckets = series(plan, "time_to_first_token_seconds_bucket")
        expression = f"histogram_quantile(0.95, sum by (le) (rate({buckets}[5m]))) > {limit:g}"
        rules.append(_rule("VllmSlowFirstToken", expression, "10m", "First tokens come later than planned."))
    group = {"name": wanted.name, "interval": "30s", "rules": rules}
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": metadata(wanted),
        "spec": {"groups": [group]},
    }
    notes = (queue_note, note, f"Gone: {wanted.start_s} s is the longest start that is not a fault.", "")
    return to_yaml(document, comments=(*_USAGE, *notes, *plan_notes(plan)))


def series(plan: Plan, metric: str) -> str:
    r"""
    The series of a metric of this model; its name cannot end the text that it stands in.

    >>> import vllm_sizing as vs
    >>> plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> print(series(plan, "num_requests_waiting"))
    vllm:num_requests_waiting{model_name="Qwen/Qwen3-8B"}
    """
    name = served_name(plan).replace("\\", "\\\\").replace('"', '\\"')
    return f'vllm:{metric}{{model_name="{name}"}}'


def queue_limit(plan: Plan) -> tuple[int, str]:
    """
    How many waiting requests are too many, and why.
    """
    held = max(1, plan.kv_cache.max_concurrency_at_workload)
    limit = max(1, ceil(held / 10))
    return limit, f"Queue: {limit} = a tenth of the {held:,} requests of the workload that the server holds at once"


def _first_token_limit(plan: Plan) -> tuple[float, str]:
    target, speed = plan.workload.target.ttft_ms, plan.performance
    if target is not None:
        return target / 1000, f"First token: {target / 1000:g} s is the target of the plan"
    if speed is None or not speed.ttft_ms.high:
        return 0, "First token: no alert, because performance was not estimated"
    limit = ceil(_SLOWER * speed.ttft_ms.high / 100) / 10
    return limit, f"First token: {limit:g} s = {_SLOWER} x the slow end of the estimate ({speed.ttft_ms.high:.0f} ms)"


def _rule(name: str, expression: str, lasting: str, summary: str, *, severity: str = "warning") -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": {"summary": summary},
    }
