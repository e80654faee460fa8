"""
What else is wrong with a pod of Kubernetes: probes, resources, the objects around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_sizing.catalog.check_rules import finding
from vllm_sizing.catalog.names import quote
from vllm_sizing.sources.launch_kubernetes import GPU_RESOURCES, find_gpus
from vllm_sizing.sources.quantities import parse_size
from vllm_sizing.sources.yaml_nodes import Node
from vllm_sizing.units import format_gib

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vllm_sizing.checks.needs import Needs
    from vllm_sizing.sources.launch import Launch
    from vllm_sizing.specs.check import CheckFinding

# What an HTTP server of vLLM answers with 200 when it is well: entrypoints/serve/instrumentator.
_HEALTHY = frozenset({"/health", "/ping", "/version", "/metrics", "/load"})
_GUARDED = "/v1/"
_LEAST_DEADLINE_S = 5
_ROLLOUT_S = 600
_NONE = Node(None, 0)
_KINDS = ("startupProbe", "livenessProbe", "readinessProbe")


def about_pod(
    launch: Launch, pod: Node, container: Node, port: int, values: Mapping[str, Any], needs: Needs | None
) -> Iterator[CheckFinding]:
    """
    Everything that a container and its pod say.
    """
    yield from _resources(container, needs)
    if values.get("headless"):
        for kind in _KINDS:
            probe = container.get(kind)
            if probe is not None and probe.get("httpGet") is not None:
                message = f"{kind} asks a node that serves nothing (headless)"
                yield finding("probe-on-worker", message, line=container.key_line(kind), hint="leave it out")
    else:
        yield from _probes(container, port, needs)
    yield from _security(container, pod)
    yield from _mounts(container, pod, launch.document)


def pre_stop_s(container: Node | None) -> float:
    """
    How long the hook before stopping waits.
    """
    hook = container.get("lifecycle", "preStop") if container is not None else None
    if hook is None:
        return 0.0
    if (seconds := hook.number("sleep", "seconds")) is not None:
        return float(seconds)
    command = " ".join(item.text for item in hook.words("exec", "command")).split()
    after = command[command.index("sleep") + 1 :] if "sleep" in command else []
    return float(after[0]) if after and after[0].isdecimal() else 0.0


def _resources(container: Node, needs: Needs | None) -> Iterator[CheckFinding]:
    gpus = find_gpus(container)
    line = container.key_line("resources")
    if gpus is None or gpus.text in ("", "0"):
        message = "the container has no GPU among its limits: Kubernetes gives it none"
        yield finding("gpu-missing", message, line=line, hint="add nvidia.com/gpu to resources.limits")
    for name in GPU_RESOURCES:
        limit, asked = container.get("resources", "limits", name), container.get("resources", "requests", name)
        if asked is not None and (limit is None or limit.text != asked.text):
            message = f"{name} is requested as {asked.text} and limited to {limit.text if limit else 'nothing'}"
            yield finding("gpu-request-differs", message, line=asked.line, hint="give both the same number")
    cpu = container.get("resources", "limits", "cpu")
    if cpu is not None:
        message = f"the CPU limit of {cpu.text} slows the engine, whose loop spins"
        yield finding("cpu-limit", message, line=cpu.line, hint="keep the request and leave the limit out")
    limit, asked = container.get("resources", "limits", "memory"), container.get("resources", "requests", "memory")
    size = parse_size(limit.text, kubernetes=True) if limit is not None else None
    request = parse_size(asked.text, kubernetes=True) if asked is not None else None
    for node, number in ((limit, size), (asked, request)):
        if node is not None and number is None:
            message = f"{quote(node.text)} is no amount of memory to Kubernetes"
            yield finding("memory-limit", message, line=node.line, hint="write it as 64Gi")
    if limit is not None and size is not None:
        if request is not None and size < request:
            yield finding("memory-limit", "the memory limit is below the request", line=limit.line)
        elif needs is not None and size < needs.memory_bytes:
            message = f"the memory limit is {format_gib(size)}; the server is expected to need "
            message += format_gib(needs.memory_bytes)
            yield finding("memory-limit-tight", message, line=limit.line)


def _probes(container: Node, port: int, needs: Needs | None) -> Iterator[CheckFinding]:
    startup, liveness, readiness = (container.get(kind) for kind in _KINDS)
    for kind, probe in zip(_KINDS, (startup, liveness, readiness), strict=True):
        if probe is not None:
            yield from _asked(kind, probe, container, port)
    if startup is not None:
        yield from _budget("startupProbe", startup, needs)
    elif liveness is not None:
        yield from _budget("livenessProbe", liveness, needs)
    if liveness is None:
        message = "no livenessProbe: a server whose engine died is not restarted"
        yield finding("liveness-missing", message, line=container.line, hint="ask /health every 15 s")
    elif (liveness.number("timeoutSeconds") or 1) < _LEAST_DEADLINE_S:
        message = f"the livenessProbe waits {liveness.number('timeoutSeconds') or 1} s for an answer, "
        message += "and a saturated server takes longer: it is restarted under load"
        yield finding("probe-impatient", message, line=liveness.line, hint="timeoutSeconds: 10")
    if readiness is None:
        message = "no readinessProbe: clients are sent to the server while the model still loads"
        yield finding("readiness-missing", message, line=container.line, hint="ask /health every 5 s")


def _budget(kind: str, probe: Node, needs: Needs | None) -> Iterator[CheckFinding]:
    delay, period = probe.number("initialDelaySeconds") or 0, probe.number("periodSeconds") or 10
    budget = delay + period * (probe.number("failureThreshold") or 3)
    if needs is None or budget >= needs.start_s:
        return
    hint = f"a startupProbe with periodSeconds 10 and failureThreshold {-(-needs.start_s // 10)}"
    if budget < needs.least_start_s:
        message = f"the {kind} restarts the server after {budget} s, and loading alone takes {needs.least_start_s} s"
        yield finding("probe-kills-start", message, line=probe.line, hint=hint)
    else:
        message = f"the {kind} restarts the server after {budget} s; a start may take {needs.start_s} s"
        yield finding("probe-short", message, line=probe.line, hint=hint)


def _asked(kind: str, probe: Node, container: Node, port: int) -> Iterator[CheckFinding]:
    path = probe.get("httpGet", "path")
    if path is not None and path.text.partition("?")[0] not in _HEALTHY:
        guarded = path.text.startswith(_GUARDED)
        reason = "is refused once there is an API key" if guarded else "is not answered by vLLM"
        message = f"the {kind} asks {quote(path.text)}, which {reason}"
        severity = "warning" if guarded else "error"
        yield finding("probe-path", message, line=path.line, hint="ask /health", severity=severity)
    target = probe.get("httpGet", "port") or probe.get("tcpSocket", "port")
    if target is None:
        return
    named = {item.string("name"): item.number("containerPort") for item in container.items("ports")}
    number = target.number() if target.number() is not None else named.get(target.text)
    if number is None:
        message = f"the {kind} asks the port {quote(target.text)}, which the container does not have"
        yield finding("probe-port", message, line=target.line)
    elif number != port:
        message = f"the {kind} asks port {number}, and the server listens on {port}"
        yield finding("probe-port", message, line=target.line)


def _security(container: Node, pod: Node) -> Iterator[CheckFinding]:
    flags = (
        (container.get("securityContext", "privileged"), "privileged gives the container every right of the node"),
        (pod.get("hostNetwork"), "hostNetwork puts the server's internal ports on the node's network"),
        (pod.get("hostPID"), "hostPID shows the container every process of the node"),
    )
    for node, message in flags:
        if node is not None and node.value is True:
            yield finding("privileged", message, line=node.line, hint="leave it out unless the network needs it")
    shared = pod.get("hostIPC")
    if shared is not None and shared.value is True:
        message = "hostIPC shares the node's memory namespace with the container"
        yield finding("host-ipc", message, line=shared.line, hint="mount an emptyDir with medium Memory at /dev/shm")


def _mounts(container: Node, pod: Node, document: Node | None) -> Iterator[CheckFinding]:
    volumes = {volume.string("name") for volume in pod.items("volumes")}
    claims = document.items("spec", "volumeClaimTemplates") if document is not None else []
    volumes |= {claim.string("metadata", "name") for claim in claims}
    mounted = [mount.string("mountPath") for mount in container.items("volumeMounts")]
    for mount in container.items("volumeMounts"):
        if mount.string("name") not in volumes:
            message = f"the volume {quote(mount.string('name'))} is mounted and not declared"
            yield finding("volume-missing", message, line=mount.line)
    if not [path for path in mounted if path and not path.startswith("/dev/")]:
        message = "no volume keeps the weights: every new container downloads them again"
        yield finding("cache-lost", message, line=container.line, hint="mount a claim where HF_HOME points")


def about_objects(documents: Sequence[Node], launches: Sequence[Launch], needs: Needs | None) -> Iterator[CheckFinding]:
    """
    What objects say of each other.
    """
    pods = {
        id(launch.document): launch for launch in launches if launch.pod is not None and launch.document is not None
    }
    for document in documents:
        kind = document.string("kind")
        if kind == "Service":
            yield from _service(document, launches)
            yield from _service_port(document, launches)
        if id(document) in pods:
            yield from _workload(document, needs)


def _service(document: Node, launches: Sequence[Launch]) -> Iterator[CheckFinding]:
    name = document.get("metadata", "name")
    linked = [
        launch
        for launch in launches
        if launch.pod is not None and launch.pod.string("enableServiceLinks").lower() != "false"
    ]
    if name is not None and name.text == "vllm" and linked:
        message = "a service named vllm sets VLLM_PORT=tcp://... in every pod, with which vLLM refuses to start"
        yield finding("service-variable", message, line=name.line, hint="rename it, or set enableServiceLinks: false")


def _service_port(document: Node, launches: Sequence[Launch]) -> Iterator[CheckFinding]:
    """
    Whether the port that a service sends to is one of the containers'.
    """
    selector = {name: node.text for name, node in document.entries("spec", "selector").items()}
    for launch in launches:
        labels = launch.document.entries("spec", "template", "metadata", "labels") if launch.document else {}
        if (
            not selector
            or launch.container is None
            or any(labels.get(name, _NONE).text != text for name, text in selector.items())
        ):
            continue
        ports = launch.container.items("ports")
        known = {str(item.number("containerPort")) for item in ports} | {item.string("name") for item in ports}
        for port in document.items("spec", "ports"):
            target = port.get("targetPort") or port.get("port")
            if ports and target is not None and target.text not in known:
                message = f"the service sends to port {quote(target.text)}, which {launch.name} does not have"
                yield finding("service-port", message, line=target.line)


def _workload(document: Node, needs: Needs | None) -> Iterator[CheckFinding]:
    spec = document.get("spec")
    if spec is None or document.string("kind") not in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"):
        return
    labels = {name: node.text for name, node in spec.entries("template", "metadata", "labels").items()}
    selector = spec.entries("selector", "matchLabels")
    for name, node in selector.items():
        if labels.get(name) != node.text:
            message = f"the selector wants {name}={node.text}, which the pods' labels do not say"
            yield finding("selector-differs", message, line=node.line)
    if document.string("kind") != "Deployment":
        return
    surge = spec.string("strategy", "rollingUpdate", "maxSurge")
    if spec.string("strategy", "type") != "Recreate" and surge not in ("0", "0%"):
        message = "a rollout starts a second server, which waits for the GPUs that the first one holds"
        hint = "strategy: {type: Recreate}, or maxSurge 0, unless GPUs are free"
        yield finding("rollout-stuck", message, line=spec.key_line("strategy"), hint=hint)
    deadline = spec.number("progressDeadlineSeconds") or _ROLLOUT_S
    if needs is not None and deadline < needs.start_s:
        message = f"the rollout is called failed after {deadline} s; a start may take {needs.start_s} s"
        hint = f"progressDeadlineSeconds: {needs.start_s + 900}"
        yield finding("rollout-deadline", message, line=spec.key_line("progressDeadlineSeconds"), hint=hint)
