"""
A start-up log beside the plan: what was predicted, what was printed, and why they differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vllm_sizing.catalog.check_rules import finding
from vllm_sizing.sizing.defaults import parse_version
from vllm_sizing.specs.check import Measured
from vllm_sizing.specs.plan import Estimate
from vllm_sizing.units import GIB, format_gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.sources.start_log import Printed, StartLog
    from vllm_sizing.specs.check import CheckFinding
    from vllm_sizing.specs.engine import EngineArgs
    from vllm_sizing.specs.plan import Plan

# vLLM measures weights as allocated memory, in the allocator's steps, with buffers that are no weights.
_WEIGHTS_TOLERANCE = 0.01
_BASIS = "exact, held against what the allocator reports: within 1 %"


class _Compared(NamedTuple):
    name: str
    unit: str
    predicted: Estimate
    scale: float


def compare_log(plan: Plan, log: StartLog) -> tuple[tuple[Measured, ...], tuple[CheckFinding, ...]]:
    """
    Every number that both have, and what to say about the log as a whole.
    """
    measured = tuple(_measured(item, log.numbers[item.name], plan, log) for item in _pairs(plan, log))
    return measured, tuple(_remarks(plan, log, measured))


def _pairs(plan: Plan, log: StartLog) -> Iterator[_Compared]:
    memory, cache = plan.memory, plan.kv_cache
    loaded = memory.weights_bytes_per_gpu + memory.lora_bytes + memory.draft_bytes
    weights = Estimate(loaded * (1 - _WEIGHTS_TOLERANCE), loaded, loaded * (1 + _WEIGHTS_TOLERANCE), _BASIS)
    estimate = float(memory.cuda_graph_estimate_bytes)
    spread = memory.cuda_graph_bytes_interval
    pairs = [
        _Compared("weights", "bytes", weights, GIB),
        _Compared("kv_cache_memory", "bytes", memory.kv_cache_bytes_interval, GIB),
        _Compared("kv_cache_tokens", "tokens", cache.size_tokens_interval, 1),
        _Compared("cuda_graphs", "bytes", memory.cuda_graph_bytes_interval, GIB),
        _Compared("cuda_graph_estimate", "bytes", Estimate(spread.low, estimate, spread.high, spread.basis), GIB),
    ]
    if log.length == (plan.engine_args.max_model_len or plan.model.max_model_len) and cache.size_tokens > 0:
        share = cache.max_concurrency / cache.size_tokens
        tokens = cache.size_tokens_interval
        # The printed figure has two decimals and counts whole blocks.
        interval = Estimate(tokens.low * share, cache.max_concurrency, tokens.high * share, tokens.basis)
        pairs.append(_Compared("max_concurrency", "requests", interval, 1))
    for pair in pairs:
        printed = log.numbers.get(pair.name)
        # vLLM prints free memory before minus after; where others freed some meanwhile, that is no size.
        if printed is not None and (printed.value >= 0 or pair.name != "cuda_graphs"):
            yield pair


def _measured(item: _Compared, printed: Printed, plan: Plan, log: StartLog) -> Measured:
    value, slack = printed.value * item.scale, printed.slack * item.scale
    if item.unit == "requests":
        slack = max(slack, 0.01)
    inside = item.predicted.low - slack <= value <= item.predicted.high + slack
    remark = "" if inside else _why(item, value, plan, log)
    return Measured(
        name=item.name, unit=item.unit, predicted=item.predicted, printed=value, inside=inside, remark=remark
    )


def _why(item: _Compared, value: float, plan: Plan, log: StartLog) -> str:
    """
    What most often makes this number differ, from what else the log says.
    """
    gap = value - item.predicted.mid
    weights = log.numbers.get("weights")
    if item.name == "weights":
        if value < item.predicted.mid / 1.7:
            return "about a half or less: another quantization, or more tensor_parallel_size than the command says"
        return (
            "more than the config's tensors: another checkpoint, a draft model, or buffers of its kernels"
            if gap > 0
            else ("less than the config's tensors: another checkpoint or quantization, or parts that are left out")
        )
    loaded = plan.memory.weights_bytes_per_gpu + plan.memory.lora_bytes + plan.memory.draft_bytes
    if item.name in ("kv_cache_memory", "kv_cache_tokens", "max_concurrency") and weights is not None:
        heavier = weights.value * GIB - loaded
        if abs(heavier) > 0.01 * loaded:
            return f"the weights differ by {format_gib(heavier)}, which the cache has less or more"
    if item.name == "kv_cache_memory":
        overhead = plan.memory.requested_bytes - loaded - value
        if overhead <= 0:
            return "more than this GPU has left: the log is of another GPU, or of a higher gpu_memory_utilization"
        planned = plan.memory.requested_bytes - loaded - plan.memory.kv_cache_bytes
        cause = (
            "another process on the GPU, other kernels, more max_num_seqs or a lower gpu_memory_utilization"
            if overhead > planned
            else "another sampler or other kernels, fewer max_num_seqs or a higher gpu_memory_utilization"
        )
        return f"all but weights and cache took {format_gib(overhead)} instead of {format_gib(planned)}: {cause}"
    memory = log.numbers.get("kv_cache_memory")
    if memory is not None and item.name in ("kv_cache_tokens", "max_concurrency") and plan.memory.kv_cache_bytes > 0:
        expected = item.predicted.mid * memory.value * GIB / plan.memory.kv_cache_bytes
        if abs(value - expected) <= 0.01 * expected:
            return "it follows from the size of the cache, which differs"
        return "a token takes another size: kv_cache_dtype, block_size or max_model_len is not what the command says"
    return "modelled; the sizes and the kernels that were captured differ" if "graph" in item.name else ""


def _remarks(plan: Plan, log: StartLog, measured: tuple[Measured, ...]) -> Iterator[CheckFinding]:
    if log.version and parse_release(log.version) != parse_release(plan.vllm_version):
        message = f"the log is of vLLM {log.version}, and the plan of {plan.vllm_version}"
        yield finding("log-version", message, hint=f"check it with vllm_version={log.version}")
    if log.failure:
        message = f"the log ends in a failed start: {log.failure}"
        word = "as planned" if not plan.fits else "although the plan fits"
        yield finding("log-failed", f"{message} ({word})")
    if not measured and not log.failure:
        message = "the log has none of the lines with weights, KV cache or CUDA graphs"
        hint = "give the log from the start of vLLM, at level INFO"
        yield finding("log-not-understood", message, hint=hint)
    for item in measured:
        if not item.inside:
            low, high = _text(item.predicted.low, item.unit), _text(item.predicted.high, item.unit)
            message = f"{item.name}: {_text(item.printed, item.unit)} printed, {low} to {high} predicted"
            yield finding("log-differs", f"{message}; {item.remark}" if item.remark else message)
    yield from _arguments(plan.engine_args, log)


def parse_release(text: str) -> tuple[int, ...] | None:
    """
    The numbers of a release; None if nobody knows it.

    >>> parse_release("0.33.0"), parse_release("9.9")
    ((0, 33, 0), None)
    """
    from vllm_sizing.errors import InvalidValueError

    try:
        return parse_version(text)
    except InvalidValueError:
        return None


def _arguments(args: EngineArgs, log: StartLog) -> Iterator[CheckFinding]:
    """
    Arguments that the log names and the command sets otherwise.
    """
    for name in ("max_model_len", "tensor_parallel_size", "gpu_memory_utilization", "max_num_seqs", "kv_cache_dtype"):
        logged, given = log.arguments.get(name), getattr(args, name)
        if logged is not None and given is not None and logged != given:
            message = f"the log says {name}={logged!r:.40}, the command {given!r}"
            yield finding("log-arguments", message, hint="check the command that the log is of")


def _text(value: float, unit: str) -> str:
    if unit == "bytes":
        return format_gib(value)
    return f"{value:,.0f} {unit}" if unit == "tokens" else f"{value:,.2f} {unit}"


__all__ = ["compare_log", "parse_release"]
