"""
What the server will do with a workload: latency, throughput, and what binds it.

The physics is in `roofline` and `steady`, the width of the intervals in `accuracy`.
"""

from __future__ import annotations

import attrs

from vllm_sizing.sizing.accuracy import estimate, intervals
from vllm_sizing.sizing.evaluate import Evaluation
from vllm_sizing.sizing.roofline import Machine
from vllm_sizing.sizing.speed_constants import Constants
from vllm_sizing.sizing.steady import Server, Steady, at_load, open_loop, spreads, steady_state
from vllm_sizing.sizing.work import work_of
from vllm_sizing.specs.gpu import Cluster
from vllm_sizing.specs.plan import Percentiles, Performance
from vllm_sizing.specs.workload import LatencyTarget, Workload

DEFAULTS = Constants()
GROWN = 0.6  # Share of its answer that a request holds on average.
PCIE_BYTES_PER_S = 25e9  # Version 4, where nothing is said of the slot.
NETWORK_BYTES_PER_S = 50e9  # 400 Gbit/s, one direction, where nothing is said of the network.
WIDE_TILES = (9, 10)  # wgmma and tcgen05 take 64 rows at least, mma.sync 16.
_HALVINGS = 20


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
    workload, overloaded = server.workload, False
    rate = workload.request_rate
    if rate is None:
        steady = steady_state(server, constants)
    else:
        steady, overloaded = open_loop(server, constants, rate / server.replicas)
    in_flight = steady.slots * server.replicas
    requests_per_s = in_flight / steady.e2el_s
    ttft, tpot, speed, basis = intervals(server, steady, gpu)
    if overloaded:
        basis += "; overloaded: latency grows without end, these figures are of the full server"
    slow = (-speed[1], -speed[0])
    accepted = 1.0 + (server.machine.queries - 1) * (workload.acceptance_rate or 0.0)
    output, total = requests_per_s * workload.output_tokens, requests_per_s * workload.tokens_per_request
    spread = spreads(server, steady, constants, random=rate is not None)
    ttft_spread, tpot_spread, itl_spread, e2el_spread = (_milliseconds(each) for each in spread)
    return Performance(
        ttft_ms=estimate(steady.ttft_s * 1e3, ttft, basis),
        tpot_ms=estimate(steady.tpot_s * 1e3, tpot, basis),
        itl_ms=estimate(steady.tpot_s * accepted * 1e3, tpot, basis),
        e2el_ms=estimate(steady.e2el_s * 1e3, slow, basis),
        ttft_percentiles_ms=ttft_spread,
        tpot_percentiles_ms=tpot_spread,
        itl_percentiles_ms=itl_spread,
        e2el_percentiles_ms=e2el_spread,
        burst_ttft_ms=estimate(steady.burst_s * 1e3, ttft, basis),
        output_tokens_per_s=estimate(output, speed, basis),
        total_tokens_per_s=estimate(total, speed, basis),
        requests_per_s=estimate(requests_per_s, speed, basis),
        output_tokens_per_s_per_gpu=estimate(output / server.num_gpus, speed, basis),
        total_tokens_per_s_per_gpu=estimate(total / server.num_gpus, speed, basis),
        prefill_tokens_per_s=estimate(steady.prefill_tokens_per_s, (-ttft[1], -ttft[0]), basis),
        num_running=round(steady.running),
        in_flight=in_flight,
        limit=_limit(server, steady),
        overloaded=overloaded,
    )


def _milliseconds(spread: Percentiles) -> Percentiles:
    return Percentiles(spread.p50 * 1e3, spread.p90 * 1e3, spread.p99 * 1e3)


def with_highest_loads(performance: Performance, server: Server, constants: Constants = DEFAULTS) -> Performance:
    """
    The highest concurrency and request rate that keep the workload's targets.
    """
    target = server.workload.target
    replicas, seats = server.replicas, server.seats
    low, high = 0, int(seats) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _kept(steady_state(server, constants, middle), target) else (low, middle)
    least, most = 0.0, seats
    for _ in range(_HALVINGS):
        half = (least + most) / 2
        least, most = (half, most) if _kept(at_load(server, constants, half), target) else (least, half)
    rate = least / at_load(server, constants, least).e2el_s
    return attrs.evolve(
        performance,
        max_concurrency_at_target=low * replicas,
        max_request_rate_at_target=rate * replicas,
    )


def _kept(steady: Steady, target: LatencyTarget) -> bool:
    return target.kept(steady.ttft_s * 1e3, steady.tpot_s * 1e3, steady.e2el_s * 1e3)


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
    cached = workload.prefix_cache_hit_rate if setup.enable_prefix_caching else 0.0
    grown = int(workload.input_tokens + GROWN * workload.output_tokens)
    return Server(
        work=work,
        machine=_machine(evaluation, cluster),
        workload=workload,
        slots=max(1.0, workload.concurrency / layout.data),
        prompt=max(1.0, workload.input_tokens * (1 - cached)),
        replicas=layout.data,
        num_gpus=layout.num_ranks,
        max_num_seqs=setup.max_num_seqs,
        max_num_batched_tokens=setup.max_num_batched_tokens,
        request_blocks=cache.blocks_per_request(grown, 0) if cache.groups else 0,
        pool=max(1, evaluation.kv_cache.num_gpu_blocks),
    )


def _machine(evaluation: Evaluation, cluster: Cluster) -> Machine:
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


def _limit(server: Server, steady: Steady) -> str:
    """
    The name of what binds.
    """
    if steady.running < 0.98 * steady.slots:
        return "max_num_seqs" if steady.slots > server.max_num_seqs else "KV cache"
    decode = steady.decode
    if steady.passing_s > decode.seconds * server.machine.pipeline * max(server.workload.output_tokens - 1, 1):
        return "compute (prefill)"
    if decode.host >= decode.seconds:
        return "host link"
    parts = {
        "memory bandwidth (weights)": decode.weights,
        "memory bandwidth (KV cache)": decode.cache,
        "link": decode.link,
        "launch overhead": max(decode.launch, decode.floor),
    }
    most = max(parts, key=lambda name: parts[name])
    return "compute (decode)" if most.endswith("(weights)") and decode.compute > decode.weights / 2 else most
