"""
The servers of Kubernetes objects: whatever has containers, wherever in the object they stand.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from vllm_sizing.sources.gpu_labels import one_gpu
from vllm_sizing.sources.launch import Launch, Variable, Word, finding
from vllm_sizing.sources.launch_command import DEFAULT_SHM_BYTES, find_program, parse_commands
from vllm_sizing.sources.quantities import parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.sources.yaml_nodes import Node
    from vllm_sizing.specs.check import CheckFinding

_REFERENCE = re.compile(r"\$(\$?)\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu")
_GPU_LABELS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "gpu.nvidia.com/model",
    "amd.com/gpu.product-name",
    "accelerator",
)
_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+")
_GRACE_S = 30.0  # of Kubernetes


class _Pod(NamedTuple):
    """
    A pod and where it stands.

    Attributes:
        nodes: Pods that run one server together.
    """

    spec: Node
    path: tuple[str, ...]
    nodes: int


def parse_kubernetes(document: Node) -> list[Launch]:
    """
    One launch for each container that runs vLLM.

    >>> from vllm_sizing.sources.yaml_nodes import parse_nodes
    >>> text = '''
    ... kind: Pod
    ... metadata: {name: p}
    ... spec: {containers: [{name: c, image: vllm/vllm-openai:v0.33.0, args: [m, --port, $(PORT)],
    ...   env: [{name: PORT, value: "80"}], resources: {limits: {nvidia.com/gpu: 2}}}]}'''
    >>> launch = parse_kubernetes(parse_nodes(text)[0])[0]
    >>> launch.name, launch.num_gpus, [word.text for word in launch.words]
    ('p/c', 2, ['m', '--port', '80'])
    """
    if document.string("kind") == "List":
        return [launch for item in document.items("items") for launch in parse_kubernetes(item)]
    launches = []
    for pod in _pods(document):
        for container in pod.spec.items("containers"):
            launch = _launch(container, pod, document)
            if launch is not None:
                launches.append(launch)
    return launches


def _pods(document: Node) -> Iterator[_Pod]:
    pending: list[tuple[Node, tuple[str, ...]]] = [(document, ())]
    while pending:
        node, path = pending.pop(0)
        if node.items("containers"):
            yield _Pod(node, path, _nodes(document, path))
        elif isinstance(node.value, dict):
            pending += [(item, (*path, name)) for name, item in node.value.items()]
        elif isinstance(node.value, list):
            pending += [(item, (*path, "")) for item in node.value]


def _nodes(document: Node, path: tuple[str, ...]) -> int:
    """
    Of a LeaderWorkerSet, wherever it is inside another object.
    """
    if "leaderWorkerTemplate" not in path:
        return 1
    group = document.get(*path[: path.index("leaderWorkerTemplate") + 1])
    return (group.number("size") if group is not None else None) or 1


def _launch(container: Node, pod: _Pod, document: Node) -> Launch | None:
    environment = tuple(parse_environment(container))
    known = {variable.name: variable.value for variable in environment if variable.value is not None}
    if "leaderWorkerTemplate" in pod.path:
        known |= {"LWS_GROUP_SIZE": str(pod.nodes)}
    called = [_word(item, known) for key in ("command", "args") for item in container.words(key)]
    served = find_program([word.text for word in called])
    wrapped = False
    if served is None:
        inner = behind_shell(called)
        if inner is not None:
            served, called, wrapped = (0, inner.program), list(inner.words), True
    image = container.get("image")
    if served is None and (not called or image is None or "vllm" not in image.text.lower() or container.get("command")):
        return None
    first, program = served or (0, "image")
    gpus = find_gpus(container)
    shm, shm_line = find_shm(pod.spec, container)
    grace = pod.spec.get("terminationGracePeriodSeconds")
    name = document.string("metadata", "name") or document.string("kind").lower() or "pod"
    return Launch(
        "kubernetes",
        f"{name}/{container.string('name') or 'container'}",
        container.line,
        tuple(called[first:]),
        program,
        image=image.text if image else "",
        image_line=image.line if image else container.line,
        environment=environment,
        num_gpus=gpus.number() if gpus is not None else None,
        gpu_line=gpus.line if gpus is not None else container.line,
        gpu="" if gpu_slice(container) else find_gpu_label(pod.spec),
        num_nodes=pod.nodes,
        shm_bytes=shm,
        shm_line=shm_line,
        grace_s=float(grace.text) if grace is not None and grace.number() is not None else _GRACE_S,
        grace_line=grace.line if grace is not None else pod.spec.line,
        pod=pod.spec,
        container=container,
        document=document,
        wrapped=wrapped,
        entrypoint=container.get("command") is None,
        findings=tuple(_numbers(container)),
    )


def _numbers(container: Node) -> Iterator[CheckFinding]:
    """
    Arguments and values of variables that are no text to Go's reader of YAML, which Kubernetes uses.
    """
    values = [value for entry in container.items("env") if (value := entry.get("value")) is not None]
    for item in (*container.words("command"), *container.words("args"), *values):
        if (not isinstance(item.value, str) and item.value is not None) or (item.bare and _NUMBER.fullmatch(item.text)):
            message = f"{item.text} is a number or a truth value to Kubernetes, which takes text only"
            yield finding("number-in-args", message, line=item.line, hint=f'write "{item.text}"')


def _word(item: Node, known: dict[str, str]) -> Word:
    """
    With ``$(NAME)`` put in, as Kubernetes does it.
    """
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        if match[2] not in known:
            missing.append(match[0])
        return known.get(match[2], match[0])

    return Word(_REFERENCE.sub(value, item.text), item.first_line or item.line, missing[0] if missing else "")


def parse_environment(container: Node) -> Iterator[Variable]:
    """
    The variables of a container; those that come from elsewhere have no value.
    """
    for entry in container.items("env"):
        value = entry.get("value")
        name = entry.string("name")
        if name:
            text = None if value is None or entry.get("valueFrom") is not None else value.text
            yield Variable(name, text, (value or entry).line)


def behind_shell(called: list[Word]) -> Launch | None:
    """
    What ``sh -c`` would start, if a container is told to run that.
    """
    for at, word in enumerate(called):
        if re.fullmatch(r"-[a-z]*c", word.text) and at + 1 < len(called):
            inner = parse_commands(called[at + 1].text, first_line=called[at + 1].line)
            return inner[0] if inner else None
    return None


def find_gpus(container: Node) -> Node | None:
    """
    The number of GPUs that a container is limited to.
    """
    for name, node in container.entries("resources", "limits").items():
        if name in GPU_RESOURCES or name.startswith("nvidia.com/mig-"):
            return node
    return None


def gpu_slice(container: Node) -> bool:
    """
    Whether it gets a part of a GPU (MIG), which is not what the node's label names.
    """
    return any(name.startswith("nvidia.com/mig-") for name in container.entries("resources", "limits"))


def find_shm(pod: Node, container: Node) -> tuple[int | None, int]:
    """
    The size of /dev/shm and its line; None: only the node's memory limits it.
    """
    for mount in container.items("volumeMounts"):
        if mount.string("mountPath").rstrip("/") == "/dev/shm":  # noqa: S108
            for volume in pod.items("volumes"):
                if volume.string("name") == mount.string("name"):
                    limit = volume.get("emptyDir", "sizeLimit")
                    size = parse_size(limit.text, kubernetes=True) if limit is not None else None
                    return size, (limit or volume).line
            return None, mount.line
    host = pod.get("hostIPC")
    if host is not None and host.value is True:
        return None, host.line
    return DEFAULT_SHM_BYTES, container.line


def find_gpu_label(pod: Node) -> str:
    """
    The kind of GPU that the pod's nodes are chosen by; empty if that does not tell one.
    """
    values: set[str] = set()
    for label in _GPU_LABELS:
        if text := pod.string("nodeSelector", label):
            values.add(text)
    required = pod.get("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    for term in required.items("nodeSelectorTerms") if required is not None else []:
        for expression in term.items("matchExpressions"):
            if expression.string("key") in _GPU_LABELS and expression.string("operator") == "In":
                values |= {item.text for item in expression.words("values")}
    return one_gpu(values)
