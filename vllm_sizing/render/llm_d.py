"""
A plan as values of llm-d's modelservice chart (0.4.12), without separate prefill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.render.argv import served_name
from vllm_sizing.render.deployment import deployment
from vllm_sizing.render.helm import check_chart, without
from vllm_sizing.render.hub import hub_address
from vllm_sizing.render.kubernetes import (
    GPU_LABEL,
    SHM_MOUNT,
    TOLERATIONS,
    USAGE,
    affinity_values,
    environment,
    literal,
    probes,
    resources,
    shm_volume,
)
from vllm_sizing.render.yaml import to_yaml
from vllm_sizing.units import GIB, ceil_div

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

_PORT = 8200
_MOUNT = "/model-cache"
# Written by the chart, from modelArtifacts.name and parallelism.
_OWN = ("served_model_name", "tensor_parallel_size", "data_parallel_size")
_USAGE = (
    "Install: helm install NAME llm-d-modelservice/llm-d-modelservice --values llm-d.yaml",
    f"The routing sidecar takes port 8000, vLLM listens on {_PORT}; the chart sets both.",
    "",
)


def llm_d(plan: Plan) -> str:
    """
    The values.

    Raises:
        UnsupportedError: The plan needs several nodes, a model that is not on the Hub, a port of its
            own, or has text that Helm would take for a template.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "llm-d", nodes=("lws", "kuberay"), folders=False)
    check_chart(wanted, "llm-d")
    address = hub_address(wanted, "llm-d")
    checks = probes(wanted)
    lifecycle = checks.pop("lifecycle")
    checks["ports"] = [{"name": "vllm", "containerPort": _PORT}]
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        checks[name]["httpGet"] = {"path": "/health", "port": "vllm"}
    # The chart sets HF_HOME to the volume that it mounts.
    env = [entry for entry in environment(wanted) if entry["name"] != "HF_HOME"]
    container = {
        "name": "vllm",
        "image": wanted.image,
        "modelCommand": "vllmServe",
        "args": list(map(literal, without(plan, wanted, _OWN))),
        "env": env,
        **checks,
        "resources": resources(wanted),
        "mountModelVolume": True,
        "volumeMounts": [SHM_MOUNT],
        "extraConfig": {"lifecycle": lifecycle},
    }
    args = plan.engine_args
    products = affinity_values(wanted)
    values = {
        "modelArtifacts": {
            "name": literal(served_name(plan)),
            "uri": address,
            "size": f"{ceil_div(wanted.disk_bytes, GIB)}Gi",
            "mountPath": _MOUNT,
        },
        "multinode": False,
        "decode": {
            "create": True,
            "replicas": 1,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": wanted.grace_s,
            **({"acceleratorTypes": {"labelKey": GPU_LABEL, "labelValues": products}} if products else {}),
            "tolerations": TOLERATIONS,
            "parallelism": {"tensor": args.tensor_parallel_size or 1, "data": args.data_parallel_size or 1},
            "containers": [container],
            "volumes": [shm_volume(wanted)],
        },
        "prefill": {"create": False},
    }
    return to_yaml(values, comments=(*_USAGE, *USAGE[:3], "", *wanted.notes))
