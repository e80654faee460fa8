"""
What a search tries, and what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from vllm_sizing.errors import InvalidValueError
from vllm_sizing.specs.checks import above_zero_or_none, one_of, text
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.specs.plan import Estimate, Plan
from vllm_sizing.specs.price import Price
from vllm_sizing.specs.request import LATEST_VLLM, Policy
from vllm_sizing.specs.value import Value
from vllm_sizing.specs.workload import Workload

RANKS = ("usd_per_hour", "usd_per_million_tokens")


def _tuple(value: Any) -> Any:
    """
    Several values, each once and in their order; one alone is taken, too.
    """
    if value is None or isinstance(value, (str, Value)) or not isinstance(value, Iterable):
        return (value,)
    items = tuple(value)
    try:
        return tuple(dict.fromkeys(items))
    except TypeError:  # Something that cannot be hashed: the validator says what.
        return items


def _each(what: str, fits: Callable[[Any], bool], *, least: int = 1) -> Any:
    def check(_: Any, attribute: Any, value: tuple[Any, ...]) -> None:
        wrong = [item for item in value if not fits(item)]
        if wrong or len(value) < least:
            given = f"has {wrong[0]!r:.80}" if wrong else "is empty"
            message = f"{attribute.name} {given}; it must be {what}, or several"
            raise InvalidValueError(message, field=attribute.name, value=value)

    return check


def _each_is(cls: type, *, least: int = 1) -> Any:
    return _each(f"a {cls.__name__}", lambda item: isinstance(item, cls), least=least)


def _is(cls: type) -> Any:
    def check(_: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, cls):
            message = f"{attribute.name} is {value!r:.80}; it must be of class {cls.__name__}"
            raise InvalidValueError(message, field=attribute.name, value=value)

    return check


def _is_count(item: Any) -> bool:
    return type(item) is int and item >= 1


def _counts(*, least: int = 1) -> Any:
    return _each("an integer of at least 1", _is_count, least=least)


def _limit(item: Any) -> bool:
    return item is None or _is_count(item)


def _method(item: Any) -> bool:
    return item is None or isinstance(item, str)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SearchSpace(Value):
    """
    The configurations to try: every combination of the values that are given.

    What ``engine_args`` fixes is kept and not varied.

    Attributes:
        models: One model in several checkpoints, or several models.

        num_gpus: Per node.

        tensor_parallel_size, pipeline_parallel_size, data_parallel_size: Sizes to try; empty: every legal one.
            Their product is always the number of GPUs.

        enable_expert_parallel: Tried where a model has routed experts and several ranks to spread them over.

        quantization: vLLM's on-line methods beside loading as stored (None).  Empty: as stored, and every method
            of 8 bits that the release and the GPU support, for checkpoints of 16 bits.

        max_num_seqs, max_num_batched_tokens: Batch limits; None: decided by the planner.

        concurrency: Requests at once; empty: the workload's own.

        output_tokens_per_s: Least throughput of a whole deployment.

        prices: What GPUs cost; where none is known, the number of GPUs is the cost.

        rank: Which cost is to be least, ``usd_per_hour`` or ``usd_per_million_tokens``.  None: per hour where the
            load is given, per million tokens where several are tried.
    """

    models: tuple[ModelSpec, ...] = attrs.field(converter=_tuple, validator=_each_is(ModelSpec))
    gpus: tuple[GpuSpec, ...] = attrs.field(converter=_tuple, validator=_each_is(GpuSpec))
    workload: Workload = attrs.field(factory=Workload, validator=_is(Workload))
    num_gpus: tuple[int, ...] = attrs.field(default=(1, 2, 4, 8), converter=_tuple, validator=_counts())
    num_nodes: tuple[int, ...] = attrs.field(default=(1,), converter=_tuple, validator=_counts())
    interconnect: str | None = attrs.field(default=None, validator=one_of("nvlink", "pcie", "unknown", or_none=True))
    tensor_parallel_size: tuple[int, ...] = attrs.field(default=(), converter=_tuple, validator=_counts(least=0))
    pipeline_parallel_size: tuple[int, ...] = attrs.field(default=(), converter=_tuple, validator=_counts(least=0))
    data_parallel_size: tuple[int, ...] = attrs.field(default=(), converter=_tuple, validator=_counts(least=0))
    enable_expert_parallel: tuple[bool, ...] = attrs.field(
        default=(False, True), converter=_tuple, validator=_each_is(bool)
    )
    quantization: tuple[str | None, ...] = attrs.field(
        default=(), converter=_tuple, validator=_each("a method of vLLM or None", _method, least=0)
    )
    kv_cache_dtype: tuple[str, ...] = attrs.field(default=("auto", "fp8"), converter=_tuple, validator=_each_is(str))
    max_num_seqs: tuple[int | None, ...] = attrs.field(
        default=(None, 64), converter=_tuple, validator=_each("an integer of at least 1 or None", _limit)
    )
    max_num_batched_tokens: tuple[int | None, ...] = attrs.field(
        default=(None, 2048, 16_384), converter=_tuple, validator=_each("an integer of at least 1 or None", _limit)
    )
    concurrency: tuple[int, ...] = attrs.field(default=(), converter=_tuple, validator=_counts(least=0))
    output_tokens_per_s: float | None = attrs.field(default=None, validator=above_zero_or_none)
    engine_args: EngineArgs = attrs.field(factory=EngineArgs, validator=_is(EngineArgs))
    policy: Policy = attrs.field(factory=Policy, validator=_is(Policy))
    vllm_version: str = attrs.field(default=LATEST_VLLM, validator=text)
    prices: tuple[Price, ...] = attrs.field(default=(), converter=_tuple, validator=_each_is(Price, least=0))
    rank: str | None = attrs.field(default=None, validator=one_of(*RANKS, or_none=True))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Miss(Value):
    """
    A target that a plan does not meet.

    Attributes:
        name: ``ttft_ms``, ``tpot_ms``, ``e2el_ms``, ``output_tokens_per_s``, ``max_model_len``, ``oom_risk`` or
            ``shortfall_bytes``.

        wanted, got: Middle of the estimate, in the unit of the name.

        factor: By how much it is missed; None where nothing is known of it.
    """

    name: str
    wanted: float | str
    got: float | str
    factor: float | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Offer(Value):
    """
    One configuration: its plan, what it costs and whether it meets the targets.

    Attributes:
        number: Its place in the order of the search, from 0.

        price: That the cost rests on; None: no price of this GPU is known.

        usd_per_hour: Of all its GPUs.

        usd_per_million_tokens, usd_per_million_output_tokens: At the throughput that was estimated; prompt and
            answer together, and the answers alone.

        output_tokens_per_s_per_gpu: Middle of the estimate.

        misses: Targets that are not met; empty: all are.

        sure: All targets are met at the bad end of the 80 % intervals, too.
    """

    number: int
    plan: Plan
    price: Price | None
    usd_per_hour: float | None
    usd_per_million_tokens: Estimate | None
    usd_per_million_output_tokens: Estimate | None
    output_tokens_per_s_per_gpu: float | None
    misses: tuple[Miss, ...]
    sure: bool

    @property
    def meets(self) -> bool:
        """
        Whether it starts safely, takes the workload's requests and meets every target.
        """
        return not self.misses


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Refusal(Value):
    """
    Candidates that vLLM would refuse, whatever the memory.

    Attributes:
        field: The argument that it is about.

        message: Of the first of them.
    """

    field: str
    message: str
    num_candidates: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SearchResult(Value):
    """
    What a search found.

    Attributes:
        best: Offers that meet the targets, least cost first: the best of each checkpoint, number of bits, GPU and
            number of GPUs.

        front: No other offer has a shorter request and more output tokens per GPU; fastest first.

        closest: The nearest miss, where nothing meets the targets.

        rank: Which cost was to be least.

        num_candidates: That were tried, of which so many are refused by vLLM, fit, and meet the targets.
    """

    best: tuple[Offer, ...]
    front: tuple[Offer, ...]
    closest: Offer | None
    rank: str
    num_candidates: int
    num_refused: int
    num_fitting: int
    num_meeting: int
    refusals: tuple[Refusal, ...]
