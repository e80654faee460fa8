"""
A plan as a LeaderWorkerSet: one server over several nodes without Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.deployment import deployment
from vllm_sizing.render.kubernetes import ROLE, USAGE, account, claim, metadata, pod, policy, service
from vllm_sizing.render.nodes import needs_ray, node_words
from vllm_sizing.render.yaml import to_yaml

if TYPE_CHECKING:
    from vllm_sizing.render.deployment import Deployment
    from vllm_sizing.specs.plan import Plan

_USAGE = (
    "Needs the LeaderWorkerSet controller and storage that many nodes can write (ReadWriteMany).",
    "A fast network between nodes (RDMA) wants its resource and IPC_LOCK added to both templates.",
    "",
)


def lws(plan: Plan) -> str:
    """
    Claim, account, set, service and network policy.

    Raises:
        UnsupportedError: This version of vLLM needs Ray for several nodes, or the model is a folder of
            one machine.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "lws", folders=False)
    if wanted.num_nodes > 1 and needs_ray(plan):
        message = "lws starts several nodes without Ray, which this plan needs; kuberay can"
        raise UnsupportedError(message, field="emit", value="lws")
    told = node_words(plan, "$(LWS_GROUP_SIZE)", "$(LWS_WORKER_INDEX)", "$(LWS_LEADER_ADDRESS)")
    group = tuple(word for pair in told for word in pair)
    template = {
        "size": wanted.num_nodes,
        "restartPolicy": "RecreateGroupOnPodRestart",
        "leaderTemplate": _template(wanted, "leader", group),
        "workerTemplate": _template(wanted, "worker", (*group, "--headless")),
    }
    documents = (
        claim(wanted, "ReadWriteMany"),
        account(wanted),
        {
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "metadata": metadata(wanted),
            "spec": {"replicas": 1, "leaderWorkerTemplate": template},
        },
        service(wanted, {**metadata(wanted)["labels"], ROLE: "leader"}),
        policy(wanted, group=True),
    )
    return to_yaml(*documents, comments=(*_USAGE, *USAGE, *wanted.notes))


def _template(wanted: Deployment, role: str, words: tuple[str, ...]) -> dict[str, Any]:
    named = metadata(wanted, name=None)
    named["labels"][ROLE] = role
    return {"metadata": named, "spec": pod(wanted, words, serves=role == "leader")}
