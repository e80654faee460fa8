"""
Results of a search made by hand; no planner is asked.
"""

import attrs

from tests.render import samples
from vllm_sizing.specs.plan import Estimate
from vllm_sizing.specs.price import Price
from vllm_sizing.specs.search import Miss, Offer, Refusal, SearchResult

OWN = Price(gpu="h100-sxm", usd_per_gpu_hour=2.5)
LISTED = Price(
    gpu="l4",
    usd_per_gpu_hour=0.8048,
    num_gpus=1,
    provider="AWS",
    instance="g6.xlarge",
    region="us-east-1",
    date="2026-Q1",
    source="a list",
)
STALE = attrs.evolve(LISTED, gpu="h100-sxm", num_gpus=8, region="", stale=True)


def offer(number=0, plan=None, price=OWN, misses=(), **more):
    """
    An offer whose cost follows from the plan's speed.
    """
    plan = samples.fits() if plan is None else plan
    speed = plan.performance
    usd = None if price is None else price.usd_per_gpu_hour * plan.cluster.total_gpus
    cost = None
    if usd is not None and speed is not None:
        cost = Estimate(*(usd / 3600 / rate * 1e6 for rate in (900.0, 700.0, 500.0)), "by hand")
    rate = None if speed is None else speed.output_tokens_per_s.mid / plan.cluster.total_gpus
    usual = {"usd_per_hour": usd, "usd_per_million_tokens": cost, "usd_per_million_output_tokens": cost}
    usual |= {"output_tokens_per_s_per_gpu": rate, "misses": tuple(misses), "sure": not misses}
    return Offer(number=number, plan=plan, price=price, **(usual | more))


def result(best=(), front=(), closest=None, refusals=(), **more):
    counts = {"num_candidates": 12_345, "num_refused": 45, "num_fitting": 6_000, "num_meeting": 600}
    return SearchResult(
        best=tuple(best),
        front=tuple(front),
        closest=closest,
        refusals=tuple(refusals),
        **({"rank": "usd_per_hour"} | counts | more),
    )


def asked(plan, **changes):
    return attrs.evolve(plan, requested=attrs.evolve(plan.requested, **changes))


def found():
    """
    Some that meet the targets, one of them by a small margin, and a front longer than a table.
    """
    fits = samples.fits()
    quantized = asked(fits, quantization="fp8", kv_cache_dtype="fp8")
    rate = attrs.evolve(fits, workload=attrs.evolve(fits.workload, request_rate=2.5))
    best = [offer(3), offer(7, quantized, STALE, sure=False), offer(9, rate, None)]
    front = [offer(100 + place, price=LISTED) for place in range(14)]
    refusal = Refusal(field="tensor_parallel_size", message="tensor_parallel_size is 3, which ...", num_candidates=45)
    return result(best, front, refusals=[refusal])


def missed():
    """
    Nothing meets the targets, each kind of which is missed.
    """
    names = ("ttft_ms", "tpot_ms", "e2el_ms", "output_tokens_per_s", "requests_per_s")
    misses = [Miss(name=name, wanted=500.0, got=1234.5, factor=2.469) for name in names]
    misses += [
        Miss(name="oom_risk", wanted="low", got="medium", factor=1.0),
        Miss(name="max_model_len", wanted=9000, got=8192, factor=1.1),
        Miss(name="tpot_ms", wanted=20.0, got="unknown", factor=None),
    ]
    return result(front=[offer()], closest=offer(5, misses=misses), num_meeting=0)


def nothing_fits(shortfall=2**31):
    miss = Miss(name="shortfall_bytes", wanted=0, got=shortfall, factor=1.1)
    return result(closest=offer(5, samples.does_not_fit(), misses=[miss]), num_meeting=0, num_fitting=0)


def hostile():
    """
    Names from outside that would like to be markup or to steer the terminal.
    """
    evil = "<script>alert(1)</script>\x1b[31m\n\u202e&'\""
    price = attrs.evolve(LISTED, gpu=evil, instance=evil, source=evil)
    plan = samples.hostile()
    return result(
        [offer(1, plan, price)], [offer(2, plan, price)], refusals=[Refusal(field=evil, message=evil, num_candidates=1)]
    )


RESULTS = {"found": found, "missed": missed, "nothing-fits": nothing_fits, "hostile": hostile, "empty": result}
