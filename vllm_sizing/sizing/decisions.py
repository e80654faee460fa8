"""
What the user left open, decided; each choice with its reason in numbers.

A value that the user fixed is kept or refused, never altered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.defaults import Rules, batch_defaults
from vllm_sizing.sizing.evaluate import Evaluation, evaluate
from vllm_sizing.sizing.findings import collect_findings
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.sizing.layouts import candidates, check_gpus, fixed_layout
from vllm_sizing.sizing.performance import estimate_performance, server_of, with_highest_loads
from vllm_sizing.sizing.reasons import explain
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.gpu import Cluster
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.specs.plan import Alternative, Performance, Plan
from vllm_sizing.specs.request import Policy
from vllm_sizing.specs.value import Value
from vllm_sizing.specs.workload import Workload
from vllm_sizing.units import ceil_div

LENGTH_STEP = 1024  # A decided max_model_len is a multiple of it.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Question(Value):
    """
    Everything that `plan` was asked, checked.
    """

    model: ModelSpec
    cluster: Cluster
    workload: Workload
    args: EngineArgs
    policy: Policy
    rules: Rules


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Candidate(Value):
    """
    One layout, settled and measured.
    """

    layout: Layout
    evaluation: Evaluation
    performance: Performance | None


def decide(
    *,
    model: ModelSpec,
    cluster: Cluster,
    workload: Workload,
    args: EngineArgs,
    policy: Policy,
    rules: Rules,
    vllm_version: str,
    siblings: tuple[ModelSpec, ...] = (),
    propose: bool = True,
    find_loads: bool = True,
) -> Plan:
    """
    The plan for a question.

    Args:
        propose: Look for alternatives if it does not fit.

        find_loads: Look for the highest loads that keep the targets, which takes twice as long as the rest.
    """
    question = Question(
        model=model, cluster=cluster, workload=workload, args=args, policy=policy, rules=rules
    )  # fmt: skip
    best, considered = best_candidate(question)
    evaluation = best.evaluation
    completed = complete(best, question)
    return Plan(
        model=model,
        cluster=cluster,
        workload=workload,
        policy=policy,
        vllm_version=vllm_version,
        requested=args,
        engine_args=completed,
        fits=evaluation.fits,
        oom_risk=evaluation.oom_risk,
        shortfall_bytes=evaluation.shortfall_bytes,
        memory=evaluation.numbers.memory,
        kv_cache=evaluation.kv_cache,
        performance=_with_targets(best, question) if find_loads else best.performance,
        decisions=explain(best, considered, question, completed),
        findings=collect_findings(best, question, vllm_version),
        alternatives=() if evaluation.fits or not propose else _alternatives(best, question, siblings),
    )


def _with_targets(best: Candidate, question: Question) -> Performance | None:
    server = server_of(best.evaluation, question.cluster, question.workload) if question.workload.target else None
    if best.performance is None or server is None:
        return best.performance
    return with_highest_loads(best.performance, server)


def _alternatives(best: Candidate, question: Question, siblings: tuple[ModelSpec, ...]) -> tuple[Alternative, ...]:
    from vllm_sizing.sizing.alternatives import find_alternatives

    return find_alternatives(best, question, siblings)


def best_candidate(question: Question) -> tuple[Candidate, list[Candidate]]:
    """
    The layout that serves the goal best, and all that were considered.

    Raises:
        UnsupportedError: vLLM would refuse every layout.
    """
    layout = fixed_layout(question.args, question.cluster)
    considered = [settle(question, layout)] if layout is not None else _consider(question)
    return max(considered, key=lambda candidate: _merit(candidate, question)), considered


def settle(question: Question, layout: Layout) -> Candidate:
    """
    A layout with the batch limits and the length that suit it.

    Raises:
        UnsupportedError: vLLM would refuse it.
    """
    check_gpus(layout, question.cluster)
    args = _batch_limits(question, layout)
    fixed = question.args.max_model_len
    length = question.model.max_model_len if fixed is None or fixed == -1 else fixed
    evaluation = _measure(question, layout, args, length)
    if args.gpu_memory_utilization is None and evaluation.request_less_bytes:
        args = _smaller_share(args, evaluation)
        evaluation = _measure(question, layout, args, length)
    # First of all, so that a start which too many sequences refuse is not taken for one with too long requests.
    args, evaluation = _fewer_seqs(question, layout, args, evaluation)
    if fixed is None and not evaluation.safe:
        evaluation = _shorter(question, layout, args, evaluation)
    elif fixed == -1 and not evaluation.fits and evaluation.kv_cache.max_model_len_that_fits:
        evaluation = _measure(question, layout, args, evaluation.kv_cache.max_model_len_that_fits)
    _, evaluation = _fewer_seqs(question, layout, args, evaluation)
    return Candidate(
        layout=layout,
        evaluation=evaluation,
        performance=estimate_performance(evaluation, question.cluster, question.workload),
    )


def _measure(question: Question, layout: Layout, args: EngineArgs, max_model_len: int) -> Evaluation:
    return evaluate(
        question.model, question.cluster.gpu, question.workload, args, layout, question.rules, question.policy,
        max_model_len,
    )  # fmt: skip


def _batch_limits(question: Question, layout: Layout) -> EngineArgs:
    """
    Raise max_num_seqs where the workload's concurrency exceeds vLLM's default.
    """
    args, workload = question.args, question.workload
    if args.max_num_seqs is not None:
        return args
    tokens, seqs = batch_defaults(question.cluster.gpu, question.rules)
    wanted = ceil_div(workload.concurrency, layout.data)
    if wanted <= seqs or args.performance_mode is not None:
        return args
    most = args.max_num_batched_tokens or tokens
    return args.replaced(max_num_seqs=min(wanted, most))


def _smaller_share(args: EngineArgs, evaluation: Evaluation) -> EngineArgs:
    """
    The largest gpu_memory_utilization, in hundredths, with which the start is safe, if the cache can spare it.
    """
    memory = evaluation.numbers.memory
    if evaluation.request_less_bytes >= memory.kv_cache_bytes:
        return args
    hundredths = (memory.requested_bytes - evaluation.request_less_bytes) * 100 // memory.total_bytes
    return args.replaced(gpu_memory_utilization=hundredths / 100)


def _fewer_seqs(
    question: Question, layout: Layout, args: EngineArgs, evaluation: Evaluation
) -> tuple[EngineArgs, Evaluation]:
    """
    No more sequences than the states of recurrent layers at the low end of the estimates, if nobody fixed them.
    """
    if question.args.max_num_seqs is not None or not evaluation.kv_cache.max_num_seqs_limit:
        return args, evaluation
    lowest = max(1, evaluation.numbers.cache.num_blocks(evaluation.numbers.available_cautious))
    if lowest >= evaluation.setup.max_num_seqs:
        return args, evaluation
    args = args.replaced(max_num_seqs=lowest)
    return args, _measure(question, layout, args, evaluation.max_model_len)


def _shorter(question: Question, layout: Layout, args: EngineArgs, evaluation: Evaluation) -> Evaluation:
    """
    The longest request that fits even at the bad end of the estimates, in whole steps; else the workload's own.
    """
    wanted = min(question.workload.tokens_per_request, evaluation.max_model_len)
    tried: list[tuple[int, Evaluation]] = []
    for shortest, longest in _ranges(evaluation, wanted):
        start = evaluation
        if longest < evaluation.max_model_len:
            start = _measure(question, layout, args, max(longest // LENGTH_STEP * LENGTH_STEP, wanted))
        tried.append((shortest, start))
        if start.safe:
            break
    for cautious in (True, False):
        for shortest, start in tried:
            if cautious and start.safe:
                return start
            length, least = _fitting(start, wanted, cautious=cautious), max(wanted, shortest)
            if least <= length < evaluation.max_model_len:
                # What only the middle of the estimates holds may not start: no longer than it must be, then.
                return _measure(question, layout, args, length if cautious else least)
    if evaluation.fits:
        return evaluation
    # Nothing fits: the shortfall is that of the requests which are wanted, not of the longest ones.
    return _measure(question, layout, args, wanted)


def _ranges(evaluation: Evaluation, wanted: int) -> Iterator[tuple[int, int]]:
    """
    Lengths for which profiling shows equally long videos, the longest first, down to the wanted one.
    """
    longest, setup = evaluation.max_model_len, evaluation.setup
    encoders = setup.model.encoders if setup.profile_encoders else ()
    sizes = [(encoder.tokens_within(longest), encoder.step_tokens) for encoder in encoders]
    tokens, step = max(sizes, default=(0, 0))
    if step:
        for steps in range(tokens // step, max(1, wanted // step), -1):
            yield steps * step, longest
            longest = steps * step - 1
    yield 1, longest


def _fitting(evaluation: Evaluation, wanted: int, *, cautious: bool) -> int:
    """
    The longest request that the cache holds, in whole steps unless the wanted one is between.
    """
    numbers, setup = evaluation.numbers, evaluation.setup
    available = numbers.available_cautious if cautious else numbers.available_bytes
    blocks = numbers.cache.num_blocks(available) - (1 if setup.rules.null_block_checked else 0)
    longest = numbers.cache.longest(max(blocks, 0), setup.in_flight_tokens, evaluation.max_model_len)
    length = longest // LENGTH_STEP * LENGTH_STEP
    return max(length, wanted) if wanted <= longest else length


def _consider(question: Question) -> list[Candidate]:
    """
    Every legal layout of the cluster.

    Raises:
        UnsupportedError: None is legal; the first refusal says why.
    """
    found: list[Candidate] = []
    refusals: list[UnsupportedError] = []
    for layout in candidates(question.args, question.cluster):
        try:
            found.append(settle(question, layout))
        except UnsupportedError as refusal:
            refusals.append(refusal)
    if not found:
        raise refusals[0]
    most = max(candidate.layout.num_ranks for candidate in found)
    return [candidate for candidate in found if candidate.layout.num_ranks == most] or found


def _merit(candidate: Candidate, question: Question) -> tuple[Any, ...]:
    """
    Better is larger: it starts, safely, holds the workload, keeps the targets, and then the goal's own measure.
    """
    evaluation, workload, layout = candidate.evaluation, question.workload, candidate.layout
    holds = evaluation.kv_cache.max_concurrency_at_workload * layout.data >= workload.concurrency
    wanted = min(question.model.max_model_len, question.args.max_model_len or question.model.max_model_len)
    performance, goal = candidate.performance, question.policy.goal
    speed, keeps = 0.0, True
    if performance is not None:
        times = performance.ttft_ms.mid, performance.tpot_ms.mid, performance.e2el_ms.mid
        keeps = workload.target.kept(*times) and not performance.overloaded
    if performance is None:
        speed = float(layout.tensor)
    elif goal == "latency":
        speed = -performance.e2el_ms.mid
    elif goal == "throughput":
        speed = performance.output_tokens_per_s.mid
    else:
        speed = performance.output_tokens_per_s.mid / performance.e2el_ms.mid
    return (
        evaluation.fits,
        evaluation.safe,
        evaluation.max_model_len >= workload.tokens_per_request,
        holds,
        evaluation.max_model_len >= wanted if goal != "throughput" else True,
        -evaluation.shortfall_bytes if not evaluation.fits else 0,
        keeps,
        speed,
    )


def complete(candidate: Candidate, question: Question) -> EngineArgs:
    """
    The user's arguments with every decided value filled in.
    """
    evaluation, layout = candidate.evaluation, candidate.layout
    setup = evaluation.setup
    decided: dict[str, Any] = {
        "tensor_parallel_size": layout.tensor,
        "pipeline_parallel_size": layout.pipeline,
        "data_parallel_size": layout.data,
        "max_model_len": evaluation.max_model_len,
        "max_num_seqs": setup.max_num_seqs,
        "max_num_batched_tokens": setup.max_num_batched_tokens,
        "gpu_memory_utilization": setup.gpu_memory_utilization,
        "dtype": setup.dtype,
        "kv_cache_dtype": question.args.kv_cache_dtype or "auto",
        "quantization": question.args.quantization,
        "enable_prefix_caching": setup.enable_prefix_caching,
    }
    return question.args.replaced(**decided)
