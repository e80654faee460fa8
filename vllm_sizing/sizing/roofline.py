"""
How long one step takes on one rank: a roofline with launch and link costs.

What is achieved of the datasheet is in `speed_constants`; method, errors and bad cells are in
``docs/explanation/accuracy.md``.
"""

from __future__ import annotations

import math

import attrs

from vllm_sizing.sizing.speed_constants import Constants
from vllm_sizing.sizing.work import Matrices, Work
from vllm_sizing.specs.value import Value

BULK_BYTES = 8 << 20  # custom_all_reduce.py: larger messages go through NCCL.
_WIDE = ("bf16", "fp16")
PNORM = 3.0  # Memory and compute overlap, but not quite: the p-norm of both times.


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
        for candidate in (compute, "bf16", "fp16"):
            found = self.peak.get(candidate)
            if found:
                return found, candidate
        return 0.0, ""


def matrix_seconds(matrices: Matrices, tokens: float, machine: Machine, constants: Constants) -> tuple[float, float]:
    """
    Dense linear layers on so many tokens: seconds to move their weights, and to compute.
    """
    memory = (matrices.num_bytes + matrices.spilled_bytes) / (machine.bandwidth * constants.dense_memory)
    rate = _rate(matrices, machine, constants)
    return memory, (tokens + constants.dense_tokens * machine.tile) * matrices.flops_per_token / rate


def _rate(matrices: Matrices, machine: Machine, constants: Constants) -> float:
    peak, compute = machine.flops(matrices.compute)
    if compute in _WIDE:
        fraction = constants.bf16_compute * (constants.packed_compute if matrices.method else 1.0)
    else:
        fraction = constants.dense_compute
    return peak * fraction * _newer(compute, machine, constants)


def expert_seconds(
    matrices: Matrices, tokens: float, work: Work, machine: Machine, constants: Constants
) -> tuple[float, float]:
    """
    Routed experts: only the distinct ones that the tokens choose are read; the fullest rank sets the pace.
    """
    peak, compute = machine.flops(matrices.compute)
    total, chosen = work.num_experts, work.num_experts_per_token
    tokens *= machine.expert_tokens
    share = distinct_experts(total, chosen, tokens, constants.moe_routing) / total
    per_expert = tokens * chosen / max(share * total, 1e-9)
    fraction = constants.moe_compute * _newer(compute, machine, constants) / (
        (1 + constants.moe_tokens * machine.tile / per_expert) * (1 + constants.moe_columns / matrices.narrow)
    )  # fmt: skip
    if matrices.method and compute in _WIDE:
        fraction *= constants.packed_compute
    busy = 1.0
    if machine.expert_ranks > 1:
        # Expected maximum of n binomial counts, as of normal ones.
        deviations = max(0.0, math.sqrt(2 * math.log(machine.expert_ranks)) - 0.62)
        local = total / machine.expert_ranks
        busy = 1.0 + deviations / math.sqrt(max(tokens * chosen / machine.expert_ranks, 1.0))
        share = min(1.0, share + deviations * math.sqrt(share * (1 - share) / local))
    memory = (share * matrices.num_bytes + matrices.spilled_bytes) / (machine.bandwidth * constants.moe_memory)
    return memory, busy * tokens * matrices.flops_per_token / (peak * fraction)


def _newer(compute: str, machine: Machine, constants: Constants) -> float:
    factor = constants.blackwell_compute if machine.blackwell else 1.0
    return factor * constants.fp4_compute if compute == "fp4" else factor


def distinct_experts(total: int, chosen: int, tokens: float, routing: float = 1.0) -> float:
    """
    Expected number of experts that so many tokens choose between them.

    >>> round(distinct_experts(128, 8, 1)), round(distinct_experts(128, 8, 1000))
    (8, 128)
    """
    if chosen >= total:
        return float(total)
    return total * (1.0 - math.pow(1.0 - chosen / total, math.pow(tokens, routing)))


def overlapped(first: float, second: float) -> float:
    """
    Memory and compute at the same time: their p-norm.

    >>> round(overlapped(1.0, 1.0), 2), overlapped(2.0, 0.0)
    (1.26, 2.0)
    """
    if first <= 0 or second <= 0:
        return max(first, second)
    return math.pow(first * first * first + second * second * second, 1.0 / PNORM)


@attrs.frozen(eq=False, repr=False)
class Step(Value):
    """
    Seconds of one step of one pipeline stage and of its parts.

    Attributes:
        weights: Linear layers and experts; ``compute``: of it, what arithmetic alone would take.

        cache: Attention of the requests that decode; ``attention``: of the prompt.

        host: Weights that come from host memory.

        floor: The CPU launches no faster.
    """

    weights: float
    compute: float
    cache: float
    attention: float
    link: float
    launch: float
    host: float
    floor: float

    @property
    def seconds(self) -> float:
        """
        The whole step; without graph it is not shorter than its launch on the CPU.
        """
        busy = self.weights + self.cache + self.attention + self.link + self.launch
        return max(busy, self.floor, self.host)


def step(
    work: Work,
    machine: Machine,
    constants: Constants,
    decodes: float,
    context: float,
    prefill: float = 0.0,
    prefill_context: float = 0.0,
    prompts: float = 1.0,
) -> Step:
    """
    One step of ``decodes`` requests at ``context`` tokens and ``prefill`` tokens of ``prompts`` requests.

    Args:
        prefill_context: Mean context that a token of the chunk attends to.
    """
    queries = decodes * machine.queries
    tokens = queries + prefill
    sampled = queries + (prompts if prefill else 0.0)
    weights = compute = 0.0
    for parts, number in ((work.dense, tokens), (work.head, sampled)):
        for part in parts:
            memory, arithmetic = matrix_seconds(part, number, machine, constants)
            weights += overlapped(memory, arithmetic)
            compute += arithmetic
    for part in work.experts:
        memory, arithmetic = expert_seconds(part, tokens, work, machine, constants)
        weights += overlapped(memory, arithmetic)
        compute += arithmetic
    moved = constants.activation_passes * 2 * tokens * work.values_per_token
    weights += moved / (machine.bandwidth * constants.dense_memory)
    launch = constants.step_us + constants.sequence_us * (decodes + prompts if prefill else decodes)
    if machine.draft_passes and decodes:
        weights += machine.draft_passes * machine.draft_bytes / (machine.bandwidth * constants.dense_memory)
        launch += machine.draft_passes * constants.draft_us
    cache = prefill_flops = 0.0
    peak = machine.flops("bf16")[0] * constants.attention_compute
    bandwidth = machine.bandwidth * constants.kv_memory
    for read in work.caches:
        seen = min(context, read.span) if read.span else context
        memory = decodes * (read.bytes_per_token * seen + read.state_bytes) / bandwidth
        cache += max(memory, queries * seen * read.decode_flops_per_token / peak)
        if prefill:
            attended = min(prefill_context, read.span) if read.span else prefill_context
            prefill_flops += prefill * attended * read.flops_per_token
            cache += prompts * (read.bytes_per_token * attended + read.state_bytes) / bandwidth
    layer_us = constants.layer_us + constants.lora_layer_us * machine.lora
    if any(part.method and machine.flops(part.compute)[1] not in _WIDE for part in work.dense):
        layer_us += constants.quantized_layer_us
    if not machine.full_graphs:
        layer_us += constants.piecewise_layer_us
    layers_us = work.num_layers * layer_us + work.num_moe_layers * _routing_us(work, machine, constants)
    launch += layers_us
    graph = not prefill and queries <= machine.largest_graph
    floor = 0.0 if graph else constants.eager_step_us + constants.eager_launch * layers_us
    host = (
        machine.offloaded_bytes / (machine.host_bytes_per_s * constants.host_link) if machine.offloaded_bytes else 0.0
    )
    return Step(
        weights,
        compute,
        cache,
        prefill_flops / peak,
        _link_seconds(work, machine, constants, tokens),
        launch * 1e-6,
        host,
        floor * 1e-6,
    )


def _routing_us(work: Work, machine: Machine, constants: Constants) -> float:
    """
    Router, permutation and launches of a layer's experts, by the kernel that runs them.
    """
    if not work.experts:
        return 0.0
    experts = work.experts[0]
    if machine.blackwell and experts.compute == "fp4":
        return constants.moe_fused_layer_us
    return constants.moe_block_layer_us if experts.blocks else constants.moe_layer_us


def _link_seconds(work: Work, machine: Machine, constants: Constants, tokens: float) -> float:
    """
    Two all-reduces per layer, what the experts of replicas exchange, what a stage hands to the next.
    """
    seconds, size = 0.0, tokens * work.activation_bytes_per_token
    ranks, replicas = machine.ranks, machine.expert_tokens
    if ranks > 1:
        latency = _latency(ranks, machine, constants, crosses=machine.crosses[0])
        latency += constants.bulk_us * 1e-6 * (size > BULK_BYTES)
        data = size * _share(ranks, machine) / (machine.link_bytes_per_s * constants.link)
        seconds = 2 * work.num_layers * (latency + data) + work.num_split_norms * latency
    if replicas > 1 and work.num_moe_layers:
        # Gathered before the experts, scattered after: each half of an all-reduce.
        latency = _latency(ranks * replicas, machine, constants, crosses=machine.crosses[1])
        data = size * (replicas - 1) / (machine.expert_link_bytes_per_s * constants.link)
        seconds += 2 * work.num_moe_layers * (latency + data)
    if machine.pipeline > 1:
        latency = _latency(2, machine, constants, crosses=machine.crosses[1])
        seconds += latency + 2 * size / (machine.stage_link_bytes_per_s * constants.link)
    return seconds


def _share(ranks: int, machine: Machine) -> float:
    """
    Of a message, what one link carries: a ring, or a switch that adds up on the way (NVLink SHARP).
    """
    ring = 2 * (ranks - 1) / ranks
    return min(ring, 1 + 1 / ranks) if machine.sharp else ring


def _latency(ranks: int, machine: Machine, constants: Constants, *, crosses: bool) -> float:
    """
    Of a collective without data: hops between GPUs, and between nodes.
    """
    doublings = (ranks - 1).bit_length() - 1
    first = constants.reduce_us if machine.direct else constants.pcie_reduce_us
    return (first * constants.reduce_growth**doublings + constants.network_us * crosses) * 1e-6
