"""
A plan as a RayService of KubeRay: one server over one node or several with Ray Serve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.argv import written_args
from vllm_sizing.render.bench import served_name
from vllm_sizing.render.deployment import deployment
from vllm_sizing.render.helm import check_chart
from vllm_sizing.render.kubernetes import (
    SHM_MOUNT,
    TOLERATIONS,
    USAGE,
    affinity,
    environment,
    metadata,
    resources,
    shm_volume,
)
from vllm_sizing.render.yaml import to_yaml
from vllm_sizing.specs.engine import thaw

if TYPE_CHECKING:
    from vllm_sizing.render.deployment import Deployment
    from vllm_sizing.specs.plan import Plan

_RAY = "2.50.0"
_IMAGE = f"rayproject/ray-llm:{_RAY}-py311-cu128"
# Of the server, or of launching it without Ray.
_NOT_ENGINE = ("extra_args", "served_model_name", "nnodes", "distributed_executor_backend")
_USAGE = (
    "Needs the KubeRay operator 1.7. Head and workers must have the same image.",
    f"CHECK FIRST: the vLLM inside {_IMAGE} must be the planned version (below),",
    "or its memory differs from the plan: python -c 'import vllm; print(vllm.__version__)'",
    "Ray Serve drains by its own settings; --shutdown-timeout does not apply.",
    "",
)


def kuberay(plan: Plan) -> str:
    """
    The object.

    Raises:
        UnsupportedError: Arguments that are passed through, or a model in a folder of one machine.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "kuberay", folders=False)
    check_chart(wanted, "kuberay")
    if plan.engine_args.extra_args:
        message = "kuberay takes the engine's arguments only, and extra_args may be others; kubernetes, lws can"
        raise UnsupportedError(message, field="emit", value="kuberay")
    spec = {
        "serveConfigV2": to_yaml(_application(plan, wanted)),
        "rayClusterConfig": {
            "rayVersion": _RAY,
            "headGroupSpec": {
                # The head computes nothing.
                "rayStartParams": {"num-gpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104
                "template": {"spec": _pod(wanted, head=True)},
            },
            "workerGroupSpecs": [
                {
                    "groupName": "gpu",
                    "replicas": wanted.num_nodes,
                    "minReplicas": wanted.num_nodes,
                    "maxReplicas": wanted.num_nodes,
                    "numOfHosts": 1,
                    "rayStartParams": {},
                    "template": {"spec": _pod(wanted, head=False)},
                }
            ],
        },
    }
    document = {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": metadata(wanted), "spec": spec}
    return to_yaml(document, comments=(*_USAGE, *USAGE[:3], "", *wanted.notes))


def _application(plan: Plan, wanted: Deployment) -> dict[str, Any]:
    given = written_args(plan).fixed()
    kwargs = {name: thaw(value) for name, value in given.items() if name not in _NOT_ENGINE}
    if wanted.revision:
        kwargs.setdefault("revision", wanted.revision)
    kwargs["distributed_executor_backend"] = "ray"
    config = {
        "model_loading_config": {"model_id": served_name(plan), "model_source": wanted.model},
        "engine_kwargs": kwargs,
        "deployment_config": {"autoscaling_config": {"min_replicas": 1, "max_replicas": 1}},
    }
    application = {
        "name": "llm",
        "route_prefix": "/",
        "import_path": "ray.serve.llm:build_openai_app",
        "args": {"llm_configs": [config]},
    }
    return {"applications": [application]}


def _pod(wanted: Deployment, *, head: bool) -> dict[str, Any]:
    own = {"cpu": "4", "memory": "8Gi"}
    env = [entry for entry in environment(wanted) if entry["name"] in {"VLLM_NO_USAGE_STATS", "HF_TOKEN"}]
    container = {
        "name": "ray-head" if head else "ray-worker",
        "image": _IMAGE,
        "env": env,
        "resources": {"requests": own, "limits": {"memory": own["memory"]}} if head else resources(wanted),
    }
    common = {"enableServiceLinks": False, "automountServiceAccountToken": False}
    if head:
        return {**common, "containers": [container]}
    container["volumeMounts"] = [SHM_MOUNT]
    return {
        **common,
        "terminationGracePeriodSeconds": wanted.grace_s,
        **affinity(wanted),
        "tolerations": TOLERATIONS,
        "containers": [container],
        "volumes": [shm_volume(wanted)],
    }
