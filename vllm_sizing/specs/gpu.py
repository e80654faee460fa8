"""
What the planner knows of the hardware: one GPU, and how many of them are linked how.
"""

from __future__ import annotations

import attrs

from vllm_sizing.specs.checks import above_zero_or_none, not_negative_or_none, one_of, positive
from vllm_sizing.specs.value import Value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GpuSpec(Value):
    """
    One accelerator as the planner sees it.

    Attributes:
        name: Catalog key, for example ``h100-sxm``.

        memory_bytes: What the driver offers to a process (``cudaMemGetInfo``), not the label.

        free_memory_bytes: What was free when the GPU was detected; None if nobody looked.

        memory_bandwidth_bytes_per_s: Datasheet figure; None where it is not known.

        peak_flops: Dense tensor-core peak by dtype (``bf16``, ``fp16``, ``fp8``, ``fp4``,
            ``int8``), operations per second.  A dtype that is missing has no native units.

        compute_capability: (major, minor) for NVIDIA, None for others.

        link: How GPUs of one node reach each other: ``nvlink``, ``pcie``, ``none``, or a vendor's
            own (``xgmi``, ``roce``, ``xelink``, ``ici``).

        link_bytes_per_s: One direction, one GPU, all links together.  A GPU with ``pcie`` that has
            this figure can be bridged by NVLink, with parts that are sold apart.

        pcie_bytes_per_s: One direction, to the host.

        integrated: It shares the memory of its host.

        product_names: What nvidia-smi prints for it.

        source: Where the figures come from.

        assumed: What was assumed when a short name such as ``h100`` was resolved; becomes a
            finding on the plan.
    """

    name: str
    product_names: tuple[str, ...] = ()
    vendor: str = "nvidia"
    architecture: str = ""
    memory_bytes: int = attrs.field(validator=positive)
    free_memory_bytes: int | None = attrs.field(default=None, validator=not_negative_or_none)
    memory_bandwidth_bytes_per_s: float | None = attrs.field(default=None, validator=above_zero_or_none)
    peak_flops: tuple[tuple[str, float], ...] = ()
    compute_capability: tuple[int, int] | None = None
    link: str = attrs.field(default="pcie", validator=one_of("nvlink", "pcie", "none", "xgmi", "roce", "xelink", "ici"))
    link_bytes_per_s: float | None = attrs.field(default=None, validator=above_zero_or_none)
    pcie_bytes_per_s: float | None = attrs.field(default=None, validator=above_zero_or_none)
    tdp_w: float | None = None
    integrated: bool = False
    source: str = ""
    assumed: str = ""

    def peak(self, dtype: str) -> float | None:
        """
        Dense peak operations per second for a dtype, None where the GPU has no units for it.
        """
        for name, flops in self.peak_flops:
            if name == dtype:
                return flops
        return None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Cluster(Value):
    """
    The GPUs that one plan may use.

    Attributes:
        gpu: Every GPU of the cluster is of this kind.

        num_gpus: Per node.

        interconnect: Overrides the link of the GPU inside a node (``nvlink``, ``pcie``).

        network_bytes_per_s: Between nodes, one direction, per GPU.
    """

    gpu: GpuSpec
    num_gpus: int = attrs.field(default=1, validator=positive)
    num_nodes: int = attrs.field(default=1, validator=positive)
    interconnect: str | None = attrs.field(default=None, validator=one_of("nvlink", "pcie", "unknown", or_none=True))
    network_bytes_per_s: float | None = None

    @property
    def total_gpus(self) -> int:
        """
        GPUs over all nodes.
        """
        return self.num_gpus * self.num_nodes
