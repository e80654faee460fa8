"""
What a plan costs, whether it meets the targets, and which of two is better.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from vllm_sizing.specs.plan import Estimate, Plan
from vllm_sizing.specs.price import Price
from vllm_sizing.specs.search import Miss, Offer, SearchSpace

PER_HOUR, PER_MILLION = "usd_per_hour", "usd_per_million_tokens"


def offer_of(number: int, plan: Plan, price: Price | None, space: SearchSpace) -> Offer:
    """
    A plan with its cost, held against the targets.
    """
    speed = plan.performance
    total = output = each = None
    # Every GPU is paid for, an idle one too.
    usd = None if price is None else price.usd_per_gpu_hour * plan.cluster.total_gpus
    if speed is not None:
        each = speed.output_tokens_per_s.mid / plan.cluster.total_gpus
        if price is not None and usd is not None:
            total = _per_million(usd, speed.total_tokens_per_s, price)
            output = _per_million(usd, speed.output_tokens_per_s, price)
    misses = tuple(_misses(plan, space))
    return Offer(
        number=number,
        plan=plan,
        price=price,
        usd_per_hour=usd,
        usd_per_million_tokens=total,
        usd_per_million_output_tokens=output,
        output_tokens_per_s_per_gpu=each,
        misses=misses,
        sure=not misses and not any(_speed_misses(plan, space, sure=True)),
    )


def _per_million(usd: float, rate: Estimate, price: Price) -> Estimate:
    basis = f"list price, {price.date}" if price.date else "the user's price"
    low, mid, high = (usd / 3600 / value * 1e6 for value in (rate.high, rate.mid, rate.low))
    return Estimate(low, mid, high, f"{basis}; throughput: {rate.basis}")


def _misses(plan: Plan, space: SearchSpace) -> Iterator[Miss]:
    if not plan.fits:
        missing = plan.shortfall_bytes
        yield Miss(name="shortfall_bytes", wanted=0, got=missing, factor=1 + max(missing, 0) / plan.memory.total_bytes)
        return
    if plan.oom_risk != "low":
        yield Miss(name="oom_risk", wanted="low", got=plan.oom_risk, factor=1.0)
    length, wanted = plan.engine_args.max_model_len or 0, plan.workload.tokens_per_request
    if length < wanted:
        yield Miss(name="max_model_len", wanted=wanted, got=length, factor=wanted / max(length, 1))
    yield from _speed_misses(plan, space, sure=False)


def _speed_misses(plan: Plan, space: SearchSpace, *, sure: bool) -> Iterator[Miss]:
    """
    Targets missed by the middle of the estimates, or by their bad end.
    """
    target, speed = plan.workload.target, plan.performance
    limits = (("ttft_ms", target.ttft_ms), ("tpot_ms", target.tpot_ms), ("e2el_ms", target.e2el_ms))
    for name, limit in limits:
        if limit is None:
            continue
        if speed is None:
            yield Miss(name=name, wanted=limit, got="unknown", factor=None)
            continue
        estimate: Estimate = getattr(speed, name)
        got = estimate.high if sure else estimate.mid
        if got > limit:
            yield Miss(name=name, wanted=limit, got=got, factor=got / limit)
    least, rate = space.output_tokens_per_s, plan.workload.request_rate
    if speed is None:
        wanted = {"output_tokens_per_s": least, "requests_per_s": rate}
        yield from (Miss(name=n, wanted=w, got="unknown", factor=None) for n, w in wanted.items() if w is not None)
        return
    output = speed.output_tokens_per_s.low if sure else speed.output_tokens_per_s.mid
    if least is not None and output < least:
        yield Miss(name="output_tokens_per_s", wanted=least, got=output, factor=least / output)
    if rate is not None and speed.overloaded:
        done = speed.requests_per_s.mid
        yield Miss(name="requests_per_s", wanted=rate, got=done, factor=rate / done)


def rank_of(space: SearchSpace) -> str:
    """
    Which cost is to be least: a load that must be served wants the cheapest machines, a free one the cheapest tokens.
    """
    if space.rank is not None:
        return space.rank
    free = len(space.concurrency) > 1 and space.output_tokens_per_s is space.workload.request_rate is None
    return PER_MILLION if free else PER_HOUR


def cost_order(offer: Offer, rank: str) -> tuple[float, ...]:
    """
    Least cost first, to three digits.

    At equal cost comes first what keeps the targets more surely, then what leaves the checkpoint and vLLM's limits as
    they are, then the faster one.  Without a price the number of GPUs is the cost, behind all that have one.
    """
    cost = offer.usd_per_hour
    if rank == PER_MILLION:
        cost = offer.usd_per_million_tokens.mid if offer.usd_per_million_tokens else None
    asked, speed = offer.plan.requested, offer.plan.performance
    return (
        cost is None,
        offer.plan.cluster.total_gpus if cost is None else float(f"{cost:.3g}"),
        not offer.sure,
        (asked.quantization is not None) + (asked.kv_cache_dtype not in (None, "auto")),
        (asked.max_num_seqs is not None) + (asked.max_num_batched_tokens is not None),
        speed.e2el_ms.mid if speed else 0.0,
        offer.number,
    )


def nearness(offer: Offer) -> tuple[float, ...]:
    """
    How far an offer misses its targets, nearest first: what does not start comes last.
    """
    factors = [miss.factor for miss in offer.misses]
    worst = max((factor for factor in factors if factor is not None), default=1.0)
    risk = ("low", "medium", "high").index(offer.plan.oom_risk)
    return (not offer.plan.fits, risk, None in factors, worst, offer.number)


def pareto_front(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    """
    Offers that no other beats in both the time of a request and output tokens per GPU; fastest first.

    What does not start safely, or whose speed is unknown, is left out; of equals the first one stays.
    """
    times: list[float] = []
    front: list[Offer] = []
    for offer in offers:
        speed, rate = offer.plan.performance, offer.output_tokens_per_s_per_gpu
        if not offer.plan.fits or offer.plan.oom_risk != "low" or speed is None or rate is None:
            continue
        time = speed.e2el_ms.mid
        place = bisect_left(times, time)
        # Along the front both grow: who stands before is faster, who stands at or behind it is not.
        before = front[place - 1] if place else None
        same = front[place] if place < len(times) and times[place] == time else None
        if any(other is not None and _rate(other) >= rate for other in (before, same)):
            continue
        end = place
        while end < len(front) and _rate(front[end]) <= rate:
            end += 1
        front[place:end] = [offer]
        times[place:end] = [time]
    return tuple(front)


def _rate(offer: Offer) -> float:
    return offer.output_tokens_per_s_per_gpu or 0.0
