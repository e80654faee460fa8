"""
Tries every candidate of a search space and finds the cheapest and the fastest.

Nothing is kept but what is asked for, so memory does not grow with the number of candidates.  Work may be
spread by any executor of ``concurrent.futures``; chunks are sent and answered in order, so that every
executor gives the same answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol, TypeVar

import attrs

from vllm_sizing.errors import InvalidValueError, UnsupportedError
from vllm_sizing.sizing.decisions import decide
from vllm_sizing.sizing.defaults import parse_version, rules_for
from vllm_sizing.sizing.offers import cost_order, nearness, offer_of, pareto_front, rank_of
from vllm_sizing.sizing.planner import check_length
from vllm_sizing.sizing.space import Group, count_candidates, group_size, groups, inner_values
from vllm_sizing.specs.price import price_of
from vllm_sizing.specs.search import Offer, Refusal, SearchResult, SearchSpace
from vllm_sizing.specs.value import Value

CHUNK, IN_FLIGHT = 128, 32  # Candidates in a chunk; chunks that are sent and not yet answered.

Progress = Callable[[int, int], None]
Slice = tuple[Group, int, int]
Answer = TypeVar("Answer")
Some = TypeVar("Some", bound=Value)


class Executor(Protocol):
    """
    The one method of ``concurrent.futures.Executor`` that is used.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """
        A future of ``fn(*args)``.
        """


@attrs.frozen(eq=False, repr=False)
class Partial(Value):
    """
    What a chunk comes to; partials of partials are partials.
    """

    best: dict[Any, Offer]
    front: tuple[Offer, ...]
    closest: Offer | None
    num_fitting: int
    num_meeting: int
    refusals: dict[str, Refusal]


def sweep(
    space: SearchSpace,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    in_flight: int = IN_FLIGHT,
) -> Iterator[Offer]:
    """
    Every candidate that vLLM would not refuse, with its full plan, in the order of the space; lazily.

    Plans that do not fit are among them (``offer.plan.fits``).  Two things take longer than all the rest and are
    left to `plan` and `search`: alternatives, and the highest loads that keep the targets.

    Args:
        executor: Spreads the work: any ``concurrent.futures.Executor``, also Dask's ``Client.get_executor()``.

        progress: Called with the candidates that are done and their total.

        in_flight: Chunks of candidates that an executor holds at a time.

    >>> import vllm_sizing as vs
    >>> space = vs.SearchSpace(models=vs.load_model("Qwen/Qwen3-8B"), gpus=vs.find_gpu("l4"), num_gpus=(1, 2))
    >>> offer = next(vs.sweep(space))
    >>> offer.number, offer.plan.gpu.name, offer.plan.fits
    (0, 'l4', True)
    """
    return (
        outcome
        for part in _run(_listed if executor else _outcomes, space, executor, progress, in_flight)
        for outcome in part
        if isinstance(outcome, Offer)
    )


def search(
    space: SearchSpace,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    in_flight: int = IN_FLIGHT,
) -> SearchResult:
    """
    The configurations that meet the targets at the least cost, and the Pareto front of latency and throughput.

    Args:
        executor, progress, in_flight: As for `sweep`; workers send back only what may be among the best.

    Raises:
        UnsupportedError: vLLM would refuse every candidate; the message is that of the first.

    >>> import vllm_sizing as vs
    >>> space = vs.SearchSpace(models=vs.load_model("Qwen/Qwen3-8B"), gpus=vs.find_gpu("l4"), num_gpus=(1, 2))
    >>> vs.search(space).best[0].plan.num_gpus
    1
    """
    total, rank = count_candidates(space), rank_of(space)
    found = _joined(_run(_searched, space, executor, progress, in_flight), rank)
    refused = sum(refusal.num_candidates for refusal in found.refusals.values())
    if refused == total:
        first = next(iter(found.refusals.values()))
        raise UnsupportedError(first.message, field=first.field)
    best = sorted(found.best.values(), key=lambda offer: cost_order(offer, rank))
    return SearchResult(
        best=tuple(map(_completed, best)),
        front=tuple(map(_completed, found.front)),
        closest=None if found.best or found.closest is None else _completed(found.closest),
        rank=rank,
        num_candidates=total,
        num_refused=refused,
        num_fitting=found.num_fitting,
        num_meeting=found.num_meeting,
        refusals=tuple(found.refusals.values()),
    )


def _run(
    work: Callable[[SearchSpace, tuple[Slice, ...]], Answer],
    space: SearchSpace,
    executor: Executor | None,
    progress: Progress | None,
    in_flight: int,
) -> Iterator[Answer]:
    """
    The answers to all chunks, in order.
    """
    if executor is not None and not callable(getattr(executor, "submit", None)):
        message = f"executor is {executor!r:.60}; it must have submit(), as those of concurrent.futures have"
        raise InvalidValueError(message, field="executor", value=executor)
    if type(in_flight) is not int or in_flight < 1:
        message = f"in_flight is {in_flight!r}; it must be an integer of at least 1"
        raise InvalidValueError(message, field="in_flight", value=in_flight)
    return _answers(work, space, executor, progress or (lambda *_: None), in_flight, count_candidates(space))


def _answers(
    work: Callable[[SearchSpace, tuple[Slice, ...]], Answer],
    space: SearchSpace,
    executor: Executor | None,
    progress: Progress,
    in_flight: int,
    total: int,
) -> Iterator[Answer]:
    done = 0
    waiting: deque[tuple[Any, int]] = deque()
    terms = space.replaced(models=(), gpus=())  # A chunk brings its own.
    try:
        for chunk in chain(_chunks(space), [()]):
            if chunk:
                call = executor.submit(work, terms, chunk) if executor else _Now(work(terms, chunk))
                waiting.append((call, sum(stop - start for _, start, stop in chunk)))
            while waiting and (not chunk or not executor or len(waiting) >= in_flight):
                call, size = waiting.popleft()
                yield call.result()
                done += size
                progress(done, total)
    finally:
        for call, _ in waiting:
            call.cancel()


@attrs.frozen(eq=False, repr=False)
class _Now(Value):
    """
    A future that has come.
    """

    answer: Any

    def result(self) -> Any:
        """
        What the call gave.
        """
        return self.answer


def _chunks(space: SearchSpace) -> Iterator[tuple[Slice, ...]]:
    """
    Slices of groups, about `CHUNK` candidates together.
    """
    size = group_size(space)
    chunk: list[Slice] = []
    room = CHUNK
    for group in groups(space):
        start = 0
        while start < size:
            stop = min(size, start + room)
            chunk.append((group, start, stop))
            room -= stop - start
            start = stop
            if not room:
                yield tuple(chunk)
                chunk, room = [], CHUNK
    if chunk:
        yield tuple(chunk)


@lru_cache(maxsize=64)
def _same(value: Some) -> Some:
    """
    One object for all equal ones: a process gets a copy with every chunk, and caches look by identity first.
    """
    return value


def _outcomes(space: SearchSpace, chunk: tuple[Slice, ...]) -> Iterator[Offer | Refusal]:
    rules = rules_for(parse_version(space.vllm_version))
    for group, start, stop in chunk:
        model, cluster = _same(group.model), _same(group.cluster)
        price = price_of(space.prices, cluster.gpu.name, cluster.num_gpus)
        for place in range(start, stop):
            seqs, tokens, load = inner_values(space, place)
            limits = {"max_num_seqs": seqs, "max_num_batched_tokens": tokens}
            args = group.args.replaced(**{name: limit for name, limit in limits.items() if limit is not None})
            workload = space.workload if load is None else space.workload.replaced(concurrency=load)
            try:
                check_length(model, args)
                plan = decide(
                    model=model,
                    cluster=cluster,
                    workload=workload,
                    args=args,
                    policy=space.policy,
                    rules=rules,
                    vllm_version=space.vllm_version,
                    propose=False,
                    find_loads=False,
                )
            except UnsupportedError as refusal:
                yield Refusal(field=refusal.field, message=refusal.message, num_candidates=1)
                continue
            yield offer_of(group.first + place, plan, price, space)


def _completed(offer: Offer) -> Offer:
    """
    With the highest loads that keep the targets.
    """
    plan = offer.plan
    if not plan.workload.target:
        return offer
    whole = decide(
        model=plan.model,
        cluster=plan.cluster,
        workload=plan.workload,
        args=plan.requested,
        policy=plan.policy,
        rules=rules_for(parse_version(plan.vllm_version)),
        vllm_version=plan.vllm_version,
        propose=False,
    )
    return offer.replaced(plan=whole)


def _listed(space: SearchSpace, chunk: tuple[Slice, ...]) -> list[Offer | Refusal]:
    return list(_outcomes(space, chunk))


def _searched(space: SearchSpace, chunk: tuple[Slice, ...]) -> Partial:
    """
    The partial of a chunk.
    """
    return _joined(map(_alone, _outcomes(space, chunk)), rank_of(space))


def _alone(outcome: Offer | Refusal) -> Partial:
    if isinstance(outcome, Refusal):
        return Partial({}, (), None, 0, 0, {outcome.field: outcome})
    plan = outcome.plan
    # One for each thing that people choose between; the rest is settings.
    key = (plan.model.name, plan.requested.quantization is not None, plan.gpu.name, plan.cluster.total_gpus)
    if outcome.meets:
        return Partial({key: outcome}, (outcome,), None, int(plan.fits), 1, {})
    return Partial({}, (outcome,), outcome, int(plan.fits), 0, {})


def _joined(parts: Iterable[Partial], rank: str) -> Partial:
    """
    Several partials as one; memory is that of the answer.
    """
    best: dict[Any, Offer] = {}
    refusals: dict[str, Refusal] = {}
    front: list[Offer] = []
    closest: Offer | None = None
    fitting = meeting = kept = 0
    for part in parts:
        for key, offer in part.best.items():
            best[key] = min(best.get(key, offer), offer, key=lambda one: cost_order(one, rank))
        for field, refusal in part.refusals.items():
            known = refusals.get(field)
            number = refusal.num_candidates + (known.num_candidates if known else 0)
            refusals[field] = (known or refusal).replaced(num_candidates=number)
        front += part.front
        if len(front) >= 2 * kept + CHUNK:
            front = list(pareto_front(front))
            kept = len(front)
        if part.closest is not None and (closest is None or nearness(part.closest) < nearness(closest)):
            closest = part.closest
        fitting += part.num_fitting
        meeting += part.num_meeting
    return Partial(best, pareto_front(front), closest, fitting, meeting, refusals)
