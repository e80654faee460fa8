"""
What the planner knows of the hardware: one GPU, and how many of them are linked how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from vllm_sizing.errors import InvalidValueError
from vllm_sizing.specs.checks import above_zero_or_none, instance, not_negative_or_none, one_of, positive, text
from vllm_sizing.specs.value import Value

MOST_GPUS, MOST_NODES = 1024, 1024  # Per node and of them: far beyond any, and still planned in a second or two.


def _peaks(value: Mapping[str, float] | Iterable[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """
    Pairs, from a mapping as JSON has it, too.
    """
    try:
        peaks = tuple((name, flops) for name, flops in (value.items() if isinstance(value, Mapping) else value))
        right = all(isinstance(name, str) and 0 < flops < float("inf") for name, flops in peaks)
    except (TypeError, ValueError):
        right = False
    if not right:
        message = f"peak_flops is {value!r:.60}; it must be numbers above 0 by dtype, such as {{'bf16': 989e12}}"
        raise InvalidValueError(message, field="peak_flops", value=value)
    return peaks


def _within(most: int) -> Callable[[object, attrs.Attribute[int], int], None]:
    """
    At least 1; and no more than anybody links, for every layout of them is looked at.
    """

    def check(_: object, attribute: attrs.Attribute[int], value: int) -> None:
        positive(_, attribute, value)
        if value > most:
            message = f"{attribute.name} is {value:,}; it must be at most {most:,}: plan one replica and repeat it"
            raise InvalidValueError(message, field=attribute.name, value=value)

    return check


def _capability(_: object, attribute: attrs.Attribute[tuple[int, int] | None], value: object) -> None:
    if value is None or (isinstance(value, tuple) and [type(part) for part in value] == [int, int]):
        return
    message = f"{attribute.name} is {value!r:.60}; it must be (major, minor) such as (9, 0), or None"
    raise InvalidValueError(message, field=attribute.name, value=value)


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

    name: str = attrs.field(validator=text)
    product_names: tuple[str, ...] = ()
    vendor: str = "nvidia"
    architecture: str = ""
    memory_bytes: int = attrs.field(validator=positive)
    free_memory_bytes: int | None = attrs.field(default=None, validator=not_negative_or_none)
    memory_bandwidth_bytes_per_s: float | None = attrs.field(default=None, validator=above_zero_or_none)
    peak_flops: tuple[tuple[str, float], ...] = attrs.field(default=(), converter=_peaks)
    compute_capability: tuple[int, int] | None = attrs.field(default=None, validator=_capability)
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

    gpu: GpuSpec = attrs.field(validator=instance(GpuSpec))
    num_gpus: int = attrs.field(default=1, validator=_within(MOST_GPUS))
    num_nodes: int = attrs.field(default=1, validator=_within(MOST_NODES))
    interconnect: str | None = attrs.field(default=None, validator=one_of("nvlink", "pcie", "unknown", or_none=True))
    network_bytes_per_s: float | None = attrs.field(default=None, validator=above_zero_or_none)

    @property
    def total_gpus(self) -> int:
        """
        GPUs over all nodes.
        """
        return self.num_gpus * self.num_nodes
