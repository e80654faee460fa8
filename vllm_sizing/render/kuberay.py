"""
A plan as a RayService of KubeRay: one server over one node or several with Ray Serve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_sizing.catalog.flags import flag_table
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.argv import argument_groups, served_name, written_args
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
    from vllm_sizing.catalog.flags import Release
    from vllm_sizing.render.deployment import Deployment
    from vllm_sizing.specs.plan import Plan

# Ray's release, and the vLLM that its extra "llm" asks for (its metadata on PyPI), which is in its image.
_RELEASES: tuple[tuple[str, Release], ...] = (
    ("2.49.2", (0, 10, 0)),
    ("2.50.1", (0, 10, 2)),
    ("2.52.1", (0, 11, 0)),
    ("2.53.0", (0, 12, 0)),
    ("2.54.0", (0, 15, 0)),
    ("2.55.0", (0, 18, 0)),
    ("2.56.0", (0, 22, 0)),
    ("2.57.0", (0, 25, 1)),
    ("2.58.0", (0, 26, 0)),
    ("2.60.0", (0, 27, 0)),
)
# Of the server, or of launching it without Ray.
_NOT_ENGINE = ("extra_args", "served_model_name", "nnodes", "distributed_executor_backend")
_USAGE = (
    "Needs the KubeRay operator 1.7. Head and workers must have the same image.",
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
    ray, inside = _ray(plan)
    image = f"rayproject/ray-llm:{ray}-py311-cu128"
    spec = {
        "serveConfigV2": to_yaml(_application(plan, wanted)),
        "rayClusterConfig": {
            "rayVersion": ray,
            "headGroupSpec": {
                # The head computes nothing.
                "rayStartParams": {"num-gpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104
                "template": {"spec": _pod(wanted, image, head=True)},
            },
            "workerGroupSpecs": [
                {
                    "groupName": "gpu",
                    "replicas": wanted.num_nodes,
                    "minReplicas": wanted.num_nodes,
                    "maxReplicas": wanted.num_nodes,
                    "numOfHosts": 1,
                    "rayStartParams": {},
                    "template": {"spec": _pod(wanted, image, head=False)},
                }
            ],
        },
    }
    document = {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": metadata(wanted), "spec": spec}
    return to_yaml(document, comments=(*_image_notes(plan, image, inside), *_USAGE, *USAGE[:3], "", *wanted.notes))


def _ray(plan: Plan) -> tuple[str, str]:
    """
    The newest Ray whose image has a vLLM that is no newer than the planned one, and which that is.

    Raises:
        UnsupportedError: That vLLM lacks an argument of the plan.
    """
    planned = flag_table(plan.vllm_version).release
    ray, inside = next(found for found in reversed(_RELEASES) if found[1] <= planned)
    version = ".".join(map(str, inside))
    try:
        argument_groups(written_args(plan), version)
    except UnsupportedError as error:
        message = f"kuberay's image has vLLM {version}: {error.message}; lws can"
        raise UnsupportedError(message, field="emit", value="kuberay") from None
    return ray, version


def _image_notes(plan: Plan, image: str, inside: str) -> tuple[str, ...]:
    if inside == ".".join(map(str, flag_table(plan.vllm_version).release)):
        return (f"{image} has vLLM {inside}, the planned version.", "")
    return (
        f"WARNING: {image}, the nearest known here, has vLLM {inside}, not {plan.vllm_version}.",
        f"Build an image from it with vLLM {plan.vllm_version} and name that, or plan with vllm_version {inside}.",
        "",
    )


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


def _pod(wanted: Deployment, image: str, *, head: bool) -> dict[str, Any]:
    own = {"cpu": "4", "memory": "8Gi"}
    env = [entry for entry in environment(wanted) if entry["name"] in {"VLLM_NO_USAGE_STATS", "HF_TOKEN"}]
    container = {
        "name": "ray-head" if head else "ray-worker",
        "image": image,
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
