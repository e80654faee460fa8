"""
A plan as values of the Helm chart of vLLM's production-stack (``vllm-stack`` 0.1.12).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_sizing.catalog.flag_words import read_words
from vllm_sizing.catalog.flags import flag_table
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.deployment import IMAGE, deployment
from vllm_sizing.render.kubernetes import TOLERATIONS, USAGE, affinity, environment, literal, mebibytes
from vllm_sizing.render.yaml import to_yaml
from vllm_sizing.specs.serving import resolve_serving
from vllm_sizing.units import GIB, ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vllm_sizing.render.deployment import Deployment
    from vllm_sizing.specs.plan import Plan

# What the chart writes itself, from keys of its own.
_OWN_KEYS = {
    "max_model_len": "maxModelLen",
    "tensor_parallel_size": "tensorParallelSize",
    "gpu_memory_utilization": "gpuMemoryUtilization",
    "max_num_seqs": "maxNumSeqs",
    "enable_prefix_caching": "enablePrefixCaching",
    "enable_chunked_prefill": "enableChunkedPrefill",
    "dtype": "dtype",
}
# Set in the image or by the chart.
_CHART_SETS = ("HOME", "HF_HOME", "VLLM_CACHE_ROOT")
_USAGE = (
    "Install: helm install NAME vllm/vllm-stack --values production-stack.yaml",
    "The chart leaves 30 s to stop a server: what is still running then is cut off.",
    "It reports a rollout as failed after 1200 s, and goes on waiting.",
    "",
)
# Helm reads numbers of values files as floating point, and writes large ones as 1e+06.
_LARGEST_NUMBER = 999_999


def helm(plan: Plan) -> str:
    """
    The values.

    Raises:
        UnsupportedError: The plan needs several nodes, a folder of one machine, a port of its own, or
            has text that Helm would take for a template.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "helm", nodes=("lws", "kuberay"), folders=False)
    check_chart(wanted, "helm")
    config, extra = _divided(plan, wanted)
    terms: Any = affinity(wanted)
    for key in ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"):
        terms = terms.get(key, {})
    model = {
        "name": _short(wanted.name),
        "annotations": {"vllm-sizing/model": wanted.model},
        "repository": IMAGE,
        "tag": wanted.image.rpartition(":")[2],
        "modelURL": literal(wanted.model),
        "replicaCount": 1,
        "requestCPU": wanted.cpus,
        "requestMemory": mebibytes(wanted.memory_bytes),
        "requestGPU": wanted.gpus,
        "limitMemory": mebibytes(wanted.memory_limit_bytes),
        "pvcStorage": f"{ceil_div(wanted.disk_bytes, GIB)}Gi",
        "pvcAccessMode": ["ReadWriteOnce"],
        "shmSize": f"{wanted.shm_bytes // GIB}Gi",
        "env": [entry for entry in environment(wanted) if entry["name"] not in _CHART_SETS],
        "vllmConfig": {**config, **({"extraArgs": list(map(literal, extra))} if extra else {})},
        **({"nodeSelectorTerms": terms} if terms else {}),
        "tolerations": TOLERATIONS,
    }
    health = {"path": "/health", "port": 8000}
    values = {
        "servingEngineSpec": {
            "imagePullPolicy": "IfNotPresent",
            "strategy": {"type": "Recreate"},
            "startupProbe": {
                "initialDelaySeconds": 0,
                "periodSeconds": 10,
                "failureThreshold": ceil_div(wanted.start_s, 10),
                "httpGet": health,
            },
            "livenessProbe": {
                "initialDelaySeconds": 0,
                "periodSeconds": 15,
                "timeoutSeconds": 10,
                "failureThreshold": 4,
                "httpGet": health,
            },
            "modelSpec": [model],
        },
    }
    return to_yaml(values, comments=(*_USAGE, *USAGE[:3], "", *wanted.notes))


def check_chart(wanted: Deployment, target: str) -> None:
    """
    Refuse what templates would read as something else, and ports that they set themselves.

    Raises:
        UnsupportedError: With the targets that have no templates.
    """
    if any("{{" in word for word in (wanted.model, *wanted.words)):
        message = f"{target} would take {{{{ in the model's name or its arguments for a template; kubernetes can"
        raise UnsupportedError(message, field="emit", value=target)
    if wanted.port != 8000:
        message = f"{target} chooses the port itself, and extra_args set port; kubernetes can"
        raise UnsupportedError(message, field="emit", value=target)


def _divided(plan: Plan, wanted: Deployment) -> tuple[dict[str, Any], list[str]]:
    """
    The arguments that have keys in the chart, and the words of the others.
    """
    _, uses = read_words(list(wanted.words), flag_table(plan.vllm_version), complete=False)
    # Without tensorParallelSize it mounts no /dev/shm; without the other it switches prefix caching off.
    pooling = resolve_serving(plan.model, plan.engine_args)[0] == "pooling"
    config: dict[str, Any] = {"tensorParallelSize": 1, "enablePrefixCaching": not pooling}
    extra: list[str] = []
    for use in uses:
        key = _OWN_KEYS.get(use.flag.dest)
        if key and use.value != -1 and not (isinstance(use.value, int) and use.value > _LARGEST_NUMBER):
            config[key] = use.value
        else:
            extra += use.words
    return config, extra


def _short(name: str) -> str:
    """
    The beginning and the hash: the chart puts two more names around it and 63 characters are all there are.
    """
    slug, _, digest = name.rpartition("-")
    return f"{slug[:24].rstrip('-')}-{digest}"


def without(plan: Plan, wanted: Deployment, flags: Iterable[str]) -> list[str]:
    """
    The words behind the model, less those of some flags.
    """
    _, uses = read_words(list(wanted.words), flag_table(plan.vllm_version), complete=False)
    return [word for use in uses if use.flag.dest not in set(flags) for word in use.words]
