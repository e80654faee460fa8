"""
The GPUs of this machine: asked from NVML or nvidia-smi, completed from the catalog.

The driver knows the memory, the catalog bandwidth and FLOPS; what neither knows stays None.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from vllm_sizing.errors import DetectionError
from vllm_sizing.sources.gpu_specs import parse_meminfo, spec_of_reading
from vllm_sizing.sources.nvidia_smi import read_nvidia_smi
from vllm_sizing.sources.nvml import read_nvml
from vllm_sizing.sources.readings import WAY_OUT, Link, MachineReading
from vllm_sizing.sources.visible_devices import parse_visible_devices
from vllm_sizing.specs.gpu import Cluster, GpuSpec
from vllm_sizing.specs.value import Value

_PROC = Path("/proc")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DetectedGpu(Value):
    """
    One GPU (or MIG instance) that a process on this machine may use.

    Attributes:
        index: The number that nvidia-smi prints; of the GPU for a MIG instance.

        total_bytes: Memory as nvidia-smi prints it, with what the driver keeps; None where the GPU
            shares the memory of its host.

        gpu: What to plan with: the catalog's figures, the driver's memory.
    """

    index: int
    uuid: str
    product_name: str
    total_bytes: int | None = None
    mig_profile: str = ""
    gpu: GpuSpec


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Detection(Value):
    """
    What a look at the driver found.

    Attributes:
        source: ``NVML`` or ``nvidia-smi``.

        links: Between each two of `gpus`, by index.

        notes: What the user should know, one sentence each.
    """

    gpus: tuple[DetectedGpu, ...]
    source: str
    driver_version: str
    cuda_version: str
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_mixed(self) -> bool:
        """
        Whether the GPUs differ.
        """
        return len({detected.gpu.name for detected in self.gpus}) > 1

    @property
    def interconnect(self) -> str | None:
        """
        The weakest link between two of the GPUs, as `Cluster` calls it; None for one GPU.
        """
        if len(self.gpus) < 2:
            return None
        kinds = {link.kind for link in self.links} or {"unknown"}
        if kinds == {"nvlink"}:
            return "nvlink"
        return "unknown" if kinds <= {"unknown", "nvlink"} else "pcie"

    def cluster(self) -> Cluster:
        """
        All GPUs as one cluster, as good as the one with the least free memory.

        Raises:
            DetectionError: The GPUs differ, so that no plan holds for all.
        """
        if self.is_mixed:
            kinds = ", ".join(f"GPU {detected.index}: {detected.gpu.name}" for detected in self.gpus)
            message = f"the GPUs of this machine differ ({kinds}); choose with CUDA_VISIBLE_DEVICES, {WAY_OUT}"
            raise DetectionError(message)
        specs = [detected.gpu for detected in self.gpus]
        weakest = min(specs, key=lambda gpu: (gpu.free_memory_bytes or 0, gpu.memory_bytes))
        # MIG instances cannot reach each other: NVIDIA's MIG guide, "no GPU-to-GPU P2P".
        split = any(detected.mig_profile for detected in self.gpus)
        return Cluster(
            gpu=weakest,
            num_gpus=1 if split else len(specs),
            interconnect=None if split else self.interconnect,
        )


def detect_gpus(*, timeout_s: float = 10.0) -> tuple[GpuSpec, ...]:
    """
    The GPUs of this machine that a process may use, ready to plan with.

    Honours ``CUDA_VISIBLE_DEVICES``; each MIG instance is a GPU of its own.

    Raises:
        DetectionError: No driver, no GPU, a broken driver, or no answer within `timeout_s`.
    """
    return tuple(detected.gpu for detected in detect_machine(timeout_s=timeout_s).gpus)


def detect_machine(*, timeout_s: float = 10.0) -> Detection:
    """
    `detect_gpus` with driver, links and notes.
    """
    reading = read_nvml(timeout_s=timeout_s) or read_nvidia_smi(timeout_s=timeout_s)
    if reading is None:
        message = (
            "no NVIDIA driver here (neither libnvidia-ml.so.1 nor nvidia-smi; other vendors are not "
            f"detected); install it, start the container with GPUs, {WAY_OUT}"
        )
        raise DetectionError(message)
    return _detection_of(
        reading,
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        order=os.environ.get("CUDA_DEVICE_ORDER", ""),
        meminfo=_read_proc("meminfo"),
        is_wsl="microsoft" in _read_proc("version").lower(),
    )


def _read_proc(name: str) -> str:
    try:
        return (_PROC / name).read_text(errors="replace")
    except OSError:
        return ""


def _detection_of(reading: MachineReading, *, visible: str | None, order: str, meminfo: str, is_wsl: bool) -> Detection:
    """
    What a reading means in this environment; pure.
    """
    if not reading.gpus:
        why = "; ".join(reading.notes)
        message = f"the NVIDIA driver sees no GPU{f' ({why})' if why else ''}; check nvidia-smi, {WAY_OUT}"
        raise DetectionError(message)
    chosen = parse_visible_devices(visible, reading.gpus)
    if not chosen:
        message = f"CUDA_VISIBLE_DEVICES={visible!r} leaves none of {len(reading.gpus)} GPUs; change it, {WAY_OUT}"
        raise DetectionError(message)
    gpus = tuple(
        DetectedGpu(
            index=gpu.index,
            uuid=gpu.uuid,
            product_name=gpu.product_name,
            total_bytes=gpu.memory.total_bytes if gpu.memory else None,
            mig_profile=gpu.mig_profile,
            gpu=spec_of_reading(gpu, reading.source, parse_meminfo(meminfo), is_wsl=is_wsl),
        )
        for gpu in chosen
    )
    indices = {gpu.index for gpu in gpus}
    detection = Detection(
        gpus=gpus,
        source=reading.source,
        driver_version=reading.driver_version,
        cuda_version=reading.cuda_version,
        links=tuple(link for link in reading.links if {link.first, link.second} <= indices),
    )
    return attrs.evolve(detection, notes=reading.notes + _notes_of(detection, visible, order, is_wsl=is_wsl))


def _notes_of(detection: Detection, visible: str | None, order: str, *, is_wsl: bool) -> tuple[str, ...]:
    notes = []
    if is_wsl:
        notes.append("this is WSL: Windows may take back memory that looks free")
    if any(gpu.mig_profile for gpu in detection.gpus):
        notes.append("MIG instances cannot be joined: tensor parallelism needs whole GPUs")
    if detection.is_mixed and visible and order != "PCI_BUS_ID":
        notes.append("the GPUs differ: set CUDA_DEVICE_ORDER=PCI_BUS_ID, or CUDA numbers them by speed")
    return tuple(notes)
