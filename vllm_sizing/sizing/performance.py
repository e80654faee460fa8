"""
What the server will do with a workload: latency, throughput, and what binds it.

Steady state of continuous batching from a roofline over the model's own two lists; intervals from
the residuals of models that the constants were not fitted on.
"""

from __future__ import annotations

import math

import attrs

from vllm_sizing.sizing.evaluate import Evaluation
from vllm_sizing.sizing.roofline import Constants, Machine, Step, step
from vllm_sizing.sizing.work import Work, work_of
from vllm_sizing.specs.gpu import Cluster
from vllm_sizing.specs.plan import Estimate, Performance
from vllm_sizing.specs.value import Value
from vllm_sizing.specs.workload import Workload

Logs = tuple[float, float]

DEFAULTS = Constants()
WAITING, PREFILL_HEAVY, SMALL_BATCH = 0.2, 2.0, 16
# By regime: 10 and 90 % of the logarithms of measured over predicted TTFT, TPOT and throughput on models
# left out of the fit; ``python -m tests.validation fit`` prints them.
LOGS: dict[str, tuple[Logs, Logs, Logs]] = {
    "small batch": ((-0.45, 0.52), (-0.17, 0.18), (-0.18, 0.17)),
    "large batch": ((-0.44, 0.28), (-0.16, 0.23), (-0.24, 0.15)),
    "prefill-heavy": ((-0.36, 0.38), (-0.16, 0.13), (-0.14, 0.15)),
    "waiting": ((-0.60, 1.35), (-0.33, 0.20), (-0.22, 0.15)),
}
WIDER = 2.0  # GPUs outside the fit: the same physics with datasheet figures.
FITTED = frozenset({"h100-sxm", "h200-sxm", "b200"})
GROWN, ONSET = 0.6, 0.04  # Share of its answer that a request holds on average; how sharply waiting begins.
NETWORK_BYTES_PER_S = 50e9  # 400 Gbit/s, one direction, where nothing is said of the network.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Server(Value):
    """
    One replica and what is asked of it: all that speed depends on.

    Attributes:
        work, machine: Of one rank.

        slots: Requests in flight on the replica.

        prompt: Tokens to prefill, what the prefix cache holds left out.

        request_blocks: Cache blocks of a request that has grown half-way; ``pool``: all there are.
    """

    work: Work
    machine: Machine
    workload: Workload
    slots: float
    prompt: float
    replicas: int
    max_num_seqs: int
    max_num_batched_tokens: int
    request_blocks: int
    pool: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Steady(Value):
    """
    The closed loop in balance: seconds, and what they were made of.
    """

    ttft_s: float
    tpot_s: float
    prefill_tokens_per_s: float
    running: float
    decode: Step
    passing_s: float
    wait_s: float


def estimate_performance(
    evaluation: Evaluation, cluster: Cluster, workload: Workload, constants: Constants = DEFAULTS
) -> Performance | None:
    """
    Latency and throughput of a start under a workload; None where the GPU's figures are unknown.
    """
    server = server_of(evaluation, cluster, workload)
    return None if server is None else performance_of(server, cluster.gpu.name, constants)


def performance_of(server: Server, gpu: str, constants: Constants = DEFAULTS) -> Performance:
    """
    The balance of a server as estimates.
    """
    workload = server.workload
    answers = workload.output_tokens
    steady = steady_state(server, constants)
    e2el_s = steady.ttft_s + steady.tpot_s * max(answers - 1, 0)
    requests_per_s = server.slots * server.replicas / e2el_s
    ttft, tpot, rate, basis = intervals(server, steady, gpu)
    accepted = 1.0 + (server.machine.queries - 1) * (workload.acceptance_rate or 0.0)
    return Performance(
        ttft_ms=_estimate(steady.ttft_s * 1e3, ttft, basis),
        tpot_ms=_estimate(steady.tpot_s * 1e3, tpot, basis),
        itl_ms=_estimate(steady.tpot_s * accepted * 1e3, tpot, basis),
        e2el_ms=_estimate(e2el_s * 1e3, (-rate[1], -rate[0]), basis),
        output_tokens_per_s=_estimate(requests_per_s * answers, rate, basis),
        total_tokens_per_s=_estimate(requests_per_s * workload.tokens_per_request, rate, basis),
        requests_per_s=_estimate(requests_per_s, rate, basis),
        prefill_tokens_per_s=_estimate(steady.prefill_tokens_per_s, (-ttft[1], -ttft[0]), basis),
        num_running=round(steady.running),
        limit=_limit(server, steady),
    )


def server_of(evaluation: Evaluation, cluster: Cluster, workload: Workload) -> Server | None:
    """
    What speed depends on, gathered from a start; None where it cannot be said.
    """
    setup, gpu, layout = evaluation.setup, cluster.gpu, evaluation.setup.layout
    if setup.pooling or not gpu.memory_bandwidth_bytes_per_s or gpu.peak("bf16") is gpu.peak("fp16") is None:
        return None
    work = work_of(setup.model, layout, setup.loading, setup.cache)
    if not any(part.flops_per_token for part in work.dense + work.experts):
        return None
    cache = evaluation.numbers.cache
    grown = int(workload.input_tokens + GROWN * workload.output_tokens)
    return Server(
        work=work,
        machine=_machine(evaluation, cluster),
        workload=workload,
        slots=max(1.0, workload.concurrency / layout.data),
        prompt=max(1.0, workload.input_tokens * (1 - workload.prefix_cache_hit_rate)),
        replicas=layout.data,
        max_num_seqs=setup.max_num_seqs,
        max_num_batched_tokens=setup.max_num_batched_tokens,
        request_blocks=cache.blocks_per_request(grown, 0) if cache.groups else 0,
        pool=max(1, evaluation.kv_cache.num_gpu_blocks),
    )


def steady_state(server: Server, constants: Constants) -> Steady:
    """
    So many slots, each sending its next request when the last has ended.
    """
    work, machine, workload = server.work, server.machine, server.workload
    seats = min(server.slots, server.max_num_seqs)
    # Requests grow while they run, so the cache holds more than full-grown ones; the scheduler admits
    # until it is full and then preempts, so that it holds fewer than at their mean length.
    ratio = seats * server.request_blocks / server.pool
    crowd = ONSET * math.log1p(math.exp(min(600.0, (ratio - 1.0) / ONSET)))
    running = max(1.0, seats / (1.0 + crowd))
    answers = workload.output_tokens
    context = workload.input_tokens + answers / 2
    prompt = server.prompt
    chunks = math.ceil(prompt / min(prompt, max(1.0, server.max_num_batched_tokens - running)))
    chunk = {"prefill": prompt / chunks, "prefill_context": workload.input_tokens - prompt / 2}
    alone = step(work, machine, constants, decodes=running, context=context)
    mixed = step(work, machine, constants, decodes=max(running - 1, 0), context=context, **chunk)
    bare = step(work, machine, constants, decodes=0, context=0, **chunk)
    decode_s = alone.seconds / (1.0 + (machine.queries - 1) * (workload.acceptance_rate or 0.0))
    passing_s = (running - 1) * max(mixed.seconds - alone.seconds, 0.0) * chunks * constants.mix
    tpot_s = decode_s + passing_s / max(answers - 1, 1)
    prefill_s = chunks * mixed.seconds
    cycle_s = prefill_s + tpot_s * max(answers - 1, 0)
    load = min(0.95, running * prefill_s / cycle_s * 0.5)
    front_us = constants.front_us + constants.front_token_us * workload.input_tokens
    wait_s = (server.slots / running - 1.0) * cycle_s
    return Steady(
        ttft_s=1e-6 * (front_us + constants.front_slot_us * server.slots)
        + prefill_s * (1.0 + constants.queue * load / (1 - load)) + alone.seconds / 2 + wait_s,
        tpot_s=tpot_s,
        prefill_tokens_per_s=prompt / chunks / bare.seconds,
        running=running,
        decode=alone,
        passing_s=passing_s,
        wait_s=wait_s,
    )  # fmt: skip


def _machine(evaluation: Evaluation, cluster: Cluster) -> Machine:
    setup, gpu, layout = evaluation.setup, cluster.gpu, evaluation.setup.layout
    link = gpu.link_bytes_per_s if cluster.interconnect != "pcie" else gpu.pcie_bytes_per_s
    link = link or gpu.pcie_bytes_per_s or 16e9
    if layout.tensor > cluster.num_gpus:
        link = min(link, cluster.network_bytes_per_s or NETWORK_BYTES_PER_S)
    mode = dict(setup.args.compilation_config or ()).get("cudagraph_mode")
    return Machine(
        bandwidth=gpu.memory_bandwidth_bytes_per_s or 1.0,
        peak=dict(gpu.peak_flops),
        blackwell=(gpu.compute_capability or (0, 0))[0] in (10, 12),
        ranks=layout.tensor,
        pipeline=layout.pipeline,
        expert_tokens=layout.data if layout.expert else 1,
        link_bytes_per_s=link,
        full_graphs=setup.rules.full_graphs and mode != "PIECEWISE",
        largest_graph=setup.capture_sizes[-1] if setup.capture_sizes else 0,
        queries=1 + setup.speculative_tokens,
        draft_bytes=evaluation.numbers.memory.draft_bytes,
    )


def regime(server: Server, steady: Steady) -> str:
    """
    What an estimate's error depends on: waiting for cache blocks, mostly prefill, or the batch.

    >>> sorted(LOGS)
    ['large batch', 'prefill-heavy', 'small batch', 'waiting']
    """
    if steady.wait_s > WAITING * steady.ttft_s:
        return "waiting"
    if server.prompt > PREFILL_HEAVY * server.workload.output_tokens:
        return "prefill-heavy"
    return "small batch" if steady.running <= SMALL_BATCH else "large batch"


def intervals(server: Server, steady: Steady, gpu: str) -> tuple[Logs, Logs, Logs, str]:
    """
    80 % intervals of TTFT, TPOT and throughput as logarithms, and what they rest on.
    """
    kind = regime(server, steady)
    ttft, tpot, rate = LOGS[kind]
    basis = f"80 % of left-out models on H100, H200 and B200, {kind}"
    if gpu in FITTED:
        return ttft, tpot, rate, basis
    basis += f"; {gpu} was not among them: twice as wide"
    return _wider(ttft), _wider(tpot), _wider(rate), basis


def _wider(logs: Logs) -> Logs:
    return logs[0] * WIDER, logs[1] * WIDER


def _estimate(mid: float, log: Logs, basis: str) -> Estimate:
    return Estimate(mid * math.exp(log[0]), mid, mid * math.exp(log[1]), basis)


def _limit(server: Server, steady: Steady) -> str:
    """
    The name of what binds.
    """
    if steady.running < 0.98 * server.slots:
        return "max_num_seqs" if server.slots > server.max_num_seqs else "KV cache"
    decode = steady.decode
    if steady.passing_s > decode.seconds * max(server.workload.output_tokens - 1, 1):
        return "compute (prefill)"
    parts = {
        "memory bandwidth (weights)": decode.weights,
        "memory bandwidth (KV cache)": decode.cache,
        "link": decode.link,
        "launch overhead": decode.launch,
    }
    return max(parts, key=lambda name: parts[name])
