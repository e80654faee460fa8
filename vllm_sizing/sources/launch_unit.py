"""
The server of a systemd service or a Podman quadlet.
"""

from __future__ import annotations

import re

from vllm_sizing.sources.launch import Launch, Variable, Word, finding
from vllm_sizing.sources.launch_command import DEFAULT_SHM_BYTES, find_program, published_widely, wide_open
from vllm_sizing.sources.quantities import parse_seconds, parse_size
from vllm_sizing.sources.shell_text import parse_script

_GRACE_S = {"Service": 90.0, "Container": 10.0}  # of systemd and of Podman
# %% is a percent sign; other specifiers stand for what only systemd knows.
_SPECIFIER = re.compile(r"%(.)")
_VARIABLE = re.compile(r"\$(\$|\{[A-Za-z_][A-Za-z0-9_]*\}|[A-Za-z_][A-Za-z0-9_]*)")


def parse_unit(text: str) -> list[Launch]:
    r"""
    One launch, if the unit starts vLLM.

    >>> text = "[Container]\nImage=vllm/vllm-openai:v0.33.0\nExec=m -tp 2\nAddDevice=nvidia.com/gpu=all"
    >>> launch = parse_unit(text)[0]
    >>> launch.kind, [word.text for word in launch.words]
    ('quadlet', ['m', '-tp', '2'])
    """
    entries = _entries(text)
    section = "Container" if any(name == "Container" for name, *_ in entries) else "Service"
    own: dict[str, list[tuple[str, int]]] = {}
    for name, key, value, line in entries:
        if name in (section, "Service"):
            own.setdefault(key, []).append((value, line))
    commands = own.get("Exec" if section == "Container" else "ExecStart", [])
    if not commands:
        return []
    value, line = commands[-1]
    called = _words(value if section == "Container" else value.lstrip("@-:+!"), line)  # A service's prefixes.
    environment = tuple(_environment(own))
    served = find_program([word.text for word in called])
    if section == "Service":
        stop, stop_line = own.get("TimeoutStopSec", [("", line)])[-1]
        if served is None:
            return []
        grace = parse_seconds(stop.removesuffix("ec")) if stop else _GRACE_S[section]
        return [
            Launch("systemd", "service", line, tuple(called[served[0] :]), served[1], environment=environment,
                   grace_s=grace, grace_line=stop_line)
        ]  # fmt: skip
    image, image_line = own.get("Image", [("", line)])[-1]
    if served is None and "vllm" not in image.lower():
        return []
    first, program = served or (0, "image")
    devices = [device for device, _ in own.get("AddDevice", []) if "gpu" in device or "/dev/" in device]
    shm, shm_line = own.get("ShmSize", [("", line)])[-1]
    stop, stop_line = own.get("StopTimeout", [("", line)])[-1]
    found = [wide_open(port, at) for port, at in own.get("PublishPort", []) if published_widely(port)]
    if not devices:
        message = "the container gets no GPU"
        found.append(finding("gpu-missing", message, line=image_line, hint="AddDevice=nvidia.com/gpu=all"))
    numbered = [device for device in devices if re.search(r"nvidia\.com/gpu=[0-9]", device)]
    return [
        Launch(
            "quadlet",
            own.get("ContainerName", [("container", 0)])[-1][0],
            line,
            tuple(called[first:]),
            program,
            image=image,
            image_line=image_line,
            environment=environment,
            num_gpus=len(numbered) if numbered and len(numbered) == len(devices) else None,
            gpu_line=own.get("AddDevice", [("", image_line)])[0][1],
            shm_bytes=parse_size(shm) if shm else DEFAULT_SHM_BYTES,
            shm_line=shm_line,
            grace_s=parse_seconds(stop) if stop else _GRACE_S[section],
            grace_line=stop_line,
            entrypoint="Entrypoint" not in own,
            findings=tuple(found),
        )
    ]


def _entries(text: str) -> list[tuple[str, str, str, int]]:
    """
    Section, key, value and line; lines that end in a backslash go on.
    """
    found: list[tuple[str, str, str, int]] = []
    section, pending = "", ""
    start = 0
    for number, raw in enumerate(text.splitlines(), start=1):
        if raw.lstrip().startswith(("#", ";")) or (not raw.strip() and not pending):
            continue
        start = start if pending else number
        line = pending + raw
        if line.endswith("\\"):
            # The lines stay apart, so that each word keeps its own.
            pending = line[:-1] + " \n"
            continue
        pending = ""
        if heading := re.fullmatch(r"\s*\[([^\]]+)\]\s*", line):
            section = heading[1]
        elif "=" in line:
            key, _, value = line.partition("=")
            found.append((section, key.strip(), value.strip(), start))
    return found


def _words(value: str, line: int) -> list[Word]:
    """
    Words as systemd divides them: quotes of both kinds, ``%%`` and ``$$``.
    """
    text = value.replace("\n", "\\\n").replace("$", "\\$")
    words = []
    for command in parse_script(text, first_line=line)[:1]:
        for word in command.words:
            specifiers = [match[0] for match in _SPECIFIER.finditer(word.text) if match[1] != "%"]
            variables = [match[0] for match in _VARIABLE.finditer(word.text) if match[1] != "$"]
            plain = word.text.replace("%%", "%").replace("$$", "$")
            words.append(Word(plain, word.line, (specifiers + variables + [""])[0]))
    return words


def _environment(own: dict[str, list[tuple[str, int]]]) -> list[Variable]:
    found = []
    for value, line in own.get("Environment", []):
        for word in _words(value, line):
            name, equals, text = word.text.partition("=")
            if equals:
                found.append(Variable(name, None if word.unknown else text, line))
    for value, line in own.get("Secret", []):
        target = re.search(r"target=([A-Za-z0-9_]+)", value)
        if target:
            found.append(Variable(target[1], None, line))
    return found
