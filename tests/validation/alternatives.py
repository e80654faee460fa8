"""
What plain rules answer: the original heuristic table, a datasheet roofline, weights over bandwidth.
"""

from __future__ import annotations

# Base rates of a 7B model on one GPU, tokens per second: (decode, prefill).  The original's table, by
# GPU; GPUs that it does not know take its default.
RATES = {"h200": (400.0, 12_000.0), "h100": (350.0, 10_000.0)}
DEFAULT_RATE = (80.0, 2_000.0)
QUANTIZATION_GAIN = {"fp8": 1.2}


def heuristic(server, gpu, billions, quantization, tensor):
    """
    (TTFT, TPOT) in ms by the original's rule: rates by GPU, scaled by size, tensor parallelism and context.
    """
    decode, prefill = next((rate for name, rate in RATES.items() if gpu.startswith(name)), DEFAULT_RATE)
    gain = QUANTIZATION_GAIN.get(quantization, 1.0) * (7 / billions) ** 0.85 * (tensor * 0.9 if tensor > 1 else 1.0)
    context = server.workload.input_tokens + server.workload.output_tokens
    return server.prompt / (prefill * gain) * 1e3, 1e3 / (decode * gain * (2048 / context) ** 0.3)


def datasheet(server):
    """
    (TTFT, TPOT) in ms of a roofline at the datasheet's peaks: all weights and the cache are read.
    """
    work, machine, workload = server.work, server.machine, server.workload
    parts = work.dense + work.head + work.experts
    compute = sum(part.flops_per_token / machine.flops(part.compute)[0] for part in parts)
    weights = sum(part.num_bytes for part in parts) / machine.bandwidth
    running = min(server.slots, server.max_num_seqs)
    context = workload.input_tokens + workload.output_tokens / 2
    cache = sum(
        running * (read.bytes_per_token * min(context, read.span or context) + read.state_bytes) for read in work.caches
    )
    step = max(weights + cache / machine.bandwidth, running * compute)
    return max(weights, server.prompt * compute) * 1e3, step * 1e3


def weights_only(server):
    """
    (TTFT, TPOT) in ms: the weights that a step touches over the bandwidth, the prompt's operations over the peak.
    """
    work, machine = server.work, server.machine
    active = work.num_experts_per_token / max(work.num_experts, 1)
    moved = sum(part.num_bytes for part in work.dense + work.head) + active * sum(
        part.num_bytes for part in work.experts
    )
    parts = work.dense + work.experts
    compute = sum(part.flops_per_token / machine.flops(part.compute)[0] for part in parts)
    return server.prompt * compute * 1e3, moved / machine.bandwidth * 1e3
