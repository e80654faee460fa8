"""
Changes that make a plan fit, cheapest first, each verified by planning it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from vllm_sizing.errors import SizingError
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.specs.plan import Alternative
from vllm_sizing.specs.value import Value
from vllm_sizing.units import GIB, ceil_div

if TYPE_CHECKING:
    from vllm_sizing.sizing.decisions import Candidate, Question

MOST_GPUS = 8  # Of one node; beyond that a plan is asked for by name.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Change(Value):
    """
    One thing to try.
    """

    text: str
    args: dict[str, Any] = attrs.field(factory=dict)
    num_gpus: int | None = None
    model: ModelSpec | None = None


def find_alternatives(best: Candidate, question: Question, siblings: tuple[ModelSpec, ...]) -> tuple[Alternative, ...]:
    """
    Every single change that makes it fit; none if none does.
    """
    found = []
    for change in _changes(best, question, siblings):
        alternative = _try(change, question)
        if alternative is not None:
            found.append(alternative)
    return tuple(found)


def _changes(best: Candidate, question: Question, siblings: tuple[ModelSpec, ...]) -> Iterator[Change]:
    """
    What could be changed, in the order of what it costs the user.
    """
    evaluation, args, policy = best.evaluation, question.args, question.policy
    shorter = evaluation.kv_cache.max_model_len_that_fits
    if shorter >= question.workload.tokens_per_request and args.max_model_len not in (None, -1):
        yield Change(text=f"max_model_len {shorter:,}", args={"max_model_len": shorter})
    limit = evaluation.kv_cache.max_num_seqs_limit
    if limit and evaluation.setup.max_num_seqs > limit:
        lowest = evaluation.numbers.cache.num_blocks(evaluation.numbers.available_low)
        if lowest > 0:
            yield Change(text=f"max_num_seqs {lowest:,}", args={"max_num_seqs": lowest})
    if evaluation.setup.gpu_memory_utilization < 0.95 and args.kv_cache_memory_bytes is None:
        yield Change(text="gpu_memory_utilization 0.95", args={"gpu_memory_utilization": 0.95})
    seqs = max(question.workload.concurrency, 8)
    if seqs < evaluation.setup.max_num_seqs:
        smaller = {"max_num_seqs": seqs, "max_num_batched_tokens": max(2048, seqs)}
        yield Change(text=f"max_num_seqs {seqs} and max_num_batched_tokens {max(2048, seqs):,}", args=smaller)
    if question.model.encoders and not args.language_model_only:
        yield Change(text="language_model_only (text requests only)", args={"language_model_only": True})
    if evaluation.setup.cache.kv_cache_dtype in ("float16", "bfloat16") and policy.allow_kv_cache_dtype:
        yield Change(text="kv_cache_dtype fp8", args={"kv_cache_dtype": "fp8"})
    for sibling in siblings:
        yield Change(text=f"the checkpoint {sibling.name}", model=sibling)
    if question.model.quantization is None and args.quantization is None and policy.allow_quantization:
        yield Change(text="quantization fp8, converted while loading", args={"quantization": "fp8"})
        both = {"quantization": "fp8", "kv_cache_dtype": "fp8"}
        if policy.allow_kv_cache_dtype:
            yield Change(text="quantization fp8 and kv_cache_dtype fp8", args=both)
    if not args.enforce_eager:
        yield Change(text="enforce_eager (no CUDA graphs, slower)", args={"enforce_eager": True})
    yield from _more_gpus(question)
    if args.cpu_offload_gb is None and evaluation.shortfall_bytes > 0:
        gigabytes = ceil_div(evaluation.shortfall_bytes, GIB) + 1
        yield Change(
            text=f"cpu_offload_gb {gigabytes} (weights cross PCIe every step, much slower)",
            args={"cpu_offload_gb": float(gigabytes)},
        )


def _more_gpus(question: Question) -> Iterator[Change]:
    fixed = question.args.tensor_parallel_size
    gpus = question.cluster.num_gpus * 2
    while gpus <= MOST_GPUS:
        args = {"tensor_parallel_size": gpus} if fixed is not None else {}
        yield Change(text=f"{gpus} GPUs", args=args, num_gpus=gpus)
        gpus *= 2


def _try(change: Change, question: Question) -> Alternative | None:
    from vllm_sizing.sizing.decisions import best_candidate, complete

    cluster = question.cluster
    if change.num_gpus is not None:
        cluster = attrs.evolve(cluster, num_gpus=change.num_gpus)
    asked = attrs.evolve(
        question,
        model=change.model or question.model,
        cluster=cluster,
        args=attrs.evolve(question.args, **change.args),
    )
    try:
        candidate = best_candidate(asked)[0]
    except SizingError:  # This change is no way out: vLLM refuses it.
        return None
    evaluation = candidate.evaluation
    if not evaluation.fits or evaluation.max_model_len < min(
        question.workload.tokens_per_request, asked.model.max_model_len
    ):
        return None
    return Alternative(
        change=change.text,
        engine_args=complete(candidate, asked),
        num_gpus=cluster.num_gpus,
        num_nodes=cluster.num_nodes,
        gpu_name=cluster.gpu.name,
        model_name=asked.model.name,
        kv_cache_bytes=evaluation.numbers.memory.kv_cache_bytes,
        max_concurrency_at_workload=evaluation.kv_cache.max_concurrency_at_workload * candidate.layout.data,
    )
