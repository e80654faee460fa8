"""
What a driver says of its GPUs, before anything is looked up: filled by NVML or by nvidia-smi.
"""

from __future__ import annotations

import attrs

from vllm_sizing.specs.value import Value

# End of every detection error: the plan does not need the machine, only a name.
WAY_OUT = "or name a GPU: --gpu NAME"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class MemoryReading(Value):
    """
    Device memory in bytes.

    Attributes:
        total_bytes: With what the driver keeps for itself.

        reserved_bytes: What the driver keeps; None if it does not tell (before driver 510).
    """

    total_bytes: int
    reserved_bytes: int | None = None
    free_bytes: int | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GpuReading(Value):
    """
    One GPU, or one MIG instance of a GPU, as the driver describes it.

    Attributes:
        index: The number that nvidia-smi prints (PCI order); of the GPU for an instance.

        memory: None where the driver does not tell, as for GPUs that share the memory of their host.

        mig_profile: ``1g.10gb`` and the like; empty for a whole GPU.

        parent_uuid: The GPU of an instance.
    """

    index: int
    product_name: str
    uuid: str
    memory: MemoryReading | None = None
    compute_capability: tuple[int, int] | None = None
    pcie_generation: int | None = None
    pcie_lanes: int | None = None
    mig_profile: str = ""
    parent_uuid: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Link(Value):
    """
    How two GPUs reach each other.

    Attributes:
        kind: ``nvlink``, or the PCIe path in nvidia-smi's words: ``pix`` (one bridge), ``pxb``
            (bridges), ``phb`` (host bridge), ``node`` (NUMA node), ``sys`` (between sockets);
            ``unknown`` if the driver does not tell.
    """

    first: int
    second: int
    kind: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class MachineReading(Value):
    """
    Everything that one look at the driver gives.

    Attributes:
        gpus: Whole GPUs, and the instances in place of a GPU that is split by MIG.
    """

    source: str
    driver_version: str = ""
    cuda_version: str = ""
    gpus: tuple[GpuReading, ...] = ()
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()
