"""
A plan as Kubernetes objects: claim, account, server, service, disruption budget, network policy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from vllm_sizing.render.deployment import PRE_STOP_S, UID, deployment
from vllm_sizing.render.yaml import to_yaml
from vllm_sizing.units import GIB, MIB, ceil_div

if TYPE_CHECKING:
    from vllm_sizing.render.deployment import Deployment
    from vllm_sizing.specs.plan import Plan

GPU = "nvidia.com/gpu"
GPU_LABEL = f"{GPU}.product"
SECRET_OF_HUB, SECRET_OF_CLIENTS = "hf-token", "vllm-api-key"
CLIENT = "llm-client"
TOLERATIONS = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
SHM_MOUNT = {"name": "shm", "mountPath": "/dev/shm"}  # noqa: S108
SCRATCH_GIB = 10  # logs, and what compilers leave outside the cache
# Labels hold 63 characters of few kinds; the model's whole name is an annotation.
MODEL_ANNOTATION = "vllm-sizing/model"
_APP = "app.kubernetes.io/name"
ROLE = "vllm-sizing/role"


def kubernetes(plan: Plan, *, target: str = "kubernetes") -> str:
    """
    The objects, one document each; apply them to a namespace.

    Args:
        target: What a refusal names.

    Raises:
        UnsupportedError: The plan needs several nodes, or a folder of one machine.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, target, nodes=("lws", "kuberay"), folders=False)
    return to_yaml(*objects(wanted), comments=(*USAGE, *wanted.notes))


USAGE = (
    "The secrets are optional and stay outside; each command reads one from standard input:",
    f"  kubectl create secret generic {SECRET_OF_HUB} --from-file=token=/dev/stdin",
    f"  kubectl create secret generic {SECRET_OF_CLIENTS} --from-file=key=/dev/stdin",
    f'Pods with the label {CLIENT}: "true" may connect.',
    "",
)


def objects(wanted: Deployment) -> list[dict[str, Any]]:
    """
    The objects of a server on one node, in the order in which they are to be made.
    """
    spec = {
        "replicas": 1,
        # An image of 10 GiB comes before the start itself.
        "progressDeadlineSeconds": wanted.start_s + 900,
        # A second server would wait for GPUs and for the claim that the first one holds.
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {_APP: wanted.name}},
        "template": {"metadata": metadata(wanted, name=None), "spec": pod(wanted)},
    }
    return [
        claim(wanted, "ReadWriteOnce"),
        account(wanted),
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(wanted), "spec": spec},
        service(wanted),
        budget(wanted),
        policy(wanted),
    ]


def metadata(wanted: Deployment, *, name: str | None = "") -> dict[str, Any]:
    """
    Name (None: none, for a template), labels and the model's whole name.
    """
    return {
        **({} if name is None else {"name": name or wanted.name}),
        "labels": {_APP: wanted.name},
        "annotations": {MODEL_ANNOTATION: wanted.model},
    }


def server_labels(wanted: Deployment) -> dict[str, str]:
    """
    The labels of the pods that answer requests: of several nodes, the first.
    """
    return {_APP: wanted.name, **({ROLE: "leader"} if wanted.num_nodes > 1 else {})}


def claim(wanted: Deployment, mode: str) -> dict[str, Any]:
    """
    Where weights and compiled graphs outlive a pod.
    """
    size = f"{ceil_div(wanted.disk_bytes, GIB)}Gi"
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    named = metadata(wanted, name=f"{wanted.name}-cache")
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": named, "spec": spec}


def account(wanted: Deployment) -> dict[str, Any]:
    """
    An account without rights.
    """
    named = metadata(wanted)
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": named, "automountServiceAccountToken": False}


def service(wanted: Deployment, selector: dict[str, str] | None = None) -> dict[str, Any]:
    """
    Inside the cluster only.
    """
    spec = {
        "type": "ClusterIP",
        "selector": selector or {_APP: wanted.name},
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(wanted), "spec": spec}


def budget(wanted: Deployment) -> dict[str, Any]:
    """
    minAvailable would block the drain of a node where there is one replica.
    """
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {_APP: wanted.name}}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(wanted), "spec": spec}


def policy(wanted: Deployment, *, group: bool = False) -> dict[str, Any]:
    """
    Clients and monitoring reach the server's port; pods of a group reach each other.
    """
    clients = [
        {"podSelector": {"matchLabels": {CLIENT: "true"}}},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
    ]
    ingress: list[dict[str, Any]] = [{"from": clients, "ports": [{"protocol": "TCP", "port": "http"}]}]
    if group:
        ingress.append({"from": [{"podSelector": {"matchLabels": {_APP: wanted.name}}}]})
    spec = {
        "podSelector": {"matchLabels": {_APP: wanted.name}},
        "policyTypes": ["Ingress"],
        "ingress": ingress,
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(wanted),
        "spec": spec,
    }


def pod(wanted: Deployment, extra_args: tuple[str, ...] = (), *, serves: bool = True) -> dict[str, Any]:
    """
    The pod of a server, or of a node that only computes for one.

    Args:
        extra_args: Behind the plan's own, with ``$(VARIABLE)`` for Kubernetes to fill in.

        serves: It answers requests, and so has a port and probes.
    """
    container = {
        "name": "server",
        "image": wanted.image,
        "args": [*map(literal, wanted.args), *extra_args],
        "env": environment(wanted),
        **(probes(wanted) if serves else {}),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": resources(wanted),
        "volumeMounts": [
            SHM_MOUNT,
            {"name": "cache", "mountPath": wanted.cache},
        ],
    }
    return {
        # A service named vllm would set VLLM_PORT, which vLLM reads as a port of its own.
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "serviceAccountName": wanted.name,
        "terminationGracePeriodSeconds": wanted.grace_s,
        "securityContext": security(wanted),
        **affinity(wanted),
        "tolerations": TOLERATIONS,
        "containers": [container],
        "volumes": [
            shm_volume(wanted),
            {"name": "cache", "persistentVolumeClaim": {"claimName": f"{wanted.name}-cache"}},
        ],
    }


def affinity(wanted: Deployment) -> dict[str, Any]:
    """
    Nodes whose GPU is the planned one.
    """
    values = affinity_values(wanted)
    if not values:
        return {}
    term = {"matchExpressions": [{"key": GPU_LABEL, "operator": "In", "values": values}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": required}}


def affinity_values(wanted: Deployment) -> list[str]:
    """
    What NVIDIA's GPU feature discovery writes into `GPU_LABEL` of such a node; empty: not known.
    """
    labels = [name.replace(" ", "-") for name in wanted.products]
    return [label for label in labels if re.fullmatch(r"NVIDIA-[A-Za-z0-9._-]{1,54}[A-Za-z0-9]", label)]


def shm_volume(wanted: Deployment, name: str = "shm") -> dict[str, Any]:
    """
    Shared memory as large as vLLM's start needs; it counts against the memory limit when touched.
    """
    return {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": f"{wanted.shm_bytes // GIB}Gi"}}


def literal(word: str) -> str:
    """
    A word that Kubernetes passes on as it is: it would replace ``$(NAME)``.

    >>> literal("$(HF_TOKEN)")
    '$$(HF_TOKEN)'
    """
    return word.replace("$", "$$")


def security(wanted: Deployment) -> dict[str, Any]:
    """
    Of the pod: the image's own account, where it has one.
    """
    who = {"runAsNonRoot": True, "runAsUser": UID, "runAsGroup": 0, "fsGroup": 0} if wanted.user else {}
    return {**who, "seccompProfile": {"type": "RuntimeDefault"}}


def environment(wanted: Deployment) -> list[dict[str, Any]]:
    """
    Settings as values, secrets as references.
    """
    references = (("HF_TOKEN", SECRET_OF_HUB, "token"), ("VLLM_API_KEY", SECRET_OF_CLIENTS, "key"))
    return [
        *({"name": name, "value": value} for name, value in wanted.environment),
        *(
            {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": True}}}
            for name, secret, key in references
        ),
    ]


def probes(wanted: Deployment) -> dict[str, Any]:
    """
    The port, what is asked of it, and the pause in which routers forget a pod that is to stop.
    """
    health = {"httpGet": {"path": "/health", "port": "http"}}
    pause = ["sleep", str(PRE_STOP_S)]
    return {
        "ports": [{"name": "http", "containerPort": wanted.port}],
        "startupProbe": {**health, "periodSeconds": 10, "failureThreshold": ceil_div(wanted.start_s, 10)},
        # A saturated server misses short deadlines.
        "livenessProbe": {**health, "periodSeconds": 15, "timeoutSeconds": 10, "failureThreshold": 4},
        "readinessProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        # Not preStop.sleep, which is younger (1.29) than clusters that still run.
        "lifecycle": {"preStop": {"exec": {"command": pause}}},
    }


def resources(wanted: Deployment) -> dict[str, Any]:
    """
    GPUs as many as the plan uses on a node; memory that files may fill; no limit for spinning engines.
    """
    gpus = {GPU: str(wanted.gpus)}
    return {
        "requests": {
            "cpu": str(wanted.cpus),
            "memory": mebibytes(wanted.memory_bytes),
            "ephemeral-storage": f"{SCRATCH_GIB}Gi",
            **gpus,
        },
        "limits": {"memory": mebibytes(wanted.memory_limit_bytes), **gpus},
    }


def mebibytes(num_bytes: int) -> str:
    """
    A quantity of Kubernetes.

    >>> mebibytes(3 * 2**30)
    '3072Mi'
    """
    return f"{ceil_div(num_bytes, MIB)}Mi"
