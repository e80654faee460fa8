"""
A plan as a systemd service of a machine where vLLM is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.render.container import folder_mount
from vllm_sizing.render.deployment import deployment
from vllm_sizing.render.unit_file import unit_sections, unit_word
from vllm_sizing.render.yaml import comment_block
from vllm_sizing.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.render.deployment import Deployment
    from vllm_sizing.specs.plan import Plan

PROGRAM = "/opt/vllm/bin/vllm"
_STATE = "/var/cache/vllm"
_USAGE = (
    f"Install as /etc/systemd/system/vllm.service; vLLM is expected in {PROGRAM}.",
    "Secrets: /etc/vllm/secrets.env (owner root, mode 600) with HF_TOKEN= and VLLM_API_KEY=; it need not exist.",
    "The server listens on 127.0.0.1 unless the plan's extra_args set host.",
    "",
)


def systemd(plan: Plan) -> str:
    """
    The unit.

    Raises:
        UnsupportedError: The plan needs several nodes, or a path that is relative.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "systemd", nodes=("command", "script", "slurm", "lws", "kuberay"), container=False)
    folder_mount(wanted, "systemd", relative=False)
    hosts = any(word == "--host" or word.startswith("--host=") for word in wanted.words)
    words = ("serve", wanted.model, *wanted.words, *(() if hosts else ("--host", "127.0.0.1")))
    unit = [
        ("Description", "vLLM server " + wanted.name),
        ("Wants", "network-online.target"),
        ("After", "network-online.target"),
        ("StartLimitIntervalSec", str(4 * wanted.start_s)),
        ("StartLimitBurst", "3"),
    ]
    sections = (
        ("Unit", unit),
        ("Service", _service(wanted, " ".join([PROGRAM, *map(unit_word, words)]))),
        ("Install", [("WantedBy", "multi-user.target")]),
    )
    return comment_block((*_USAGE, *wanted.notes)) + "\n" + unit_sections(sections)


def _service(wanted: Deployment, command: str) -> Iterator[tuple[str, str]]:
    health = (
        f"/usr/bin/curl --fail --silent --output /dev/null --retry {ceil_div(wanted.start_s, 10)} --retry-delay 10 "
        f"--retry-all-errors --retry-max-time {wanted.start_s} http://127.0.0.1:{wanted.port}/health"
    )
    yield "Type", "exec"
    yield "DynamicUser", "yes"
    yield "CacheDirectory", "vllm"
    yield "WorkingDirectory", _STATE
    folders = {"HOME": _STATE, "HF_HOME": f"{_STATE}/huggingface", "VLLM_CACHE_ROOT": f"{_STATE}/vllm"}
    for name, value in (dict(wanted.environment) | folders).items():
        yield "Environment", f"{name}={value}"
    yield "EnvironmentFile", "-/etc/vllm/secrets.env"
    yield "ExecStart", command
    # The unit is active when the server answers.
    yield "ExecStartPost", health
    yield "TimeoutStartSec", str(wanted.start_s + 60)
    yield "TimeoutStopSec", str(wanted.grace_s)
    yield "KillMode", "mixed"
    yield "Restart", "on-failure"
    yield "RestartSec", "10"
    yield "LimitMEMLOCK", "infinity"
    yield "LimitNOFILE", "65536"
    yield "NoNewPrivileges", "yes"
    yield "CapabilityBoundingSet", ""
    yield "ProtectSystem", "strict"
    yield "ProtectHome", "read-only" if wanted.folder else "yes"
    yield "PrivateTmp", "yes"
    yield "ProtectKernelTunables", "yes"
    yield "ProtectKernelModules", "yes"
    yield "ProtectControlGroups", "yes"
    yield "RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"
    yield "RestrictSUIDSGID", "yes"
    yield "LockPersonality", "yes"
