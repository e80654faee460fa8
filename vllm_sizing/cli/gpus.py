"""
``vllm-sizing gpus``: what the catalog knows of GPUs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vllm_sizing.cli.options import AS_JSON
from vllm_sizing.cli.terminal import print_json, table, write
from vllm_sizing.cli.values import GPU_NAME
from vllm_sizing.units import format_gib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_sizing.specs.gpu import GpuSpec

_TITLES = ("name", "memory", "GB/s", "bf16", "fp8", "fp4", "link", "GB/s", "compute")


@click.command(params=[click.Argument(["name"], required=False, type=GPU_NAME), AS_JSON])
def gpus(*, name: str | None, as_json: bool) -> None:
    """
    List the GPUs of the catalog, or show the one called NAME.

    NAME is a name of the list, a usual name, or what nvidia-smi prints.  Memory is what the driver
    offers; bf16, fp8 and fp4 are dense TFLOPS; the link is one direction of one GPU.
    """
    from vllm_sizing.catalog.gpus import all_gpus, find_gpu

    found = all_gpus() if name is None else (find_gpu(name),)
    if as_json:
        print_json(found)
        return
    write(_table(found))
    for gpu in found if name is not None else ():
        about = {"printed as": "; ".join(gpu.product_names), "assumed": gpu.assumed, "source": gpu.source}
        for title, text in about.items():
            if text:
                write(f"{title}: {text}")


def _table(found: Sequence[GpuSpec]) -> str:
    rows = []
    for gpu in found:
        flops = [_figure(gpu.peak(dtype), 1e12) for dtype in ("bf16", "fp8", "fp4")]
        capability = ".".join(map(str, gpu.compute_capability)) if gpu.compute_capability else "-"
        memory = format_gib(gpu.memory_bytes)
        bandwidth = _figure(gpu.memory_bandwidth_bytes_per_s, 1e9)
        # What a bridge could do is not what GPUs without one have.
        link = _figure(gpu.pcie_bytes_per_s if gpu.link == "pcie" else gpu.link_bytes_per_s, 1e9)
        rows.append([gpu.name, memory, bandwidth, *flops, gpu.link, link, capability])
    return table(_TITLES, rows)


def _figure(value: float | None, unit: float) -> str:
    return "-" if value is None else f"{value / unit:,.0f}"
