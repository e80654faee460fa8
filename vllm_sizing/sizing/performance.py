"""
What the server will do with a workload: latency, throughput, and what binds it.

Steady state of continuous batching from a roofline over the model's own two lists; intervals from
the residuals of models that the constants were not fitted on.
"""

from __future__ import annotations

import math

from vllm_sizing.sizing.evaluate import Evaluation
from vllm_sizing.sizing.roofline import Constants, Machine, Step, step
from vllm_sizing.sizing.work import Work, work_of
from vllm_sizing.specs.gpu import Cluster
from vllm_sizing.specs.plan import Estimate, Performance
from vllm_sizing.specs.workload import Workload

DEFAULTS = Constants()
# 10 and 90 % of the log errors on models left out of the fit; `nox -s validate` prints them.
TPOT_LOG = (-0.21, 0.30)
TTFT_LOG = (-0.37, 0.43)
BASIS = "80 % of left-out models on H100, H200 and B200"
WIDER = 2.0  # GPUs outside the fit: the same physics with datasheet figures.
FITTED = frozenset({"h100-sxm", "h200-sxm", "b200"})
NETWORK_BYTES_PER_S = 50e9  # 400 Gbit/s, one direction, where nothing is said of the network.


def estimate_performance(
    evaluation: Evaluation, cluster: Cluster, workload: Workload, constants: Constants = DEFAULTS
) -> Performance | None:
    """
    Latency and throughput of a start under a workload; None where the GPU's figures are unknown.
    """
    setup = evaluation.setup
    gpu, layout = cluster.gpu, setup.layout
    if setup.pooling or not gpu.memory_bandwidth_bytes_per_s or gpu.peak("bf16") is gpu.peak("fp16") is None:
        return None
    machine = _machine(evaluation, cluster)
    work = work_of(setup.model, layout, setup.loading, setup.cache)
    if not any(part.flops_per_token for part in work.dense + work.experts):
        return None
    slots = max(1.0, workload.concurrency / layout.data)
    held = max(1, evaluation.kv_cache.max_concurrency_at_workload)
    running = min(slots, setup.max_num_seqs, held)
    return _closed_loop(evaluation, workload, work, machine, constants, slots, running)


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
        link_bytes_per_s=link,
        full_graphs=setup.rules.full_graphs and mode != "PIECEWISE",
        graphs=bool(setup.capture_sizes),
        largest_graph=setup.capture_sizes[-1] if setup.capture_sizes else 0,
    )


def _closed_loop(
    evaluation: Evaluation,
    workload: Workload,
    work: Work,
    machine: Machine,
    constants: Constants,
    slots: float,
    running: float,
) -> Performance:
    """
    So many slots, each sending its next request when the last has ended.
    """
    setup = evaluation.setup
    prompt = max(1.0, workload.input_tokens * (1 - workload.prefix_cache_hit_rate))
    answers = workload.output_tokens
    context = workload.input_tokens + answers / 2
    per_step = 1.0 + setup.speculative_tokens * (workload.acceptance_rate or 0.0)
    alone = step(work, machine, constants, decodes=running, context=context)
    chunk = min(prompt, max(1.0, setup.max_num_batched_tokens - running))
    chunks = math.ceil(prompt / chunk)
    size = prompt / chunks
    attended = workload.input_tokens - prompt / 2
    mixed = step(
        work, machine, constants,
        decodes=max(running - 1, 0), context=context, prefill=size, prefill_context=attended,
    )  # fmt: skip
    decode_s = alone.seconds / per_step
    passing = (running - 1) * max(mixed.seconds - alone.seconds, 0.0) * chunks * constants.mix
    tpot_s = decode_s + passing / max(answers - 1, 1)
    prefill_s = chunks * mixed.seconds
    cycle_s = prefill_s + tpot_s * max(answers - 1, 0)
    load = min(0.95, running * prefill_s / max(cycle_s, 1e-9) * 0.5)
    front_s = 1e-6 * (constants.front_us + constants.front_token_us * workload.input_tokens + 300.0 * slots)
    ttft_s = front_s + prefill_s + alone.seconds / 2 + constants.queue * load / (1 - load) * prefill_s
    waiting_s = (slots - running) / running * cycle_s
    ttft_s += waiting_s
    e2el_s = ttft_s + tpot_s * max(answers - 1, 0)
    requests_per_s = slots * setup.layout.data / e2el_s
    bare = step(work, machine, constants, decodes=0, context=0, prefill=size, prefill_context=attended)
    spread = 1.0 if evaluation.setup.gpu.name in FITTED else WIDER
    tpot, ttft = _scaled(TPOT_LOG, spread), _scaled(TTFT_LOG, spread)
    basis = BASIS if spread == 1.0 else f"{BASIS}; {evaluation.setup.gpu.name} was not among them: twice as wide"
    return Performance(
        ttft_ms=_estimate(ttft_s * 1e3, ttft, basis),
        tpot_ms=_estimate(tpot_s * 1e3, tpot, basis),
        itl_ms=_estimate(tpot_s * per_step * 1e3, tpot, basis),
        e2el_ms=_estimate(e2el_s * 1e3, tpot, basis),
        output_tokens_per_s=_estimate(requests_per_s * answers, tpot, basis),
        total_tokens_per_s=_estimate(requests_per_s * workload.tokens_per_request, tpot, basis),
        requests_per_s=_estimate(requests_per_s, tpot, basis),
        prefill_tokens_per_s=_estimate(size / bare.seconds, ttft, basis),
        num_running=int(running),
        limit=_limit(alone, mixed, evaluation, slots, running, passing, decode_s * max(answers - 1, 1)),
    )


def _scaled(log: tuple[float, float], spread: float) -> tuple[float, float]:
    return log[0] * spread, log[1] * spread


def _estimate(mid: float, log: tuple[float, float], basis: str) -> Estimate:
    return Estimate(mid * math.exp(log[0]), mid, mid * math.exp(log[1]), basis)


def _limit(
    alone: Step,
    mixed: Step,
    evaluation: Evaluation,
    slots: float,
    running: float,
    passing: float,
    decoding: float,
) -> str:
    """
    The name of what binds.
    """
    if running < slots:
        return "max_num_seqs" if running == evaluation.setup.max_num_seqs else "KV cache"
    if passing > decoding:
        return "compute (prefill)"
    parts = {
        "memory bandwidth (weights)": alone.weights,
        "memory bandwidth (KV cache)": alone.cache,
        "link": alone.link,
        "launch overhead": alone.launch,
    }
    return max(parts, key=lambda name: parts[name])
