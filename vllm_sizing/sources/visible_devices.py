"""
``CUDA_VISIBLE_DEVICES``: which of a machine's GPUs a process may use.
"""

from __future__ import annotations

from vllm_sizing.sources.readings import GpuReading


def parse_visible_devices(text: str | None, gpus: tuple[GpuReading, ...]) -> tuple[GpuReading, ...]:
    """
    The GPUs that the variable leaves, in its order; None is a variable that is not set.

    Numbers are read in PCI order, as vLLM reads them.  As in CUDA, the list ends at the first entry
    that names no GPU, and a GPU that is split by MIG stands for its first instance.
    """
    if text is None:
        return gpus
    chosen: list[GpuReading] = []
    for entry in text.split(","):
        gpu = next((gpu for gpu in gpus if _is_named(gpu, entry.strip())), None)
        if gpu is None or gpu in chosen:
            break
        chosen.append(gpu)
    return tuple(chosen)


def _is_named(gpu: GpuReading, entry: str) -> bool:
    if entry.isascii() and entry.isdigit():
        return gpu.index == int(entry)
    # A UUID may be cut short where that is unambiguous; "GPU-" alone is not.
    return len(entry) > len("GPU-") and (gpu.uuid.startswith(entry) or gpu.parent_uuid.startswith(entry))
