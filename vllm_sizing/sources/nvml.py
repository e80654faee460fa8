"""
NVML, NVIDIA's library in the driver, through nvidia-ml-py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import combinations
from typing import Any

from vllm_sizing.errors import DetectionError
from vllm_sizing.sources.readings import WAY_OUT, GpuReading, Link, MachineReading, MemoryReading

# NVML's names of PCIe paths (NVML_TOPOLOGY_*) in nvidia-smi's words.
_PATHS = {0: "pix", 10: "pix", 20: "pxb", 30: "phb", 40: "node", 50: "sys"}

# What can be wrong with a driver, by NVML's return code.
_FAULTS = {
    4: "this user may not talk to the NVIDIA driver; check the permissions of /dev/nvidia*",
    9: "the NVIDIA driver is installed but not loaded; load it (modprobe nvidia) or reboot",
    10: "the NVIDIA driver timed out; check dmesg",
    15: "a GPU has fallen off the bus (NVML: GPU is lost); reboot",
    16: "a GPU needs a reset (NVML: GPU requires restart); reset it or reboot",
    17: "the operating system blocks the NVIDIA driver; check the container's devices and cgroups",
    18: "the NVIDIA kernel driver and its library have different versions; reboot after the update",
}


def read_nvml(*, timeout_s: float) -> MachineReading | None:
    """
    What NVML says of this machine; None if there is no NVML library.

    Raises:
        DetectionError: The driver is broken, or does not answer in time.
    """
    answers: list[MachineReading | Exception | None] = []

    def ask() -> None:
        try:
            answers.append(_read())
        except Exception as error:  # noqa: BLE001 - carried to the caller's thread
            answers.append(error)

    # A wedged driver blocks in the kernel: only a thread that may be left behind can be given up.
    thread = threading.Thread(target=ask, name="nvml", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not answers:
        message = f"the NVIDIA driver did not answer within {timeout_s:g} s; check nvidia-smi and dmesg, {WAY_OUT}"
        raise DetectionError(message)
    answer = answers[0]
    if isinstance(answer, Exception) and not isinstance(answer, DetectionError):
        message = f"NVML gave an answer that cannot be read ({answer!r}), {WAY_OUT}"
        raise DetectionError(message) from answer
    if isinstance(answer, DetectionError):
        raise answer
    return answer


def _read() -> MachineReading | None:
    import pynvml as nvml

    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        if error.value == nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            return None
        raise _fault(error) from None
    try:
        return _read_gpus(nvml)
    except nvml.NVMLError as error:
        raise _fault(error) from None
    finally:
        _optional(nvml, nvml.nvmlShutdown)


def _fault(error: Any) -> DetectionError:
    what = _FAULTS.get(error.value, f"NVML failed ({error}); check nvidia-smi")
    return DetectionError(f"{what}, {WAY_OUT}")


def _read_gpus(nvml: Any) -> MachineReading:
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    gpus: list[GpuReading] = []
    notes: list[str] = []
    for index, handle in enumerate(handles):
        mode = _optional(nvml, nvml.nvmlDeviceGetMigMode, handle)
        if not mode or mode[0] != 1:
            gpus.append(_read_gpu(nvml, index, handle))
            continue
        instances = _read_instances(nvml, index, handle)
        gpus += instances
        if not instances:
            notes.append(f"GPU {index} is in MIG mode and has no instance")
    cuda = _optional(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    return MachineReading(
        source="NVML",
        driver_version=nvml.nvmlSystemGetDriverVersion(),
        cuda_version=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        gpus=tuple(gpus),
        links=tuple(
            Link(first=first, second=second, kind=_link_kind(nvml, handles[first], handles[second]))
            for first, second in combinations(range(len(handles)), 2)
        ),
        notes=tuple(notes),
    )


def _optional(nvml: Any, question: Callable[..., Any], *arguments: Any) -> Any:
    """
    An answer that older drivers, virtual GPUs or Jetson do not have.
    """
    try:
        return question(*arguments)
    except nvml.NVMLError:
        return None


def _read_gpu(nvml: Any, index: int, handle: Any) -> GpuReading:
    return GpuReading(
        index=index,
        product_name=nvml.nvmlDeviceGetName(handle),
        uuid=nvml.nvmlDeviceGetUUID(handle),
        compute_capability=_optional(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle),
        pcie_generation=_optional(nvml, nvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        pcie_lanes=_optional(nvml, nvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
        memory=_read_memory(nvml, handle),
    )


def _read_instances(nvml: Any, index: int, handle: Any) -> list[GpuReading]:
    product_name = nvml.nvmlDeviceGetName(handle)
    parent_uuid = nvml.nvmlDeviceGetUUID(handle)
    capability = _optional(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    instances = []
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        instance = _optional(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
        if instance is None:
            continue
        # An instance is called after its GPU: "NVIDIA H200 MIG 1g.18gb".
        name = _optional(nvml, nvml.nvmlDeviceGetName, instance) or ""
        instances.append(
            GpuReading(
                index=index,
                product_name=product_name,
                uuid=nvml.nvmlDeviceGetUUID(instance),
                compute_capability=capability,
                mig_profile=name.partition(" MIG ")[2] or "instance",
                parent_uuid=parent_uuid,
                memory=_read_memory(nvml, instance),
            )
        )
    return instances


def _read_memory(nvml: Any, handle: Any) -> MemoryReading | None:
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except (nvml.NVMLError_FunctionNotFound, nvml.NVMLError_ArgumentVersionMismatch):
        # Before driver 510; this call counts what the driver keeps as used, so `free` is the same.
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return MemoryReading(total_bytes=memory.total, free_bytes=memory.free)
    except nvml.NVMLError_NotSupported:
        return None
    return MemoryReading(total_bytes=memory.total, reserved_bytes=memory.reserved, free_bytes=memory.free)


def _link_kind(nvml: Any, first: Any, second: Any) -> str:
    # vLLM asks the same (0.33 `platforms/cuda.py:NvmlCudaPlatform.is_fully_connected`).
    nvlink = _optional(nvml, nvml.nvmlDeviceGetP2PStatus, first, second, nvml.NVML_P2P_CAPS_INDEX_NVLINK)
    if nvlink == nvml.NVML_P2P_STATUS_OK:
        return "nvlink"
    path = _optional(nvml, nvml.nvmlDeviceGetTopologyCommonAncestor, first, second)
    return _PATHS.get(path, "unknown")
