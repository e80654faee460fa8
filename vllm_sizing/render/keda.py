"""
A plan as a ScaledObject of KEDA: more servers when requests wait or the KV cache fills.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_sizing.render.deployment import deployment, plan_notes
from vllm_sizing.render.kubernetes import metadata
from vllm_sizing.render.prometheus import queue_limit, series
from vllm_sizing.render.yaml import to_yaml

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

_PROMETHEUS = "http://prometheus-operated.monitoring.svc:9090"
_CACHE_SHARE = "0.6"
_POLL_S = 30
_USAGE = (
    f"Needs KEDA 2 and Prometheus at {_PROMETHEUS} (set your own address).",
    "Servers on several nodes share the claim: set its accessModes to ReadWriteMany before the first apply.",
    "Plain CPU metrics say nothing: the engines spin.",
    "",
)


def keda(plan: Plan) -> str:
    """
    The object; it scales the Deployment of `kubernetes`, or the set of `lws` if the plan needs several nodes.

    Raises:
        UnsupportedError: What `deployment` cannot express.
    """
    wanted = deployment(plan, "keda", folders=False)
    queue, queue_note = queue_limit(plan)
    have = plan.cluster.num_gpus * plan.cluster.num_nodes
    most = max(2, have // plan.num_gpus)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": wanted.name}
    if wanted.num_nodes > 1:
        target |= {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet"}
    spec = {
        "scaleTargetRef": target,
        "minReplicaCount": 1,
        "maxReplicaCount": most,
        "pollingInterval": _POLL_S,
        "cooldownPeriod": wanted.start_s,
        "advanced": {
            "horizontalPodAutoscalerConfig": {
                "behavior": {
                    "scaleUp": {"stabilizationWindowSeconds": 60},
                    # One server at a time, and none before it could have paid for its own start.
                    "scaleDown": {
                        "stabilizationWindowSeconds": min(3600, wanted.start_s),
                        "policies": [{"type": "Pods", "value": 1, "periodSeconds": max(60, wanted.grace_s)}],
                    },
                },
            },
        },
        "triggers": [
            _trigger(f"sum({series(plan, 'num_requests_waiting')})", str(queue), "AverageValue"),
            _trigger(f"avg({series(plan, 'kv_cache_usage_perc')})", _CACHE_SHARE, "Value"),
        ],
    }
    document = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(wanted),
        "spec": spec,
    }
    notes = (
        queue_note,
        f"Replicas: at most {most}, of {plan.num_gpus} GPUs each; the plan knows of {have} GPUs. At least 2, so that",
        "it scales at all: pods beyond the GPUs that there are stay pending.",
        f"Cooldown: {wanted.start_s} s, what a start may take.",
        f"KV cache: a new server at {_CACHE_SHARE} of the cache in use, because it takes that long to start.",
        "",
    )
    return to_yaml(document, comments=(*_USAGE, *notes, *plan_notes(plan)))


def _trigger(query: str, threshold: str, kind: str) -> dict[str, Any]:
    # An empty answer is that of a server that has not started, not a reason to fail.
    about = {"serverAddress": _PROMETHEUS, "query": query, "threshold": threshold, "ignoreNullValues": "true"}
    return {"type": "prometheus", "metricType": kind, "metadata": about}
