"""
nvidia-smi, for machines where its program is found and NVML's library is not.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from itertools import combinations
from typing import TYPE_CHECKING

from vllm_sizing.errors import DetectionError
from vllm_sizing.sources.readings import WAY_OUT, GpuReading, Link, MachineReading, MemoryReading
from vllm_sizing.units import MIB

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# WSL keeps the program outside PATH when the shell was not a login shell.
_WSL_PROGRAM = "/usr/lib/wsl/lib/nvidia-smi"


def read_nvidia_smi(*, timeout_s: float) -> MachineReading | None:
    """
    What nvidia-smi says of this machine; None if there is no such program.

    Raises:
        DetectionError: It failed, printed what cannot be read, or took too long.
    """
    import attrs

    program = shutil.which("nvidia-smi") or shutil.which(_WSL_PROGRAM)
    if program is None:
        return None
    deadline = time.monotonic() + timeout_s

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return _run([program, *arguments], deadline)

    answer = run("-q", "-x")
    if answer.returncode != 0:
        said = " ".join((answer.stdout + answer.stderr).split())[:200]
        message = f"nvidia-smi failed ({said or f'exit code {answer.returncode}'}); repair the driver, {WAY_OUT}"
        raise DetectionError(message)
    reading = parse_nvidia_smi_xml(answer.stdout)
    # What follows is wanted, not needed: an old nvidia-smi does not know the question.
    capabilities = parse_compute_capabilities(run("--query-gpu=uuid,compute_cap", "--format=csv,noheader").stdout)
    names = parse_mig_names(run("-L").stdout) if any(gpu.mig_profile for gpu in reading.gpus) else {}
    gpus = []
    for gpu in reading.gpus:
        uuid, profile = names.get((gpu.index, gpu.uuid), (gpu.uuid, gpu.mig_profile))
        capability = capabilities.get(gpu.parent_uuid or gpu.uuid)
        gpus.append(attrs.evolve(gpu, uuid=uuid, mig_profile=profile, compute_capability=capability))
    indices = {gpu.index for gpu in gpus}
    links = parse_topology(run("topo", "-m").stdout) if len(indices) > 1 else ()
    return attrs.evolve(reading, gpus=tuple(gpus), links=links)


def _run(command: list[str], deadline: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - the program that PATH gives, fixed arguments
            command,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=max(deadline - time.monotonic(), 0.1),
        )
    except subprocess.TimeoutExpired:
        message = f"nvidia-smi did not answer in time; check the driver (dmesg), {WAY_OUT}"
        raise DetectionError(message) from None
    except OSError as error:
        message = f"nvidia-smi cannot be run ({error.strerror}: {command[0]}), {WAY_OUT}"
        raise DetectionError(message) from None


def parse_nvidia_smi_xml(text: str) -> MachineReading:
    """
    Reads the answer of ``nvidia-smi -q -x``.

    Raises:
        DetectionError: It is not that.
    """
    # The text comes from the driver's own program, not from a stranger.
    from xml.etree import ElementTree as ET

    try:
        root = ET.fromstring(text)  # noqa: S314
    except ET.ParseError:
        root = ET.Element("nothing")
    if root.tag != "nvidia_smi_log":
        start = " ".join(text.split())[:60]
        message = f"nvidia-smi printed {start!r} where its XML was expected; repair the driver, {WAY_OUT}"
        raise DetectionError(message)
    gpus: list[GpuReading] = []
    notes: list[str] = []
    for index, element in enumerate(root.findall("gpu")):
        if _text(element, "mig_mode/current_mig") != "Enabled":
            gpus.append(_gpu_of(index, element))
            continue
        instances = [_instance_of(index, element, part) for part in element.findall("mig_devices/mig_device")]
        gpus += instances
        if not instances:
            notes.append(f"GPU {index} is in MIG mode and has no instance")
    return MachineReading(
        source="nvidia-smi",
        driver_version=_text(root, "driver_version"),
        cuda_version=_text(root, "cuda_version"),
        gpus=tuple(gpus),
        notes=tuple(notes),
    )


def _gpu_of(index: int, element: Element) -> GpuReading:
    link = "pci/pci_gpu_link_info"
    return GpuReading(
        index=index,
        product_name=_text(element, "product_name"),
        uuid=_text(element, "uuid"),
        pcie_generation=_number(_text(element, f"{link}/pcie_gen/max_link_gen")),
        pcie_lanes=_number(_text(element, f"{link}/link_widths/max_link_width")),
        memory=_memory_of(element),
    )


def _instance_of(index: int, gpu: Element, element: Element) -> GpuReading:
    return GpuReading(
        index=index,
        product_name=_text(gpu, "product_name"),
        # The XML gives an instance a number only; `nvidia-smi -L` has its UUID.
        uuid=_text(element, "index"),
        mig_profile="instance",
        parent_uuid=_text(gpu, "uuid"),
        memory=_memory_of(element),
    )


def _memory_of(element: Element) -> MemoryReading | None:
    def mib(part: str) -> int | None:
        number = _number(_text(element, f"fb_memory_usage/{part}"))
        return None if number is None else number * MIB

    total_bytes = mib("total")
    if total_bytes is None:
        return None
    return MemoryReading(total_bytes=total_bytes, reserved_bytes=mib("reserved"), free_bytes=mib("free"))


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _number(text: str) -> int | None:
    match = re.match(r"\d+", text, re.ASCII)
    return int(match[0]) if match else None


def parse_compute_capabilities(text: str) -> dict[str, tuple[int, int]]:
    """
    Reads ``--query-gpu=uuid,compute_cap --format=csv,noheader``: capability by UUID.
    """
    found = re.findall(r"^(GPU-\S+), *(\d+)\.(\d+)\s*$", text, re.MULTILINE | re.ASCII)
    return {uuid: (int(major), int(minor)) for uuid, major, minor in found}


def parse_mig_names(text: str) -> dict[tuple[int, str], tuple[str, str]]:
    """
    Reads ``nvidia-smi -L``: UUID and profile of an instance by (number of the GPU, of the instance).
    """
    names: dict[tuple[int, str], tuple[str, str]] = {}
    gpu = -1
    for line in text.splitlines():
        if match := re.match(r"\s*GPU (\d+):", line, re.ASCII):
            gpu = int(match[1])
        elif match := re.match(r"\s*MIG (\S+)\s+Device\s+(\d+): \(UUID: (\S+)\)", line, re.ASCII):
            names[gpu, match[2]] = (match[3], match[1])
    return names


def parse_topology(text: str) -> tuple[Link, ...]:
    """
    Reads the matrix of ``nvidia-smi topo -m``; nothing if it is none.
    """
    rows: dict[int, list[str]] = {}
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
        cells = line.split()
        if len(cells) > 1 and re.fullmatch(r"GPU\d+", cells[0], re.ASCII) and "X" in cells:
            rows[int(cells[0][3:])] = cells[1:]
    return tuple(
        Link(first=first, second=second, kind=_kind_of(rows[first][second]))
        for first, second in combinations(sorted(rows), 2)
        if second < len(rows[first])
    )


def _kind_of(cell: str) -> str:
    if re.fullmatch(r"NV\d+", cell):
        return "nvlink"
    return cell.lower() if cell in {"PIX", "PXB", "PHB", "NODE", "SYS"} else "unknown"
