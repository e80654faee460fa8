"""
The servers of a Compose file; neither ``include`` nor ``env_file`` is opened.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vllm_sizing.sources.launch import Launch, Variable, Word, finding
from vllm_sizing.sources.launch_command import (
    DEFAULT_SHM_BYTES,
    find_program,
    host_ipc,
    parse_commands,
    published_widely,
    wide_open,
)
from vllm_sizing.sources.quantities import parse_seconds, parse_size
from vllm_sizing.sources.shell_text import parse_script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.sources.yaml_nodes import Node
    from vllm_sizing.specs.check import CheckFinding

_VARIABLE = re.compile(r"\$(\$|\{[^}]*\}|[A-Za-z_][A-Za-z0-9_]*)")
_GPU_ALONE = ("gpus", "device_requests")


def parse_compose(document: Node) -> list[Launch]:
    """
    One launch for each service that runs vLLM.

    >>> from vllm_sizing.sources.yaml_nodes import parse_nodes
    >>> text = "services: {a: {image: 'vllm/vllm-openai:v0.33.0', command: [m, -tp, '2'], gpus: all}}"
    >>> [word.text for word in parse_compose(parse_nodes(text)[0])[0].words]
    ['m', '-tp', '2']
    """
    launches = []
    for name, service in document.entries("services").items():
        launch = _launch(name, service, document)
        if launch is not None:
            launches.append(launch)
    return launches


def _launch(name: str, service: Node, document: Node) -> Launch | None:
    called = [*_words(service, "entrypoint"), *_words(service, "command")]
    image = _resolve(service.string("image"))
    served = find_program([word.text for word in called])
    wrapped = False
    if served is None:
        inner = _behind_shell(called)
        if inner is not None:
            served, called, wrapped = (0, inner.program), list(inner.words), True
    if served is None and ("vllm" not in image[0].lower() or "entrypoint" in service.entries()):
        return None
    first, program = served or (0, "image")
    image_node = service.get("image")
    gpus, gpu_line, said = _gpus(service)
    ipc = service.string("ipc")
    shm_node, grace = service.get("shm_size"), service.get("stop_grace_period")
    shm = parse_size(shm_node.text) if shm_node is not None else DEFAULT_SHM_BYTES
    found = list(_remarks(service, document))
    if not said:
        message = f"service {name} reserves no GPU"
        hint = "reserve devices under deploy.resources.reservations with driver nvidia, count and capabilities [gpu]"
        found.append(finding("gpu-missing", message, line=service.line, hint=hint))
    return Launch(
        "compose",
        name,
        _line_of(document, name),
        tuple(called[first:]),
        program,
        image=image[0],
        image_line=image_node.line if image_node else service.line,
        environment=tuple(_environment(service)),
        num_gpus=gpus,
        gpu_line=gpu_line,
        shm_bytes=None if ipc in ("host", "shareable") and shm_node is None else shm,
        shm_line=shm_node.line if shm_node else service.line,
        grace_s=parse_seconds(grace.text) if grace is not None else 10.0,
        grace_line=grace.line if grace is not None else service.line,
        container=service,
        document=document,
        wrapped=wrapped,
        entrypoint=service.get("entrypoint") is None,
        devices=tuple(
            item.text
            for device in service.items("deploy", "resources", "reservations", "devices")
            for item in device.items("device_ids")
        ),
        findings=tuple(found),
    )


def _line_of(document: Node, name: str) -> int:
    services = document.get("services")
    return services.key_line(name) if services is not None else 1


def _words(service: Node, key: str) -> list[Word]:
    node = service.get(key)
    if node is None or node.value is None:
        return []
    if isinstance(node.value, list):
        return [_word(item.text, item.line) for item in node.words()]
    # Compose divides a string as a shell does, and puts variables in before.
    commands = parse_script(node.text.replace("\n", " ").replace("$$", "\\$"), first_line=node.first_line)
    return [_word(word.text, word.line, word.unknown) for command in commands[:1] for word in command.words]


def _word(text: str, line: int, unknown: str = "") -> Word:
    resolved, missing = _resolve(text)
    return Word(resolved, line, unknown or missing)


def _resolve(text: str) -> tuple[str, str]:
    """
    With ``$$`` as ``$``; and the first variable that only the caller's environment knows.
    """
    missing = [match[0] for match in _VARIABLE.finditer(text) if match[0] != "$$"]
    return text.replace("$$", "$"), missing[0] if missing else ""


def _behind_shell(called: list[Word]) -> Launch | None:
    """
    What ``sh -c`` would start.
    """
    for at, word in enumerate(called[:-1]):
        if re.fullmatch(r"-[a-z]*c", word.text) and at > 0 and called[at - 1].text.rpartition("/")[2].endswith("sh"):
            inner = parse_commands(called[at + 1].text, first_line=called[at + 1].line)
            return inner[0] if inner else None
    return None


def _environment(service: Node) -> Iterator[Variable]:
    node = service.get("environment")
    if node is None:
        return
    for name, value in node.entries().items():
        yield Variable(name, _value(value.text) if value.value is not None else None, value.line)
    for item in node.items():
        name, equals, text = item.text.partition("=")
        yield Variable(name, _value(text) if equals else None, item.line)


def _value(text: str) -> str | None:
    resolved, missing = _resolve(text)
    return None if missing else resolved


def _gpus(service: Node) -> tuple[int | None, int, bool]:
    """
    How many, in which line, and whether any are asked for.
    """
    devices = service.get("deploy", "resources", "reservations", "devices")
    if devices is not None:
        for device in devices.items():
            ids = device.items("device_ids")
            if ids:
                return len(ids), ids[0].line, True
            count = device.get("count")
            return (device.number("count"), count.line if count else device.line, True)
    for key in _GPU_ALONE:
        node = service.get(key)
        if node is not None:
            first = node.items()[0] if node.items() else node
            number = first.number("count") if isinstance(first.value, dict) else None
            return number, node.line, True
    by_device = any("gpu" in item.text or "dri" in item.text for item in service.words("devices"))
    return None, service.line, by_device or service.string("runtime") == "nvidia"


def _remarks(service: Node, document: Node) -> Iterator[CheckFinding]:
    if service.string("ipc") == "host":
        node = service.get("ipc")
        yield host_ipc(node.line if node else service.line)
    for port in service.items("ports"):
        if port.text and published_widely(port.text):
            yield wide_open(port.text, port.line)
        elif not port.text and port.string("published") and port.string("host_ip") in ("", "0.0.0.0"):  # noqa: S104
            yield wide_open(port.string("published"), port.line)
    for device in service.items("deploy", "resources", "reservations", "devices"):
        if device.get("count") is not None and device.get("device_ids") is not None:
            message = "count and device_ids exclude each other"
            yield finding("conflicting-keys", message, line=device.line, hint="keep device_ids")
    privileged = service.get("privileged")
    if privileged is not None and privileged.value is True:
        message = "privileged gives the container every right of the host"
        yield finding("privileged", message, line=privileged.line, hint="leave it out")
    for volume in service.items("volumes"):
        source = volume.text or volume.string("source")
        if "docker.sock" in source:
            message = "the container can steer Docker through its socket"
            yield finding("privileged", message, line=volume.line, hint="leave the mount out")
    if "version" in document.entries():
        message = "version means nothing to Compose any more"
        yield finding("obsolete-key", message, line=document.key_line("version"), hint="leave it out")
