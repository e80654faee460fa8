"""
What the user should know beside the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vllm_sizing.sizing.defaults import OLDEST
from vllm_sizing.sizing.reasons import kv_heads_of
from vllm_sizing.specs.findings import Finding
from vllm_sizing.units import format_gib

if TYPE_CHECKING:
    from vllm_sizing.sizing.decisions import Candidate, Question
    from vllm_sizing.specs.workload import Workload

_REFUSALS = {
    "weights": "the weights alone exceed the GPU: loading ends out of memory",
    "not-free": "less is free on the GPU than vLLM requests: it refuses to start",
    "no-kv-memory": "no memory is left for the KV cache: vLLM refuses to start",
    "max-model-len": "one request of max_model_len does not fit into the KV cache: vLLM refuses to start",
    "max-num-seqs": "max_num_seqs exceeds the recurrent state blocks: vLLM refuses to start",
    "out-of-memory": "weights, cache and CUDA graphs together exceed the GPU: the start ends out of memory",
    "blocks": "the KV cache has no blocks",
}
_NNODES_SINCE = (0, 11, 1)  # Before, several nodes found each other through Ray alone.
# Vendors of whose GPUs logs and benchmarks were read.
_MEASURED = ("nvidia", "amd")
# Heads from which a rank no longer mixes prefill and decode, and those that one FP8 decode kernel takes.
_MIXED_HEADS, _PADDED_HEADS = 32, 64


def collect_findings(best: Candidate, question: Question, vllm_version: str) -> tuple[Finding, ...]:
    """
    Errors first, then warnings, then remarks.
    """
    found = [
        *question.model.findings,
        *_about_hardware(best, question),
        *_about_fit(best, question),
        *_about_load(best, question),
        *_about_context(best, question),
        *_about_rules(best, question, vllm_version),
    ]
    order = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(found, key=lambda finding: order[finding.severity]))


def _about_hardware(best: Candidate, question: Question) -> Iterator[Finding]:
    cluster, layout = question.cluster, best.layout
    gpu = cluster.gpu
    if gpu.assumed:
        yield Finding(code="gpu-assumed", message=gpu.assumed, hint="name the board to be sure")
    idle = cluster.total_gpus - layout.num_ranks
    if idle:
        yield Finding(
            code="gpus-idle",
            severity="warning",
            message=f"{idle} of {cluster.total_gpus} GPUs stay idle: no legal layout uses them all",
            hint=f"{question.model.num_attention_heads} attention heads must divide by tensor_parallel_size",
        )
    ray = question.args.distributed_executor_backend == "ray" or question.rules.version < _NNODES_SINCE
    if cluster.num_nodes > 1 and layout.num_ranks > cluster.num_gpus and not ray:
        yield Finding(
            code="several-nodes",
            message=(
                f"the command starts on each of the {cluster.num_nodes:,} nodes, with the node's own rank and the "
                "address of the first"
            ),
            hint="add --headless on every node but the first; the files of generate do",
        )
    if layout.tensor > 1 and (cluster.interconnect or gpu.link) in ("pcie", "none") and gpu.vendor == "nvidia":
        asked = question.args.tensor_parallel_size is not None
        yield Finding(
            code="slow-link",
            severity="warning" if asked else "info",
            message=f"tensor_parallel_size {layout.tensor} exchanges every layer's result over PCIe",
            hint="data parallel replicas or pipeline stages need less of the link"
            + ("" if asked else "; of the layouts of these GPUs this one is best all the same"),
        )
    if gpu.vendor not in _MEASURED:
        yield Finding(
            code="platform-not-measured",
            severity="warning",
            message=(
                f"no start on {gpu.name} was read: memory beside weights and cache, batch limits and speed follow "
                "NVIDIA's"
            ),
            hint="leave headroom, and hold the plan against the log of a first start",
        )


def _about_fit(best: Candidate, question: Question) -> Iterator[Finding]:
    evaluation = best.evaluation
    memory = evaluation.numbers.memory
    if evaluation.refusal:
        missing = f"{format_gib(max(evaluation.shortfall_bytes, 0))} missing per GPU"
        if evaluation.refusal == "max-num-seqs":
            missing = f"max_num_seqs {evaluation.setup.max_num_seqs:,}, {evaluation.kv_cache.num_gpu_blocks:,} blocks"
        yield Finding(
            code=f"does-not-fit-{evaluation.refusal}",
            severity="error",
            message=f"{_REFUSALS[evaluation.refusal]} ({missing})",
            hint=(
                "free the GPU, or lower gpu_memory_utilization"
                if evaluation.refusal == "not-free"
                else "see the alternatives"
            ),
        )
    elif evaluation.oom_risk != "low":
        interval = memory.kv_cache_bytes_interval
        yield Finding(
            code=f"oom-risk-{evaluation.oom_risk}",
            severity="warning",
            message=(
                f"at the low end of the estimate ({format_gib(interval.low)} of KV cache) it may fail to start or "
                "to capture its CUDA graphs"
            ),
            hint="lower max_model_len, max_num_seqs or gpu_memory_utilization, or set kv_cache_memory_bytes",
        )
    if question.args.kv_cache_memory_bytes is not None and evaluation.fits:
        yield Finding(
            code="kv-cache-fixed",
            message="kv_cache_memory_bytes is given: gpu_memory_utilization does not size the cache",
        )


def _about_load(best: Candidate, question: Question) -> Iterator[Finding]:
    evaluation, workload, layout = best.evaluation, question.workload, best.layout
    cache = evaluation.kv_cache
    length, wanted = evaluation.max_model_len, workload.tokens_per_request
    if wanted > length:
        yield Finding(
            code="workload-exceeds-max-model-len",
            severity="warning",
            message=f"the workload's requests have {wanted:,} tokens, more than max_model_len ({length:,})",
            hint="the server refuses longer ones; "
            + ("shorten them" if length == question.model.max_model_len else "shorten them or raise max_model_len"),
        )
    held = cache.max_concurrency_at_workload * layout.data
    if evaluation.fits and held < workload.concurrency:
        yield Finding(
            code="kv-cache-holds-less-than-concurrency",
            severity="warning",
            message=f"the KV cache holds {held:,} requests of {wanted:,} tokens at once, not {workload.concurrency:,}",
            hint="the others wait or are preempted; add GPUs, or use kv_cache_dtype=fp8",
        )
    if evaluation.setup.max_num_seqs * layout.data < workload.concurrency:
        yield Finding(
            code="max-num-seqs-below-concurrency",
            severity="warning",
            message=(
                f"max_num_seqs ({evaluation.setup.max_num_seqs:,}) admits fewer requests than the "
                f"workload's {workload.concurrency:,}"
            ),
            hint=_more_seqs(best, question),
        )
    yield from _about_speed(best, workload)
    logged = evaluation.kv_cache.size_tokens
    alone = cache.max_model_len_that_fits
    if evaluation.fits and len(cache.groups) > 1:
        yield Finding(
            code="logged-size-is-not-one-request",
            message=(
                f"vLLM will log a cache of {logged:,} tokens; with {len(cache.groups)} kinds of cache groups that is "
                f"concurrency x length, not room for one request (which takes {format_gib(cache.bytes_per_request)} "
                f"at {min(alone, length):,} tokens)"
            ),
        )
    kv_heads = kv_heads_of(question)
    if 0 < kv_heads < layout.tensor and layout.decode_context == 1:
        yield Finding(
            code="kv-cache-replicated",
            severity="info",
            message=(
                f"{kv_heads} KV head{'s' if kv_heads > 1 else ''} on {layout.tensor} ranks: "
                f"each cached token is stored {layout.tensor // kv_heads} times"
            ),
            hint="data_parallel_size or decode_context_parallel_size stores it once",
        )


def _more_seqs(best: Candidate, question: Question) -> str:
    """
    What admits more requests: the flag, unless it is as high as vLLM takes it.
    """
    setup, limit = best.evaluation.setup, best.evaluation.kv_cache.max_num_seqs_limit
    if limit is not None and limit <= question.workload.concurrency:
        return f"vLLM starts with at most {limit:,}, one recurrent state each; add GPUs or replicas"
    if setup.max_num_seqs >= setup.max_num_batched_tokens:
        return "raise max_num_batched_tokens, above which vLLM refuses max_num_seqs"
    return "raise max_num_seqs"


def _about_speed(best: Candidate, workload: Workload) -> Iterator[Finding]:
    """
    What the estimate of speed could not use, or promises not to keep.
    """
    speed, setup = best.performance, best.evaluation.setup
    if setup.speculative_tokens and workload.acceptance_rate is None:
        yield Finding(
            code="acceptance-rate-unknown",
            severity="warning",
            message="speculation is on and acceptance_rate is not given: the speed counts no accepted token",
            hint="give acceptance_rate, the share of draft tokens accepted",
        )
    if workload.prefix_cache_hit_rate and not setup.enable_prefix_caching:
        yield Finding(
            code="prefix-caching-off",
            severity="warning",
            message="prefix_cache_hit_rate is given, but prefix caching is off: every prompt is counted whole",
            hint="set enable_prefix_caching=True",
        )
    if speed is None:
        return
    if speed.overloaded:
        yield Finding(
            code="overloaded",
            severity="warning",
            message=(
                f"request_rate is {workload.request_rate:g} per second, more than the {speed.requests_per_s.mid:.3g} "
                "that the server can do: its queue grows without end"
            ),
            hint="add GPUs or replicas, or lower request_rate",
        )
    target = workload.target
    missed = [
        f"{name} {estimate.mid:,.{0 if estimate.mid >= 100 else 1}f} ms (target {limit:,g})"
        for name, estimate, limit in (
            ("TTFT", speed.ttft_ms, target.ttft_ms),
            ("TPOT", speed.tpot_ms, target.tpot_ms),
            ("E2E latency", speed.e2el_ms, target.e2el_ms),
        )
        if limit is not None and estimate.mid > limit
    ]
    if missed:
        yield Finding(
            code="target-missed",
            severity="warning",
            message=f"the workload's targets are not kept: {', '.join(missed)}",
            hint="add GPUs, choose faster ones, or lower the load to what the targets allow",
        )


def _about_context(best: Candidate, question: Question) -> Iterator[Finding]:
    """
    Ranks that share a cache: gathered heads must suit the kernel that local ones chose.

    Source: vLLM 0.33 ``v1/attention/backends/mla/flashmla_sparse.py:FlashMLASparseMetadataBuilder``.
    """
    layout, heads = best.layout, question.model.num_attention_heads // best.layout.tensor
    if layout.decode_context == 1 or best.evaluation.setup.attention.name != "FLASHMLA_SPARSE":
        return
    gathered = heads * layout.decode_context
    if heads >= _MIXED_HEADS or gathered > _PADDED_HEADS:
        yield Finding(
            code="decode-context-heads",
            severity="warning",
            message=(
                f"vLLM's sparse attention refuses to start with {heads} heads on a rank, {gathered} gathered: its "
                f"ranks share a cache with fewer than {_MIXED_HEADS} heads, at most {_PADDED_HEADS} gathered"
            ),
            hint="raise tensor_parallel_size or lower decode_context_parallel_size",
        )


def _about_rules(best: Candidate, question: Question, vllm_version: str) -> Iterator[Finding]:
    if question.rules.version < OLDEST:
        yield Finding(
            code="vllm-version-old",
            severity="warning",
            message=f"vLLM {vllm_version} is planned by the rules of 0.10.0, the oldest that were read",
        )
    if question.model.rough:
        yield Finding(
            code="model-rough",
            severity="warning",
            message="built from a bare parameter count: every number is rough",
            hint="give the model's config.json for exact ones",
        )
    if best.performance is None:
        yield _without_speed(best, question)


def _without_speed(best: Candidate, question: Question) -> Finding:
    gpu = question.cluster.gpu
    missing = "memory bandwidth" if gpu.memory_bandwidth_bytes_per_s is None else "compute figures"
    message, hint = f"the {missing} of {gpu.name} are not known", "plan for a GPU with figures: vllm-sizing gpus"
    if best.evaluation.setup.pooling:
        message, hint = "the model of speed is one of text generation, and this model pools", ""
    elif gpu.memory_bandwidth_bytes_per_s and (gpu.peak("bf16") or gpu.peak("fp16")):
        message, hint = "no layer of this model computes by tokens", ""
    return Finding(code="speed-unknown", message=f"no speed is predicted: {message}", hint=hint)
