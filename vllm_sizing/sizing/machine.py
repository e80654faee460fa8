"""
What a rank runs on: its GPU, its links, and how the start uses them.
"""

from __future__ import annotations

import attrs

from vllm_sizing.sizing.evaluate import Evaluation
from vllm_sizing.specs.gpu import Cluster
from vllm_sizing.specs.value import Value

PCIE_BYTES_PER_S = 25e9  # Version 4, where nothing is said of the slot.
NETWORK_BYTES_PER_S = 50e9  # 400 Gbit/s, one direction, where nothing is said of the network.
WIDE_TILES = (9, 10)  # wgmma and tcgen05 take 64 rows at least, mma.sync 16.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Machine(Value):
    """
    One rank's GPU and its links, in SI units.

    Attributes:
        expert_tokens: Tokens that meet this rank's experts, per token of its own replica: with data
            parallelism the experts are shared by all replicas.

        expert_link_bytes_per_s: Of the slowest link between the ranks that share experts.

        expert_ranks: Ranks that whole experts are spread over; 1: each expert is divided instead.

        link_bytes_per_s: One direction, of the tensor-parallel group's slowest link.

        stage_link_bytes_per_s: From one pipeline stage to the next.

        tile: Rows that its tensor cores take at once, over those of Hopper's.

        direct: GPUs reach each other without the host; ``sharp``: through a switch that adds up on the way.

        crosses: Whether the tensor-parallel group, all ranks together, spread over more than one node.

        queries: Tokens of one request that a decode step verifies; ``draft_passes``: runs of a draft model
            before it; ``draft_bytes``: read by each.

        offloaded_bytes: Weights in host memory, read by every step over ``host_bytes_per_s``.
    """

    bandwidth: float
    peak: dict[str, float]
    blackwell: bool
    ranks: int
    pipeline: int
    expert_tokens: int
    link_bytes_per_s: float
    full_graphs: bool
    largest_graph: int
    expert_ranks: int = 1
    expert_link_bytes_per_s: float = 0.0
    stage_link_bytes_per_s: float = 0.0
    tile: float = 1.0
    direct: bool = True
    sharp: bool = False
    crosses: tuple[bool, bool] = (False, False)
    queries: int = 1
    draft_passes: int = 0
    draft_bytes: int = 0
    offloaded_bytes: int = 0
    host_bytes_per_s: float = 0.0
    lora: bool = False

    def flops(self, compute: str) -> tuple[float, str]:
        """
        The peak for a dtype, or that of the widest type it is computed in instead.
        """
        found = next(name for name in (compute, "bf16", "fp16") if name in self.peak)
        return self.peak[found], found


def machine_of(evaluation: Evaluation, cluster: Cluster) -> Machine:
    """
    The machine that a start runs on.
    """
    setup, gpu, layout = evaluation.setup, cluster.gpu, evaluation.setup.layout
    inside = gpu.link_bytes_per_s if cluster.interconnect != "pcie" else None
    direct = inside is not None and (cluster.interconnect == "nvlink" or gpu.link != "pcie")
    link = (inside if direct else None) or gpu.pcie_bytes_per_s or PCIE_BYTES_PER_S
    network = min(link, cluster.network_bytes_per_s or NETWORK_BYTES_PER_S)
    capability = gpu.compute_capability or (0, 0)
    node, tensor = cluster.num_gpus, layout.tensor
    crosses = (tensor > node, layout.num_ranks > node)
    mode = dict(setup.args.compilation_config or ()).get("cudagraph_mode")
    memory = evaluation.numbers.memory
    experts = bool(setup.model.num_experts)
    return Machine(
        bandwidth=gpu.memory_bandwidth_bytes_per_s or 1.0,
        peak=dict(gpu.peak_flops),
        blackwell=capability[0] in (10, 12),
        ranks=tensor,
        pipeline=layout.pipeline,
        expert_tokens=layout.data if experts else 1,
        expert_ranks=layout.expert_ranks,
        link_bytes_per_s=network if crosses[0] else link,
        expert_link_bytes_per_s=network if crosses[1] else link,
        stage_link_bytes_per_s=network if crosses[1] else link,
        tile=1.0 if capability[0] in WIDE_TILES else 0.25,
        direct=direct,
        sharp=link == gpu.link_bytes_per_s and gpu.link == "nvlink" and capability >= (9, 0),
        crosses=crosses,
        full_graphs=setup.rules.full_graphs and mode != "PIECEWISE",
        largest_graph=setup.capture_sizes[-1] if setup.capture_sizes else 0,
        queries=1 + setup.speculative_tokens,
        draft_passes=setup.speculative_tokens if memory.draft_bytes else 0,
        draft_bytes=memory.draft_bytes,
        offloaded_bytes=memory.offloaded_bytes_per_gpu,
        host_bytes_per_s=gpu.pcie_bytes_per_s or PCIE_BYTES_PER_S,
        lora=bool(setup.args.enable_lora),
    )
