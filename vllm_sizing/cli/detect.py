"""
``vllm-sizing detect``: the GPUs of this machine, as its driver describes them.
"""

from __future__ import annotations

import click

from vllm_sizing.cli.options import AS_JSON
from vllm_sizing.cli.terminal import note, print_json, table, write
from vllm_sizing.units import format_gib


@click.command(params=[AS_JSON])
def detect(*, as_json: bool) -> None:
    """
    Show the GPUs of this machine.

    Asks NVML, else nvidia-smi; CUDA_VISIBLE_DEVICES counts.
    """
    from vllm_sizing.serialize import to_plain
    from vllm_sizing.sources.gpus import detect_machine

    found = detect_machine()
    if as_json:
        print_json({"interconnect": found.interconnect, **to_plain(found)})
        return
    titles = ("GPU", "name", "printed as", "memory", "free", "compute", "MIG")
    rows = []
    for detected in found.gpus:
        gpu = detected.gpu
        free = "-" if gpu.free_memory_bytes is None else format_gib(gpu.free_memory_bytes)
        capability = ".".join(map(str, gpu.compute_capability)) if gpu.compute_capability else "-"
        number, memory = str(detected.index), format_gib(gpu.memory_bytes)
        mig = detected.mig_profile or "-"
        rows.append([number, gpu.name, detected.product_name, memory, free, capability, mig])
    write(table(titles, rows))
    link = f", joined by {found.interconnect}" if found.interconnect else ""
    write(f"driver {found.driver_version}, CUDA {found.cuda_version}, read through {found.source}{link}")
    for text in found.notes:
        note(text)
