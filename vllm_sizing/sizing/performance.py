"""
What the server will do with a workload: latency, throughput, and what binds it.

The physics is in `roofline` and `steady`, the width of the intervals in `accuracy`.
"""

from __future__ import annotations

from vllm_sizing.sizing.accuracy import intervals, regime
from vllm_sizing.sizing.evaluate import Evaluation
from vllm_sizing.sizing.machine import machine_of
from vllm_sizing.sizing.roofline import pace_of
from vllm_sizing.sizing.speed_constants import Constants
from vllm_sizing.sizing.steady import Server, Steady, at_load, open_loop, spreads, steady_state
from vllm_sizing.sizing.work import work_of
from vllm_sizing.specs.gpu import Cluster
from vllm_sizing.specs.plan import Performance
from vllm_sizing.specs.workload import LatencyTarget, Workload

DEFAULTS = Constants()
GROWN = 0.6  # Share of its answer that a request holds on average.
_HALVINGS = 7


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
    remark = "; overloaded: latency grows without end, these figures are of the full server" if overloaded else ""
    ttft, tpot, speed = intervals(regime(server, steady), gpu, remark)
    accepted = 1.0 + (server.machine.queries - 1) * (workload.acceptance_rate or 0.0)
    output, total = requests_per_s * workload.output_tokens, requests_per_s * workload.tokens_per_request
    ttft_spread, tpot_spread, itl_spread, e2el_spread = spreads(server, steady, constants, random=rate is not None)
    return Performance(
        ttft_ms=ttft.around(steady.ttft_s * 1e3),
        tpot_ms=tpot.around(steady.tpot_s * 1e3),
        itl_ms=tpot.around(steady.tpot_s * accepted * 1e3),
        e2el_ms=speed.against(steady.e2el_s * 1e3),
        ttft_percentiles_ms=ttft_spread,
        tpot_percentiles_ms=tpot_spread,
        itl_percentiles_ms=itl_spread,
        e2el_percentiles_ms=e2el_spread,
        burst_ttft_ms=ttft.around(steady.burst_s * 1e3),
        output_tokens_per_s=speed.around(output),
        total_tokens_per_s=speed.around(total),
        requests_per_s=speed.around(requests_per_s),
        output_tokens_per_s_per_gpu=speed.around(output / server.num_gpus),
        total_tokens_per_s_per_gpu=speed.around(total / server.num_gpus),
        prefill_tokens_per_s=ttft.against(steady.prefill_tokens_per_s),
        num_running=round(steady.running),
        in_flight=in_flight,
        limit=_limit(server, steady),
        overloaded=overloaded,
    )


def with_highest_loads(performance: Performance, server: Server, constants: Constants = DEFAULTS) -> Performance:
    """
    The highest concurrency and request rate that keep the workload's targets.
    """
    target = server.workload.target
    pace = pace_of(server.work, server.machine, constants)
    low, high = 0, int(server.seats) + 1
    middle = high - 1
    while high - low > 1:
        kept = _kept(steady_state(server, constants, middle, pace=pace), target)
        low, high = (middle, high) if kept else (low, middle)
        middle = (low + high) // 2
    # One that arrives at random finds the others on average, so the open loop ends close by.
    least, most = 0.0, float(low)
    best = at_load(server, constants, most, pace=pace)
    if low and not _kept(best, target):
        for _ in range(_HALVINGS):
            half = (3 * most + least) / 4 if least == 0.0 else (most + least) / 2
            tried = at_load(server, constants, half, pace=pace)
            least, most, best = (half, most, tried) if _kept(tried, target) else (least, half, best)
    else:
        least = most
    return performance.replaced(
        max_concurrency_at_target=low * server.replicas,
        max_request_rate_at_target=(least / best.e2el_s if least else 0.0) * server.replicas,
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
        machine=machine_of(evaluation, cluster),
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


def _limit(server: Server, steady: Steady) -> str:
    """
    The name of what binds.
    """
    if steady.running < 0.98 * steady.slots:
        return "max_num_seqs" if steady.running >= 0.98 * server.max_num_seqs else "KV cache"
    decode = steady.decode
    further = max(server.workload.output_tokens - 1, 1)
    if steady.passing_s + steady.wait_s > decode.seconds * server.machine.pipeline * further:
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
