"""
How long one step takes on one rank: a roofline with launch and link costs.

Every constant has its source: shapes from ``docs/explanation/accuracy.md``, values fitted on
published measurements.
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
    Achieved fractions of the datasheet and fixed costs.

    Attributes:
        dense_memory, moe_memory, kv_memory: Of the memory bandwidth.

        dense_compute, moe_compute, attention_compute: Of the dense peak.

        blackwell_compute, fp4_compute: Factors on top, compute capability 10 and FP4.

        moe_tokens, moe_columns: Experts reach half their peak at so many tokens, columns.

        moe_routing: Exponent of the tokens in the number of distinct experts.

        layer_us, moe_layer_us, step_us, sequence_us: Launch costs with full CUDA graphs.

        piecewise_layer_us: More per layer with piecewise graphs only.

        prefill_layer_us: A step with prefill is not faster than the CPU launches it.

        reduce_us, reduce_growth: An all-reduce of two ranks, and per doubling.

        link: Of one direction of the link.

        front_us, front_token_us: HTTP and tokenizing, per request and per prompt token.

        mix: Share of passing prefills that a decode waits for.

        queue: Prefills waited for, times rho / (1 - rho).
    """

    dense_memory: float = 0.82
    moe_memory: float = 0.53
    kv_memory: float = 0.57
    dense_compute: float = 0.45
    bf16_compute: float = 0.55
    moe_compute: float = 0.27
    attention_compute: float = 0.42
    blackwell_compute: float = 0.78
    fp4_compute: float = 0.74
    moe_tokens: float = 19.0
    moe_columns: float = 186.0
    moe_routing: float = 0.78
    layer_us: float = 43.0
    moe_layer_us: float = 17.0
    step_us: float = 230.0
    sequence_us: float = 5.0
    piecewise_layer_us: float = 5.0
    prefill_layer_us: float = 500.0
    reduce_us: float = 8.0
    reduce_growth: float = 1.37
    link: float = 0.42
    front_us: float = 17_000.0
    front_token_us: float = 3.4
    mix: float = 0.85
    queue: float = 0.12


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Machine(Value):
    """
    One rank's GPU and its links, in SI units.
    """

    bandwidth: float
    peak: dict[str, float]
    blackwell: bool
    ranks: int
    pipeline: int
    link_bytes_per_s: float
    full_graphs: bool
    graphs: bool
    largest_graph: int

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
    if machine.blackwell:
        fraction *= constants.blackwell_compute
    if compute == "fp4":
        fraction *= constants.fp4_compute
    memory = matrices.num_bytes / (machine.bandwidth * constants.dense_memory)
    arithmetic = tokens * matrices.flops_per_token / (peak * fraction)
    return _pnorm(memory, arithmetic)


def expert_seconds(matrices: Matrices, tokens: float, work: Work, machine: Machine, constants: Constants) -> float:
    """
    Routed experts: only the distinct ones that the tokens choose are read.
    """
    peak, compute = machine.flops(matrices.compute)
    total, chosen = work.num_experts, work.num_experts_per_token
    share = distinct_experts(total, chosen, tokens, constants.moe_routing) / total
    per_expert = tokens * chosen / max(share * total, 1e-9)
    fraction = constants.moe_compute / (
        (1 + constants.moe_tokens / per_expert) * (1 + constants.moe_columns / matrices.narrow)
    )
    if machine.blackwell:
        fraction *= constants.blackwell_compute
    if compute == "fp4":
        fraction *= constants.fp4_compute
    memory = share * matrices.num_bytes / (machine.bandwidth * constants.moe_memory)
    return _pnorm(memory, tokens * matrices.flops_per_token / (peak * fraction))


def distinct_experts(total: int, chosen: int, tokens: float, routing: float = 1.0) -> float:
    """
    Expected number of experts that so many tokens choose between them.

    >>> round(distinct_experts(128, 8, 1)), round(distinct_experts(128, 8, 1000))
    (8, 128)
    """
    return total * (1.0 - (1.0 - chosen / total) ** (tokens**routing))


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
        The whole step; with prefill it is not shorter than its launch on the CPU.
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
    tokens = decodes + prefill
    sampled = decodes + (1.0 if prefill else 0.0)
    weights = sum(matrix_seconds(part, tokens, machine, constants) for part in work.dense)
    weights += sum(matrix_seconds(part, sampled, machine, constants) for part in work.head)
    weights += sum(expert_seconds(part, tokens, work, machine, constants) for part in work.experts)
    cache_bytes = attention_flops = 0.0
    for read in work.caches:
        seen = min(context, read.span) if read.span else context
        cache_bytes += decodes * (read.bytes_per_token * seen + read.state_bytes)
        if prefill:
            attended = min(prefill_context, read.span) if read.span else prefill_context
            attention_flops += prefill * attended * read.flops_per_token
            cache_bytes += read.bytes_per_token * attended + read.state_bytes
    attention_peak = machine.flops("bf16")[0]
    link = _link_seconds(work, machine, constants, tokens)
    graph = machine.graphs and not prefill and decodes <= machine.largest_graph
    per_layer = constants.layer_us + (0.0 if machine.full_graphs else constants.piecewise_layer_us)
    launch = 1e-6 * (
        work.num_layers * per_layer * machine.pipeline
        + work.num_moe_layers * constants.moe_layer_us * machine.pipeline
        + constants.step_us
        + constants.sequence_us * decodes
    )
    floor = 0.0 if graph else 1e-6 * constants.prefill_layer_us * work.num_layers
    return Step(
        weights=weights * machine.pipeline,
        cache=cache_bytes / (machine.bandwidth * constants.kv_memory) * machine.pipeline,
        attention=attention_flops / (attention_peak * constants.attention_compute) * machine.pipeline
        if attention_peak
        else 0.0,
        link=link * machine.pipeline,
        launch=launch,
        floor=floor * machine.pipeline,
    )


def _link_seconds(work: Work, machine: Machine, constants: Constants, tokens: float) -> float:
    """
    Two all-reduces per layer over the tensor-parallel group.
    """
    if machine.ranks == 1:
        return 0.0
    doublings = (machine.ranks - 1).bit_length() - 1
    latency = constants.reduce_us * constants.reduce_growth**doublings * 1e-6
    size = tokens * work.activation_bytes_per_token * 2 * (machine.ranks - 1) / machine.ranks
    return 2 * work.num_layers * (latency + size / (machine.link_bytes_per_s * constants.link))
