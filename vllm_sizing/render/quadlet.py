"""
A plan as a quadlet: a container that systemd runs with Podman.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.container import folder_mount
from vllm_sizing.render.deployment import UID, deployment
from vllm_sizing.render.kubernetes import SECRET_OF_CLIENTS, SECRET_OF_HUB
from vllm_sizing.render.unit_file import unit_sections, unit_word
from vllm_sizing.render.yaml import comment_block
from vllm_sizing.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.render.deployment import Deployment
    from vllm_sizing.specs.plan import Plan

_USAGE = (
    "Install as ~/.config/containers/systemd/vllm.container or in /etc/containers/systemd/.",
    "GPUs come through CDI: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
    "Both secrets must exist, or their lines go; each command reads one from standard input:",
    f"  podman secret create {SECRET_OF_HUB} -",
    f"  podman secret create {SECRET_OF_CLIENTS} -",
    "",
)


def quadlet(plan: Plan) -> str:
    """
    The ``.container`` file.

    Raises:
        UnsupportedError: The plan needs several nodes, or a path that is relative.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "quadlet", nodes=("command", "script", "slurm", "lws", "kuberay"))
    service = [
        ("Restart", "on-failure"),
        ("RestartSec", "10"),
        # The image comes before the start itself.
        ("TimeoutStartSec", str(wanted.start_s + 900)),
        ("TimeoutStopSec", str(wanted.grace_s + 10)),
    ]
    sections = (
        ("Unit", [("Description", "vLLM server " + wanted.name), ("After", "network-online.target")]),
        ("Container", _container(wanted)),
        ("Service", service),
        ("Install", [("WantedBy", "default.target")]),
    )
    return comment_block((*_USAGE, *wanted.notes)) + "\n" + unit_sections(sections)


def _container(wanted: Deployment) -> Iterator[tuple[str, str]]:
    yield "ContainerName", wanted.name
    yield "Image", f"docker.io/{wanted.image}"
    yield "Exec", " ".join(map(unit_word, wanted.args))
    # By number, because the machine may have more than the plan knows of.
    for device in range(wanted.gpus):
        yield "AddDevice", f"nvidia.com/gpu={device}"
    yield "ShmSize", f"{wanted.shm_bytes // GIB}g"
    yield "PodmanArgs", f"--memory={wanted.memory_limit_bytes // MIB}m"
    if wanted.user:
        yield "User", str(UID)
        yield "Group", "0"
    for name, value in wanted.environment:
        yield "Environment", f"{name}={value}"
    yield "Secret", f"{SECRET_OF_HUB},type=env,target=HF_TOKEN"
    yield "Secret", f"{SECRET_OF_CLIENTS},type=env,target=VLLM_API_KEY"
    yield "Volume", f"{wanted.name}-cache:{wanted.cache}"
    mount = folder_mount(wanted, "quadlet", relative=False)
    if mount:
        if ":" in mount.source:
            message = "quadlet cannot mount a folder with a colon in its name; rename it"
            raise UnsupportedError(message, field="emit", value="quadlet")
        yield "Volume", unit_word(f"{mount.source}:{mount.target}:ro")
    yield "PublishPort", f"127.0.0.1:{wanted.port}:{wanted.port}"
    yield "DropCapability", "all"
    yield "NoNewPrivileges", "true"
    yield "HealthCmd", f"curl -fsS http://127.0.0.1:{wanted.port}/health"
    yield "HealthInterval", "15s"
    yield "HealthTimeout", "10s"
    yield "HealthRetries", "4"
    yield "HealthStartPeriod", f"{wanted.start_s}s"
    yield "StopTimeout", str(wanted.grace_s)
