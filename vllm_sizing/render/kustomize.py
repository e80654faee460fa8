"""
A plan as a Kustomize base: the Kubernetes objects, and the file that lists them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.render.kubernetes import kubernetes
from vllm_sizing.render.yaml import to_yaml

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

_OPTIONS = (
    "Build: kubectl kustomize .   Apply: kubectl apply --kustomize .",
    "These may join the resources, if they are written too: scaledobject.yaml, podmonitor.yaml, prometheusrule.yaml.",
)


def kustomize(plan: Plan) -> dict[str, str]:
    """
    The files by name.

    Raises:
        UnsupportedError: What `kubernetes` cannot express either.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    base = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["kubernetes.yaml"],
    }
    return {
        "kustomization.yaml": to_yaml(base, comments=_OPTIONS),
        "kubernetes.yaml": kubernetes(plan, target="kustomize"),
    }
