"""
A plan as a Compose file: one server on one node, published on the loopback interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_sizing.render.container import SECRETS, folder_mount
from vllm_sizing.render.deployment import UID, deployment
from vllm_sizing.render.yaml import to_yaml
from vllm_sizing.units import GIB, MIB

if TYPE_CHECKING:
    from vllm_sizing.render.deployment import Deployment
    from vllm_sizing.specs.plan import Plan


def compose(plan: Plan) -> str:
    """
    The file; HF_TOKEN and VLLM_API_KEY come from the environment of ``docker compose``.

    Raises:
        UnsupportedError: The plan needs several nodes, or something else that Compose cannot express.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "compose", nodes=("command", "script", "slurm", "lws", "kuberay"))
    document = {
        "name": wanted.name,
        "services": {"server": _dollars(_server(wanted))},
        "volumes": {"cache": {}},
    }
    usage = ("Start: docker compose up --detach --wait", "")
    return to_yaml(document, comments=(*usage, *wanted.notes))


def _server(wanted: Deployment) -> dict[str, Any]:
    mount = folder_mount(wanted, "compose")
    volumes: list[dict[str, Any]] = [{"type": "volume", "source": "cache", "target": wanted.cache}]
    if mount:
        bind = {"create_host_path": False}
        volumes.append(
            {"type": "bind", "source": mount.source, "target": mount.target, "read_only": True, "bind": bind}
        )
    return {
        "image": wanted.image,
        "command": list(wanted.args),
        **({"user": f"{UID}:0"} if wanted.user else {}),
        **({"working_dir": mount.work_folder} if mount and mount.work_folder else {}),
        "environment": {**dict.fromkeys(SECRETS), **dict(wanted.environment)},
        "ports": [f"127.0.0.1:{wanted.port}:{wanted.port}"],
        "shm_size": f"{wanted.shm_bytes // GIB}gb",
        "volumes": volumes,
        "restart": "unless-stopped",
        "stop_grace_period": f"{wanted.grace_s}s",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "healthcheck": {
            "test": ["CMD", "curl", "-fsS", f"http://127.0.0.1:{wanted.port}/health"],
            "interval": "15s",
            "timeout": "10s",
            "retries": 4,
            "start_period": f"{wanted.start_s}s",
            "start_interval": "10s",
        },
        "logging": {"driver": "json-file", "options": {"max-size": "50m", "max-file": "3"}},
        "deploy": {
            "resources": {
                "limits": {"memory": f"{wanted.memory_limit_bytes // MIB}m"},
                "reservations": {
                    "devices": [{"driver": "nvidia", "count": wanted.gpus, "capabilities": ["gpu"]}],
                },
            },
        },
    }


def _dollars(value: Any) -> Any:
    """
    Every ``$`` doubled: Compose would put variables in their places.
    """
    if isinstance(value, dict):
        return {key: _dollars(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_dollars(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
