"""
A plan for KServe 0.20: an InferenceService on its vLLM runtime, or an LLMInferenceService.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.argv import served_name
from vllm_sizing.render.deployment import deployment
from vllm_sizing.render.helm import check_chart, without
from vllm_sizing.render.hub import hub_address
from vllm_sizing.render.kubernetes import (
    SCRATCH_GIB,
    SHM_MOUNT,
    TOLERATIONS,
    USAGE,
    affinity,
    environment,
    literal,
    metadata,
    probes,
    resources,
    shm_volume,
)
from vllm_sizing.render.yaml import to_yaml
from vllm_sizing.units import GIB, ceil_div

if TYPE_CHECKING:
    from vllm_sizing.render.deployment import Deployment
    from vllm_sizing.specs.plan import Plan

_PORT = 8080
# What a shell that evaluates the arguments once more could act on, even if quoted once.
_EVALUATED = re.compile(r"[$`\\;|&<>()'\n!*?#~]")
_BARE = re.compile(r"[A-Za-z0-9._/:@+-]+")
_WEIGHTS = (
    "For gated models KServe itself needs the token: a secret with HF_TOKEN at the service account that it uses.",
    "KServe fetches the weights to /mnt/models, at the pinned revision, before the server starts.",
    "Apply one of inferenceservice.yaml and llminferenceservice.yaml.",
    "",
)


def kserve(plan: Plan) -> dict[str, str]:
    """
    Both objects, each in its file.

    Raises:
        UnsupportedError: The plan needs several nodes, a model that is not on the Hub, a port of its
            own, or an argument that KServe's shell would evaluate.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "kserve", nodes=("lws", "kuberay"), folders=False)
    check_chart(wanted, "kserve")
    revision = plan.engine_args.revision or wanted.revision
    address = hub_address(wanted, "kserve") + (f":{revision}" if revision else "")
    words = [*without(plan, wanted, ("revision", "served_model_name")), "--served-model-name", served_name(plan)]
    comments = (*_WEIGHTS, *USAGE[:3], "", *wanted.notes)
    return {
        "inferenceservice.yaml": to_yaml(_inference_service(wanted, address, words), comments=comments),
        "llminferenceservice.yaml": to_yaml(_llm_inference_service(plan, wanted, address, words), comments=comments),
    }


def _inference_service(wanted: Deployment, address: str, words: list[str]) -> dict[str, Any]:
    checks = probes(wanted)
    checks.pop("ports")
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        checks[name]["httpGet"] = {"path": "/health", "port": _PORT}
    model = {
        "modelFormat": {"name": "vLLM"},
        "runtimeVersion": wanted.image.rpartition(":")[2],
        "storageUri": address,
        "args": list(map(literal, words)),
        "env": environment(wanted),
        **checks,
        "resources": _with_disk(wanted),
        "volumeMounts": [SHM_MOUNT],
    }
    modes = {"serving.kserve.io/deploymentMode": "Standard", "serving.kserve.io/autoscalerClass": "none"}
    named = metadata(wanted)
    named["annotations"].update(modes)
    predictor = {
        "minReplicas": 1,
        "maxReplicas": 1,
        "deploymentStrategy": {"type": "Recreate"},
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": wanted.grace_s,
        **affinity(wanted),
        "tolerations": TOLERATIONS,
        "model": model,
        "volumes": [shm_volume(wanted)],
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": named,
        "spec": {"predictor": predictor},
    }


def _llm_inference_service(plan: Plan, wanted: Deployment, address: str, words: list[str]) -> dict[str, Any]:
    own = words[:-2]  # the object's model.name is the served name, which the preset puts into the same shell text
    if any(map(_EVALUATED.search, own)) or not _BARE.fullmatch(words[-1]):
        message = "kserve evaluates the arguments in a shell, and one has characters of it; kubernetes can"
        raise UnsupportedError(message, field="emit", value="kserve")
    env = [{"name": "VLLM_ADDITIONAL_ARGS", "value": shlex.join(own)}, *environment(wanted)]
    # The preset serves with a certificate of its own.
    probe = {"httpGet": {"path": "/health", "port": 8000, "scheme": "HTTPS"}, "periodSeconds": 10}
    container = {
        "name": "main",
        "image": wanted.image,
        "env": env,
        "startupProbe": {**probe, "failureThreshold": ceil_div(wanted.start_s, 10)},
        "resources": _with_disk(wanted),
    }
    spec = {
        "model": {"uri": address, "name": served_name(plan)},
        "replicas": 1,
        "router": {"gateway": {}, "route": {}, "scheduler": {}},
        "template": {
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": wanted.grace_s,
            **affinity(wanted),
            "tolerations": TOLERATIONS,
            "containers": [container],
            # The preset's own volume, 1Gi there.
            "volumes": [shm_volume(wanted, "dshm")],
        },
    }
    return {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": metadata(wanted),
        "spec": spec,
    }


def _with_disk(wanted: Deployment) -> dict[str, Any]:
    """
    The weights lie on the node's disk, not on a claim.
    """
    given = resources(wanted)
    given["requests"]["ephemeral-storage"] = f"{ceil_div(wanted.disk_bytes, GIB) + SCRATCH_GIB}Gi"
    return given
