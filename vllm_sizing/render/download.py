"""
A plan as a Job that fetches the weights into the claim before any GPU waits for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.render.deployment import UID, deployment, plan_notes
from vllm_sizing.render.hub import hub_address
from vllm_sizing.render.kubernetes import claim, environment, literal, metadata, security
from vllm_sizing.render.start import DOWNLOAD_BYTES_PER_S
from vllm_sizing.render.yaml import to_yaml
from vllm_sizing.units import GIB, ceil_div

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

_LEAST_S = 3600
# The model and the commit come as words, never as text of this program.
_PROGRAM = """\
import sys
from huggingface_hub import list_repo_files, snapshot_download

model, revision = sys.argv[1], sys.argv[2] or None
files = list_repo_files(model, revision=revision)
twice = ["*.bin", "*.pt", "*.pth", "*.gguf", "*.h5", "*.msgpack", "*.onnx", "original/*"]
ignored = twice if any(name.endswith(".safetensors") for name in files) else None
print(snapshot_download(model, revision=revision, ignore_patterns=ignored))
"""
_MEMORY = "4Gi"


def download(plan: Plan) -> str:
    """
    The claim and the Job.

    Raises:
        UnsupportedError: The model is not on the Hub, or what `deployment` cannot express.
    """
    wanted = deployment(plan, "download", folders=False)
    hub_address(wanted, "download")
    revision = plan.engine_args.revision or wanted.revision or ""
    budget = max(_LEAST_S, 3 * ceil_div(wanted.disk_bytes, DOWNLOAD_BYTES_PER_S))
    named = metadata(wanted, name=f"{wanted.name}-download")
    container = {
        "name": "download",
        "image": wanted.image,
        "command": ["python3", "-c", literal(_PROGRAM), literal(wanted.model), literal(revision)],
        "env": [entry for entry in environment(wanted) if entry["name"] != "VLLM_API_KEY"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "2", "memory": _MEMORY}, "limits": {"memory": _MEMORY}},
        "volumeMounts": [{"name": "cache", "mountPath": wanted.cache}],
    }
    pod = {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "securityContext": security(wanted),
        "containers": [container],
        "volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": f"{wanted.name}-cache"}}],
    }
    # Not the server's labels: its service, policy and budget must not mean this pod.
    labels = {"labels": {"app.kubernetes.io/name": named["name"]}}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**named, **labels},
        "spec": {
            "backoffLimit": 3,
            "activeDeadlineSeconds": budget,
            "ttlSecondsAfterFinished": 86_400,
            "template": {"metadata": labels, "spec": pod},
        },
    }
    mode = "ReadWriteOnce" if wanted.num_nodes == 1 else "ReadWriteMany"
    usage = (
        "Before the server: kubectl apply --filename download-job.yaml",
        f"  kubectl wait --for=condition=complete --timeout={budget}s job/{named['name']}",
        "Afterwards the server needs no Hub: set HF_HUB_OFFLINE to 1 in its env.",
        "",
        f"Deadline: {budget} s = 3 x {wanted.disk_bytes / GIB:.0f} GiB at 1 Gbit/s, at least {_LEAST_S} s; user {UID}.",
        "",
    )
    return to_yaml(claim(wanted, mode), job, comments=(*usage, *plan_notes(plan)))
