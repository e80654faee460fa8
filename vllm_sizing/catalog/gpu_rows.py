"""
Lines of the GPU table as rows of text, and a row as a `GpuSpec`.
"""

from __future__ import annotations

from functools import cache

from vllm_sizing.catalog.gpu_table import GPU_TABLE
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.units import GB, GIB, MIB

_COLUMNS = (
    "key",
    "vendor",
    "architecture",
    "capability",
    "memory",
    "bandwidth",
    "flops",
    "link",
    "pcie",
    "watts",
    "names",
    "prints",
    "source",
    "note",
)
_DTYPES = ("bf16", "fp16", "fp8", "fp4", "int8")

# Bytes per second of one lane and direction, after line coding (128b/130b; FLIT from generation 6).
_PCIE_LANE_BYTES_PER_S = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}

Row = dict[str, str]


@cache
def gpu_rows() -> tuple[Row, ...]:
    """
    Every line of the table.
    """
    lines = GPU_TABLE.strip().splitlines()
    return tuple(dict(zip(_COLUMNS, map(str.strip, line.split("|")), strict=True)) for line in lines)


def split_names(cell: str) -> list[str]:
    """
    The names in a cell.
    """
    return cell.split("; ")


def pcie_bytes_per_s(generation: int, lanes: int) -> float | None:
    """
    What a PCIe link moves in one direction; None for a generation that is not known.

    >>> pcie_bytes_per_s(4, 16) / 1e9
    31.504
    """
    lane = _PCIE_LANE_BYTES_PER_S.get(generation)
    return None if lane is None or lanes < 1 else lane * lanes


def gpu_of_row(row: Row, assumed: str) -> GpuSpec:
    """
    The GPU of one line; what was assumed about the name comes on top of what the line assumes.
    """
    kind, _, link = row["link"].partition(" ")
    generation, _, lanes = row["pcie"].partition("x")
    major, _, minor = row["capability"].partition(".")
    memory_bytes, memory_source = _memory(row["memory"])
    architecture = row["architecture"]
    if row["capability"].startswith("gfx"):
        architecture = f"{architecture} ({row['capability']})"
    if row["memory"].endswith("GB"):
        assumed = "; ".join(filter(None, (assumed, f"the memory is the label, {row['memory']}")))
    if row["note"] != "-":
        assumed = "; ".join(filter(None, (assumed, row["note"])))
    return GpuSpec(
        name=row["key"],
        product_names=tuple(split_names(row["prints"])),
        vendor=row["vendor"],
        architecture=architecture,
        memory_bytes=memory_bytes,
        memory_bandwidth_bytes_per_s=_scaled(row["bandwidth"], "e9"),
        peak_flops=tuple(
            (dtype, float(f"{tflops}e12"))
            for dtype, tflops in zip(_DTYPES, row["flops"].split(), strict=True)
            if tflops != "-"
        ),
        compute_capability=(int(major), int(minor)) if major.isdigit() else None,
        link={"bridge": "pcie", "unified": "none"}.get(kind, kind),
        link_bytes_per_s=_scaled(link or "-", "e9"),
        pcie_bytes_per_s=pcie_bytes_per_s(int(generation), int(lanes)) if lanes else None,
        tdp_w=_scaled(row["watts"], ""),
        integrated=kind == "unified",
        source=f"{row['source']}; memory: {memory_source}",
        assumed=assumed,
    )


def _scaled(figure: str, exponent: str) -> float | None:
    return None if figure == "-" else float(figure + exponent)


def _memory(cell: str) -> tuple[int, str]:
    for unit, size, source in (
        ("GiB", GIB, "CUDA's total, to 0.01 GiB"),
        ("MiB", MIB, "NVML's total, CUDA offers a little less"),
        ("GB", GB, "the label, the driver's figure is not known"),
    ):
        if cell.endswith(unit):
            return round(float(cell.removesuffix(unit)) * size), source
    return int(cell), "CUDA's total"
