"""
How long one step takes on one rank: a roofline with launch and link costs.

What is achieved of the datasheet is in `speed_constants`; method, errors and bad cells are in
``docs/explanation/accuracy.md``.
"""

from __future__ import annotations

import math

import attrs

from vllm_sizing.sizing.machine import Machine
from vllm_sizing.sizing.speed_constants import Constants
from vllm_sizing.sizing.work import Matrices, Work
from vllm_sizing.specs.value import Value

BULK_BYTES = 8 << 20  # custom_all_reduce.py: larger messages go through NCCL.
_WIDE = ("bf16", "fp16")
PNORM = 3.0  # Memory and compute overlap, but not quite: the p-norm of both times.


@attrs.frozen(eq=False, repr=False)
class MatrixPace(Value):
    """
    Matrices on a machine: seconds to move them, seconds per token, and tokens lost in tiles that are not full.
    """

    memory_s: float
    token_s: float
    tile: float

    def seconds(self, tokens: float) -> tuple[float, float]:
        """
        To move, and to compute, on so many tokens.
        """
        return self.memory_s, (tokens + self.tile) * self.token_s


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExpertPace(Value):
    """
    Routed experts on a machine.

    Attributes:
        memory_s: All experts of a rank; ``spilled_s``: what is unpacked, whoever is chosen.

        token_s: Of one token of the replica, where every tile is full.

        tokens: That meet the experts, per token of the replica.
    """

    memory_s: float
    spilled_s: float
    token_s: float
    tile: float
    total: int
    chosen: int
    ranks: int
    tokens: float
    routing: float

    def seconds(self, tokens: float) -> tuple[float, float]:
        """
        To move the distinct experts that so many tokens choose, and to compute; the fullest rank sets the pace.
        """
        tokens *= self.tokens
        share = distinct_experts(self.total, self.chosen, tokens, self.routing) / self.total
        compute = (tokens + self.tile * share * self.total / self.chosen) * self.token_s
        if self.ranks > 1:
            # Expected maximum of n binomial counts, as of normal ones.
            deviations = max(0.0, math.sqrt(2 * math.log(self.ranks)) - 0.62)
            compute *= 1.0 + deviations / math.sqrt(max(tokens * self.chosen / self.ranks, 1.0))
            share = min(1.0, share + deviations * math.sqrt(share * (1 - share) * self.ranks / self.total))
        return share * self.memory_s + self.spilled_s, compute


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Pace(Value):
    """
    One rank's work on its machine, with everything that no step changes worked out; seconds.

    Attributes:
        caches: Of each kind of layer: one token of context, the state, one query against one token of context
            when it decodes, when it prefills, and the span.

        moved_s, link_s: Of activations and links, per token; ``latency_s``: of links, per step; with more than
            ``bulk_tokens`` messages are too large for the custom all-reduce, which costs ``bulk_s``.

        launch_s: Of a step; ``sequence_s``: more per request; ``draft_s``: of the draft before a decode.
    """

    dense: tuple[MatrixPace, ...]
    head: tuple[MatrixPace, ...]
    experts: tuple[ExpertPace, ...]
    caches: tuple[tuple[float, float, float, float, int], ...]
    queries: int
    largest_graph: int
    moved_s: float
    link_s: float
    latency_s: float
    bulk_tokens: float
    bulk_s: float
    launch_s: float
    sequence_s: float
    draft_s: float
    draft_weights_s: float
    floor_s: float
    host_s: float


def matrix_pace(matrices: Matrices, machine: Machine, constants: Constants) -> MatrixPace:
    """
    Dense linear layers on a machine.
    """
    memory_s = (matrices.num_bytes + matrices.spilled_bytes) / (machine.bandwidth * constants.dense_memory)
    peak, compute = machine.flops(matrices.compute)
    if compute in _WIDE:
        fraction = constants.bf16_compute * (constants.packed_compute if matrices.method else 1.0)
    else:
        fraction = constants.dense_compute
    fraction *= _newer(compute, machine, constants)
    return MatrixPace(memory_s, matrices.flops_per_token / (peak * fraction), constants.dense_tokens * machine.tile)


def expert_pace(matrices: Matrices, work: Work, machine: Machine, constants: Constants) -> ExpertPace:
    """
    Routed experts on a machine.
    """
    peak, compute = machine.flops(matrices.compute)
    fraction = (
        constants.moe_compute * _newer(compute, machine, constants) / (1 + constants.moe_columns / matrices.narrow)
    )
    if matrices.method and compute in _WIDE:
        fraction *= constants.packed_compute
    bandwidth = machine.bandwidth * constants.moe_memory
    return ExpertPace(
        memory_s=matrices.num_bytes / bandwidth,
        spilled_s=matrices.spilled_bytes / bandwidth,
        token_s=matrices.flops_per_token / (peak * fraction),
        tile=constants.moe_tokens * machine.tile,
        total=work.num_experts,
        chosen=work.num_experts_per_token,
        ranks=machine.expert_ranks,
        tokens=machine.expert_tokens,
        routing=constants.moe_routing,
    )


def _newer(compute: str, machine: Machine, constants: Constants) -> float:
    factor = constants.blackwell_compute if machine.blackwell else 1.0
    return factor * constants.fp4_compute if compute == "fp4" else factor


def distinct_experts(total: int, chosen: int, tokens: float, routing: float = 1.0) -> float:
    """
    Expected number of experts that so many tokens choose between them.

    >>> round(distinct_experts(128, 8, 1)), round(distinct_experts(128, 8, 1000))
    (8, 128)
    """
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


def pace_of(work: Work, machine: Machine, constants: Constants) -> Pace:
    """
    What a step needs of a rank's work.
    """
    dense_bandwidth = machine.bandwidth * constants.dense_memory
    kv_bandwidth = machine.bandwidth * constants.kv_memory
    peak = machine.flops("bf16")[0] * constants.attention_compute
    layer_us = constants.layer_us + constants.lora_layer_us * machine.lora
    if any(part.method and machine.flops(part.compute)[1] not in _WIDE for part in work.dense):
        layer_us += constants.quantized_layer_us
    if not machine.full_graphs:
        layer_us += constants.piecewise_layer_us
    layers_us = work.num_layers * layer_us + work.num_moe_layers * _routing_us(work, machine, constants)
    latency_s, link_s = _links(work, machine, constants)
    offloaded = machine.offloaded_bytes
    return Pace(
        dense=tuple(matrix_pace(part, machine, constants) for part in work.dense),
        head=tuple(matrix_pace(part, machine, constants) for part in work.head),
        experts=tuple(expert_pace(part, work, machine, constants) for part in work.experts),
        caches=tuple(
            (
                read.bytes_per_token / kv_bandwidth,
                read.state_bytes / kv_bandwidth,
                read.decode_flops_per_token / peak,
                read.flops_per_token / peak,
                read.span,
            )
            for read in work.caches
        ),
        queries=machine.queries,
        largest_graph=machine.largest_graph,
        moved_s=constants.activation_passes * 2 * work.values_per_token / dense_bandwidth,
        link_s=link_s,
        latency_s=latency_s,
        bulk_tokens=BULK_BYTES / work.activation_bytes_per_token,
        bulk_s=2e-6 * constants.bulk_us * work.num_layers * (machine.ranks > 1),
        launch_s=1e-6 * (constants.step_us + layers_us),
        sequence_s=1e-6 * constants.sequence_us,
        draft_s=1e-6 * machine.draft_passes * constants.draft_us,
        draft_weights_s=machine.draft_passes * machine.draft_bytes / dense_bandwidth,
        floor_s=1e-6 * (constants.eager_step_us + constants.eager_launch * layers_us),
        host_s=offloaded / (machine.host_bytes_per_s * constants.host_link) if offloaded else 0.0,
    )


def step(
    pace: Pace, decodes: float, context: float, prefill: float = 0.0, attended: float = 0.0, prompts: float = 1.0
) -> Step:
    """
    One step of ``decodes`` requests at ``context`` tokens and ``prefill`` tokens of ``prompts`` requests.

    Args:
        attended: Mean context that a token of the prompts attends to.
    """
    queries = decodes * pace.queries
    tokens = queries + prefill
    weights, compute = tokens * pace.moved_s, 0.0
    for parts, number in (
        (pace.dense, tokens), (pace.head, queries + prompts if prefill else queries), (pace.experts, tokens),
    ):  # fmt: skip
        for part in parts:
            memory_s, compute_s = part.seconds(number)
            weights += overlapped(memory_s, compute_s)
            compute += compute_s
    launch = pace.launch_s + pace.sequence_s * (decodes + prompts if prefill else decodes)
    if decodes:
        weights += pace.draft_weights_s
        launch += pace.draft_s
    cache = attention = 0.0
    for token_s, state_s, decode_s, prefill_s, span in pace.caches:
        seen = min(context, span) if span else context
        cache += max(decodes * (token_s * seen + state_s), queries * seen * decode_s)
        if prefill:
            seen = min(attended, span) if span else attended
            attention += prefill * seen * prefill_s
            cache += prompts * (token_s * seen + state_s)
    link = pace.latency_s + tokens * pace.link_s + pace.bulk_s * (tokens > pace.bulk_tokens)
    graph = not prefill and queries <= pace.largest_graph
    return Step(weights, compute, cache, attention, link, launch, pace.host_s, 0.0 if graph else pace.floor_s)


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


def _links(work: Work, machine: Machine, constants: Constants) -> tuple[float, float]:
    """
    Seconds per step and per token of all-reduces, of what replicas' experts exchange, of what stages hand on.
    """
    latency_s = data = 0.0
    ranks, replicas, token_bytes = machine.ranks, machine.expert_tokens, work.activation_bytes_per_token
    if ranks > 1:
        once_s = _latency(ranks, machine, constants, crosses=machine.crosses[0])
        latency_s = (2 * work.num_layers + work.num_split_norms) * once_s
        data = 2 * work.num_layers * token_bytes * _share(ranks, machine) / machine.link_bytes_per_s
    if replicas > 1 and work.num_moe_layers:
        # Gathered before the experts, scattered after: each half of an all-reduce.
        once_s = _latency(ranks * replicas, machine, constants, crosses=machine.crosses[1])
        latency_s += 2 * work.num_moe_layers * once_s
        data += 2 * work.num_moe_layers * token_bytes * (replicas - 1) / machine.expert_link_bytes_per_s
    if machine.pipeline > 1:
        latency_s += _latency(2, machine, constants, crosses=machine.crosses[1])
        data += 2 * token_bytes / machine.stage_link_bytes_per_s
    return latency_s, data / constants.link


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
