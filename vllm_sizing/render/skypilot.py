"""
A plan as a SkyPilot task: one node with the planned GPU, and a service with a probe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.container import SECRETS
from vllm_sizing.render.deployment import deployment
from vllm_sizing.render.shell import bash_array
from vllm_sizing.render.start import server_environment
from vllm_sizing.render.yaml import to_yaml
from vllm_sizing.units import GB, GIB, ceil_div

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

# SkyPilot's names of what clouds rent out (its catalogs, 0.14).
_ACCELERATORS = {
    "a10": "A10",
    "a10g": "A10G",
    "a100-sxm-40gb": "A100",
    "a100-pcie-40gb": "A100",
    "a100-sxm-80gb": "A100-80GB",
    "a100-pcie-80gb": "A100-80GB",
    "b200": "B200",
    "h100-sxm": "H100",
    "h100-pcie": "H100",
    "h200-sxm": "H200",
    "l4": "L4",
    "l40": "L40",
    "l40s": "L40S",
    "t4": "T4",
}
_IMAGE_BYTES = 40 * GB  # system and vLLM's image, unpacked
_USAGE = (
    "Start: sky serve up skypilot.yaml --secret HF_TOKEN --secret VLLM_API_KEY (or sky launch); both from the",
    "environment. Clouds publish the port, so VLLM_API_KEY must be set.",
    "",
)


def skypilot(plan: Plan) -> str:
    """
    The task.

    Raises:
        UnsupportedError: The plan needs several nodes, a folder of one machine, or a GPU that
            SkyPilot has no name for.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "skypilot", nodes=("slurm", "lws", "kuberay"), folders=False)
    accelerator = _ACCELERATORS.get(plan.gpu.name)
    if accelerator is None:
        message = f"skypilot has no name for {plan.gpu.name} that is known here; script, docker, kubernetes can"
        raise UnsupportedError(message, field="emit", value="skypilot")
    run = "\n".join(
        (
            "set -eu",
            ': "${VLLM_API_KEY:?set it: the port is public}"',
            bash_array("args", ((word,) for word in (wanted.model, *wanted.words))).rstrip("\n"),
            'exec vllm serve "${args[@]}"',
            "",
        )
    )
    document = {
        "name": wanted.name,
        "resources": {
            "accelerators": {accelerator: wanted.gpus},
            "cpus": f"{wanted.cpus}+",
            "memory": f"{ceil_div(wanted.memory_bytes, GIB)}+",
            "image_id": f"docker:{wanted.image}",
            "disk_size": ceil_div(wanted.disk_bytes + _IMAGE_BYTES, GIB),
            "ports": wanted.port,
        },
        "envs": dict(server_environment(plan)),
        "secrets": dict.fromkeys(SECRETS),
        "run": run,
        "service": {
            "readiness_probe": {"path": "/health", "initial_delay_seconds": wanted.start_s},
            "replica_policy": {"min_replicas": 1, "max_replicas": 1},
        },
    }
    return to_yaml(document, comments=(*_USAGE, *wanted.notes))
