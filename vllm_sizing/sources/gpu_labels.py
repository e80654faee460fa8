"""
Names of GPUs as clusters write them.
"""

from __future__ import annotations

# Labels of Google's node pools that no driver prints.
_GKE = {
    "nvidia-tesla-t4": "t4",
    "nvidia-tesla-a100": "a100-sxm-40gb",
    "nvidia-a100-80gb": "a100-sxm-80gb",
    "nvidia-h100-80gb": "h100-sxm",
    "nvidia-h100-mega-80gb": "h100-sxm",
    "nvidia-h200-141gb": "h200-sxm",
}


def one_gpu(values: set[str]) -> str:
    """
    The GPU of the catalog that all these labels mean; empty if they mean several or none.

    >>> one_gpu({"NVIDIA-H100-80GB-HBM3"}), one_gpu({"NVIDIA-L4", "NVIDIA-L40S"})
    ('h100-sxm', '')
    """
    from vllm_sizing.catalog.gpus import find_gpu
    from vllm_sizing.errors import SizingError

    found: set[str] = set()
    for value in values:
        try:
            found.add(find_gpu(_GKE.get(value, value.removesuffix("-SHARED"))).name)
        except SizingError:
            return ""
    return found.pop() if len(found) == 1 else ""
