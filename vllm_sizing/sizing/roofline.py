"""
How long one step takes on one rank: a roofline with launch and link costs.

The constants are fitted by ``python -m tests.validation fit`` on published measurements, with priors
from physics; method, errors and bad cells are in ``docs/explanation/accuracy.md``.
"""

from __future__ import annotations

import math

import attrs

from vllm_sizing.sizing.work import Matrices, Work
from vllm_sizing.specs.value import Value

PNORM = 3.0  # Memory and compute overlap, but not quite: the p-norm of both times.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Constants(Value):
    """
    Achieved fractions of the datasheet and fixed costs; microseconds where the name says so.

    Attributes:
        dense_memory, moe_memory, kv_memory: Of the memory bandwidth.

        dense_compute, bf16_compute, moe_compute, attention_compute: Of the dense peak: 8 and 4 bit linear
            layers, 16 bit ones, experts, attention.

        blackwell_compute, fp4_compute: Factors on top, from compute capability 10 on, and for FP4.

        moe_tokens, moe_columns: Experts reach half their peak at so many tokens, columns.

        moe_routing: Exponent of the tokens in the number of distinct experts.

        layer_us: Of a layer with full CUDA graphs: starts and tails of its kernels.

        moe_layer_us, moe_block_layer_us, moe_fused_layer_us: More where experts are routed: weight-only and
            16 bit kernels; FP8 with scales by block; the one fused kernel of Blackwell's FP4.

        step_us, sequence_us: Scheduler and sampler, per step and per request in it.

        piecewise_layer_us: More per layer with piecewise graphs only.

        eager_layer_us, eager_step_us: The CPU launches a step without graph (prefill) no faster.

        reduce_us, reduce_growth: A collective of two ranks, and its growth per doubling.

        link: Of one direction of the link.

        front_us, front_token_us, front_slot_us: HTTP and tokenizing, per request, per prompt token, and per
            request in flight.

        mix: Share of passing prefills that a decode waits for.

        queue: Prefills waited for, times rho / (1 - rho).
    """

    dense_memory: float = 0.787
    moe_memory: float = 0.647
    kv_memory: float = 0.577
    dense_compute: float = 0.5
    bf16_compute: float = 0.619
    moe_compute: float = 0.239
    attention_compute: float = 0.435
    blackwell_compute: float = 0.716
    fp4_compute: float = 0.835
    moe_tokens: float = 20.7
    moe_columns: float = 171.0
    moe_routing: float = 0.758
    layer_us: float = 42.4
    moe_layer_us: float = 14.5
    moe_block_layer_us: float = 42.6
    moe_fused_layer_us: float = 7.17
    step_us: float = 319.0
    sequence_us: float = 5.87
    piecewise_layer_us: float = 5.0
    eager_layer_us: float = 442.0
    eager_step_us: float = 3_690.0
    reduce_us: float = 7.45
    reduce_growth: float = 1.27
    link: float = 0.412
    front_us: float = 16_600.0
    front_token_us: float = 4.68
    front_slot_us: float = 198.0
    mix: float = 0.861
    queue: float = 0.149


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Machine(Value):
    """
    One rank's GPU and its links, in SI units.

    Attributes:
        expert_tokens: Tokens that meet this rank's experts, per token of its own replica: with data
            parallelism the experts are shared by all replicas.

        queries: Tokens of one request that a decode step verifies.

        draft_bytes: Read once per speculative token.
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
    queries: int = 1
    draft_bytes: int = 0

    def flops(self, compute: str) -> tuple[float, str]:
        """
        The peak for a dtype, or that of the widest type it is computed in instead.
        """
        for candidate in (compute, "bf16", "fp16"):
            found = self.peak.get(candidate)
            if found:
                return found, candidate
        return 0.0, ""


def matrix_seconds(matrices: Matrices, tokens: float, machine: Machine, constants: Constants) -> float:
    """
    Dense linear layers on so many tokens.
    """
    peak, compute = machine.flops(matrices.compute)
    fraction = constants.bf16_compute if compute in ("bf16", "fp16") else constants.dense_compute
    memory = matrices.num_bytes / (machine.bandwidth * constants.dense_memory)
    return _pnorm(memory, tokens * matrices.flops_per_token / (peak * fraction * _newer(compute, machine, constants)))


def expert_seconds(matrices: Matrices, tokens: float, work: Work, machine: Machine, constants: Constants) -> float:
    """
    Routed experts: only the distinct ones that the tokens choose are read.
    """
    peak, compute = machine.flops(matrices.compute)
    total, chosen = work.num_experts, work.num_experts_per_token
    tokens *= machine.expert_tokens
    share = distinct_experts(total, chosen, tokens, constants.moe_routing) / total
    per_expert = tokens * chosen / max(share * total, 1e-9)
    fraction = constants.moe_compute * _newer(compute, machine, constants) / (
        (1 + constants.moe_tokens / per_expert) * (1 + constants.moe_columns / matrices.narrow)
    )  # fmt: skip
    memory = share * matrices.num_bytes / (machine.bandwidth * constants.moe_memory)
    return _pnorm(memory, tokens * matrices.flops_per_token / (peak * fraction))


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


def _pnorm(first: float, second: float) -> float:
    if first <= 0 or second <= 0:
        return max(first, second)
    return math.pow(math.pow(first, PNORM) + math.pow(second, PNORM), 1.0 / PNORM)


@attrs.frozen(eq=False, repr=False)
class Step(Value):
    """
    Seconds of one step and of its parts.
    """

    weights: float
    cache: float
    attention: float
    link: float
    launch: float
    floor: float

    @property
    def seconds(self) -> float:
        """
        The whole step; without graph it is not shorter than its launch on the CPU.
        """
        return max(self.weights + self.cache + self.attention + self.link + self.launch, self.floor)


def step(
    work: Work,
    machine: Machine,
    constants: Constants,
    *,
    decodes: float,
    context: float,
    prefill: float = 0.0,
    prefill_context: float = 0.0,
) -> Step:
    """
    One step of ``decodes`` requests at ``context`` tokens and a prefill chunk of ``prefill`` tokens.

    Args:
        prefill_context: Mean context that a token of the chunk attends to.
    """
    queries = decodes * machine.queries
    tokens = queries + prefill
    sampled = queries + (1.0 if prefill else 0.0)
    weights = sum(matrix_seconds(part, tokens, machine, constants) for part in work.dense)
    weights += sum(matrix_seconds(part, sampled, machine, constants) for part in work.head)
    weights += sum(expert_seconds(part, tokens, work, machine, constants) for part in work.experts)
    if machine.draft_bytes and decodes:
        weights += (machine.queries - 1) * machine.draft_bytes / (machine.bandwidth * constants.dense_memory)
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
            cache += (read.bytes_per_token * attended + read.state_bytes) / bandwidth
    graph = not prefill and queries <= machine.largest_graph
    launch = constants.step_us + constants.sequence_us * decodes + machine.pipeline * (
        work.num_layers * (constants.layer_us + (0.0 if machine.full_graphs else constants.piecewise_layer_us))
        + work.num_moe_layers * _routing_us(work, machine, constants)
    )  # fmt: skip
    floor = 0.0 if graph else constants.eager_step_us + constants.eager_layer_us * work.num_layers * machine.pipeline
    return Step(
        weights * machine.pipeline,
        cache * machine.pipeline,
        prefill_flops / peak * machine.pipeline,
        _link_seconds(work, machine, constants, tokens) * machine.pipeline,
        launch * 1e-6,
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
    Two all-reduces per layer over the tensor-parallel group, and what the experts of replicas exchange.
    """
    seconds, size = 0.0, tokens * work.activation_bytes_per_token
    if machine.ranks > 1:
        seconds = 2 * work.num_layers * _collective_seconds(machine.ranks, size, machine, constants)
        seconds += work.num_split_norms * _collective_seconds(machine.ranks, 0.0, machine, constants)
    if machine.expert_tokens > 1:
        replicas = machine.expert_tokens
        exchange = _collective_seconds(machine.ranks * replicas, size * replicas, machine, constants)
        seconds += 2 * work.num_moe_layers * exchange
    return seconds


def _collective_seconds(ranks: int, size: float, machine: Machine, constants: Constants) -> float:
    doublings = (ranks - 1).bit_length() - 1
    latency = constants.reduce_us * constants.reduce_growth**doublings * 1e-6
    return latency + size * 2 * (ranks - 1) / ranks / (machine.link_bytes_per_s * constants.link)
