"""
What a driver says of a GPU and what the catalog knows of it, as one `GpuSpec`; pure.
"""

from __future__ import annotations

import attrs

from vllm_sizing.catalog.gpu_rows import pcie_bytes_per_s
from vllm_sizing.catalog.gpus import find_gpu
from vllm_sizing.errors import DetectionError, UnknownNameError
from vllm_sizing.sources.readings import WAY_OUT, GpuReading, MemoryReading
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.units import format_gib


def spec_of_reading(
    reading: GpuReading, source: str, host_memory: tuple[int, int] | None, *, is_wsl: bool = False
) -> GpuSpec:
    """
    The GPU to plan with: memory from the driver, bandwidth and FLOPS from the catalog.

    Args:
        host_memory: Total and available bytes, for a GPU that shares them.

    Raises:
        DetectionError: Nothing tells how much memory there is.
    """
    known = _find(reading.product_name)
    if reading.memory is None:
        return _unified(reading, known, source, host_memory)
    total_bytes = reading.memory.total_bytes
    # ECC takes a 16th of GDDR memory and the driver keeps up to 1 GiB; more than that is another
    # board of the same name (RTX 3060 with 8 GB, modified RTX 4090 with 48 GB).
    if known and not reading.mig_profile and not 0.90 < total_bytes / known.memory_bytes < 1.13:
        known = None
    memory_bytes, basis = _usable(reading.memory, known if not reading.mig_profile else None, is_wsl=is_wsl)
    base = known or _unknown_gpu(reading, memory_bytes)
    pcie = pcie_bytes_per_s(reading.pcie_generation or 0, reading.pcie_lanes or 0)
    spec = _with_reading(base, reading, f"{source}, {basis}", catalog=known)
    spec = attrs.evolve(
        spec,
        memory_bytes=memory_bytes,
        free_memory_bytes=reading.memory.free_bytes,
        pcie_bytes_per_s=pcie or base.pcie_bytes_per_s,
    )
    return _instance(spec, reading.mig_profile) if reading.mig_profile else spec


def parse_meminfo(text: str) -> tuple[int, int] | None:
    r"""
    Total and available bytes of ``/proc/meminfo``; None if it does not say.

    >>> parse_meminfo("MemTotal: 127600000 kB\nMemAvailable: 120000000 kB")
    (130662400000, 122880000000)
    """
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        total, available = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (KeyError, IndexError, ValueError):
        return None
    return total, available


def _find(product_name: str) -> GpuSpec | None:
    try:
        return find_gpu(product_name)
    except UnknownNameError:
        return None


def _usable(memory: MemoryReading, known: GpuSpec | None, *, is_wsl: bool) -> tuple[int, str]:
    """
    What a process can use of a GPU's memory, and where the figure comes from.

    CUDA's total is NVML's total less what the driver keeps.  In public logs of one driver, A100
    81920 - 869 MiB (535) and RTX PRO 6000 97887 - 637 MiB (590) are CUDA's totals to the MiB.
    Under WSL, CUDA offers all (RTX 4090: 25756696576 bytes of 24564 MiB).
    """
    total = memory.total_bytes
    if is_wsl:
        return total, "total memory"
    if memory.reserved_bytes is not None:
        return total - memory.reserved_bytes, "total memory less what the driver keeps"
    if known is not None and known.memory_bytes <= total < known.memory_bytes * 1.05:
        return known.memory_bytes, "which does not tell what the driver keeps: the catalog's memory"
    return total, "total memory, of which CUDA offers a little less"


def _unknown_gpu(reading: GpuReading, memory_bytes: int) -> GpuSpec:
    assumed = (
        f"{reading.product_name} with {format_gib(memory_bytes, 0)} is not in the catalog: "
        "its bandwidth and FLOPS are not known"
    )
    return GpuSpec(name=reading.product_name, memory_bytes=memory_bytes, assumed=assumed)


def _with_reading(base: GpuSpec, reading: GpuReading, source: str, *, catalog: GpuSpec | None) -> GpuSpec:
    return attrs.evolve(
        base,
        compute_capability=reading.compute_capability or base.compute_capability,
        source=f"{source}; catalog: {catalog.source}" if catalog else source,
        # The memory that was read tells boards of one name apart, where the name alone had to assume.
        assumed="" if catalog else base.assumed,
    )


def _instance(spec: GpuSpec, profile: str) -> GpuSpec:
    return attrs.evolve(
        spec,
        name=f"{spec.name} MIG {profile}",
        memory_bandwidth_bytes_per_s=None,
        peak_flops=(),
        link="none",
        link_bytes_per_s=None,
        tdp_w=None,
        assumed="bandwidth and FLOPS of a MIG instance are not known",
    )


def _unified(reading: GpuReading, known: GpuSpec | None, source: str, host_memory: tuple[int, int] | None) -> GpuSpec:
    # CUDA's total follows the total of the host; vLLM takes the host's available memory as free
    # (0.33 `utils/mem_utils.py:MemorySnapshot`).
    if host_memory is None or (known and not known.integrated):
        message = f"the driver does not tell the memory of {reading.product_name}; check nvidia-smi, {WAY_OUT}"
        raise DetectionError(message)
    total, available = host_memory
    # Jetson modules of one name have many sizes, and their GPUs differ with them.
    if known and not 0.90 < total / known.memory_bytes < 1.06:
        known = None
    base = known or attrs.evolve(_unknown_gpu(reading, total), link="none", integrated=True)
    spec = _with_reading(base, reading, f"{source}, memory of the host", catalog=known)
    return attrs.evolve(spec, memory_bytes=total, free_memory_bytes=available)
