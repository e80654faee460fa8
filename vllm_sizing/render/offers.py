"""
What is said of a search's result, as short texts and numbers; console, JSON and HTML only arrange it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vllm_sizing.render.report import Row, clean, command_text, figure
from vllm_sizing.render.report import demand as of_plan
from vllm_sizing.units import format_gib

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vllm_sizing.specs.price import Price
    from vllm_sizing.specs.search import Miss, Offer, SearchResult

HEADS = ("USD/h", "USD/Mtok", "TTFT ms", "TPOT ms", "tok/s/GPU")
UNKNOWN = "-"
_TARGETS = {
    "ttft_ms": ("TTFT", "ms"),
    "tpot_ms": ("TPOT", "ms"),
    "e2el_ms": ("a whole request", "ms"),
    "output_tokens_per_s": ("output", "tokens/s"),
    "requests_per_s": ("requests", "per s"),
    "max_model_len": ("max_model_len", "tokens"),
}
_AT_LEAST = ("output_tokens_per_s", "requests_per_s", "max_model_len")


class Line(NamedTuple):
    """
    One offer in a table.

    Attributes:
        figures: Under `HEADS`.

        hardware: GPUs and layout.

        settings: Checkpoint, formats, limits, load.

        why: Whether it meets the targets, how nearly, and what binds it.
    """

    figures: tuple[str, ...]
    hardware: str
    settings: str
    why: str


def verdict(result: SearchResult) -> tuple[str, str]:
    """
    The answer in one sentence.
    """
    if result.best:
        offer = result.best[0]
        by_tokens = result.rank == "usd_per_million_tokens" and offer.usd_per_million_tokens is not None
        what = "CHEAPEST TOKENS:" if by_tokens else "CHEAPEST:"
        return what, f"{hardware(offer)}, {cost(offer)}"
    closest = result.closest
    if closest is None:
        return "NOTHING FOUND:", "no candidate could be planned"
    if not closest.plan.fits:
        return "NOTHING FITS:", f"the nearest is {hardware(closest)}, where {missed(closest)}"
    return "NOTHING MEETS THE TARGETS:", f"the nearest is {hardware(closest)}, where {missed(closest)}"


def next_step(result: SearchResult) -> str:
    """
    What to ask next; empty where something was found.
    """
    if result.best:
        return ""
    if result.closest is None:
        return "Try other GPUs or settings; what was refused is below"
    if not result.closest.plan.fits:
        return "Try more GPUs, more nodes, or larger GPUs"
    return "Try faster GPUs, more of them, a smaller load, or targets that can be kept"


def cost(offer: Offer) -> str:
    """
    What it costs, in words.
    """
    if offer.usd_per_hour is None:
        return f"no price of {clean(offer.plan.gpu.name)} is known"
    text = f"{offer.usd_per_hour:,.2f} USD per hour"
    tokens = offer.usd_per_million_tokens
    return text if tokens is None else f"{text}, {figure(tokens.mid)} USD per million tokens"


def hardware(offer: Offer) -> str:
    """
    GPUs and layout.
    """
    plan = offer.plan
    args, cluster = plan.engine_args, plan.cluster
    nodes = f" on {cluster.num_nodes} nodes" if cluster.num_nodes > 1 else ""
    sizes = (
        ("TP", args.tensor_parallel_size),
        ("PP", args.pipeline_parallel_size),
        ("DP", args.data_parallel_size),
    )
    layout = [f"{name} {size}" for name, size in sizes if (size or 1) > 1]
    layout += ["EP"] if args.enable_expert_parallel else []
    return ", ".join((f"{cluster.total_gpus} x {clean(plan.gpu.name)}{nodes}", *layout))


def settings(offer: Offer) -> list[str]:
    """
    Checkpoint, formats, limits and load.
    """
    plan = offer.plan
    asked = plan.requested
    words = [clean(plan.model.name)]
    if asked.quantization is not None:
        words.append(f"{clean(asked.quantization)} while loading")
    if asked.kv_cache_dtype not in {None, "auto"}:
        words.append(f"KV {clean(str(asked.kv_cache_dtype))}")
    limits = (("max_num_seqs", asked.max_num_seqs), ("max_num_batched_tokens", asked.max_num_batched_tokens))
    words += [f"{name} {limit:,}" for name, limit in limits if limit is not None]
    rate = plan.workload.request_rate
    words.append(f"{rate:g} requests/s" if rate else f"{plan.workload.concurrency:,} at once")
    return words


def why(offer: Offer) -> str:
    """
    How likely it meets the targets, which of them is nearest to its limit, and what binds the server.
    """
    if offer.misses:
        return missed(offer)
    speed = offer.plan.performance
    if speed is None:
        return "speed unknown"
    target = offer.plan.workload.target
    limits = {"ttft_ms": target.ttft_ms, "tpot_ms": target.tpot_ms, "e2el_ms": target.e2el_ms}
    used = {name: getattr(speed, name).mid / limit for name, limit in limits.items() if limit is not None}
    words = "very likely" if offer.sure else "likely"
    if used:
        nearest = max(used, key=lambda name: used[name])
        words += f", {_TARGETS[nearest][0]} at {100 * used[nearest]:.0f} % of its limit"
    return f"{words}; bound by {clean(speed.limit)}"


def line(offer: Offer) -> Line:
    """
    An offer as a line of a table.
    """
    speed = offer.plan.performance
    hour, tokens, rate = offer.usd_per_hour, offer.usd_per_million_tokens, offer.output_tokens_per_s_per_gpu
    figures = (
        UNKNOWN if hour is None else f"{hour:,.2f}",
        UNKNOWN if tokens is None else figure(tokens.mid),
        UNKNOWN if speed is None else figure(speed.ttft_ms.mid),
        UNKNOWN if speed is None else figure(speed.tpot_ms.mid),
        UNKNOWN if rate is None else figure(rate),
    )
    return Line(figures, hardware(offer), ", ".join(settings(offer)), why(offer))


def missed(offer: Offer) -> str:
    """
    What an offer misses, in numbers.
    """
    return "; ".join(map(_missed, offer.misses))


def _missed(miss: Miss) -> str:
    if miss.name == "shortfall_bytes":
        missing = float(miss.got)
        if missing <= 0:
            return "vLLM would refuse to start, although there is memory enough"
        return f"{format_gib(missing)} per GPU are missing"
    if miss.name == "oom_risk":
        return f"the risk of running out of memory is {miss.got}"
    name, unit = _TARGETS[miss.name]
    bound = "at least" if miss.name in _AT_LEAST else "at most"
    wanted = f"wanted {bound} {float(miss.wanted):,g}"
    if isinstance(miss.got, str):
        return f"{name} is {miss.got}, {wanted} {unit}"
    got = f"{miss.got:,}" if isinstance(miss.got, int) else figure(miss.got)
    return f"{name} is {got} {unit}, {wanted}"


def demand(offer: Offer) -> list[str]:
    """
    The request that was planned for and the limits of the workload.
    """
    return [words for words in of_plan(offer.plan)[1:] if not words.startswith("goal ")]


def counts(result: SearchResult) -> str:
    """
    How much was tried.
    """
    parts = [f"{result.num_candidates:,} candidates"]
    if result.num_refused:
        parts.append(f"{result.num_refused:,} refused by vLLM")
    return ", ".join((*parts, f"{result.num_fitting:,} fit", f"{result.num_meeting:,} meet the targets"))


def prices(offers: Iterable[Offer]) -> list[Row]:
    """
    The prices that the costs rest on, each once.
    """
    used = dict.fromkeys(offer.price for offer in offers if offer.price is not None)
    return [_price(price) for price in used]


def _price(price: Price) -> Row:
    amount = f"{price.usd_per_gpu_hour:,.2f} USD"
    if not price.date:
        return Row(clean(price.gpu), amount, f"per GPU and hour; {clean(price.source)}")
    size = f"{price.num_gpus} GPUs" if price.num_gpus != 1 else "1 GPU"
    old = "; known to be out of date" if price.stale else ""
    where = ", ".join(filter(None, (price.provider, price.instance, price.region)))
    return Row(
        clean(price.gpu),
        amount,
        clean(f"list price of {where} ({size}), {price.date}{old}; {price.source}"),
    )


def refusals(result: SearchResult) -> list[Row]:
    """
    What vLLM would refuse, by argument.
    """
    return [Row(f"{one.num_candidates:,}", clean(one.field), clean(one.message)) for one in result.refusals]


def command(offer: Offer) -> str:
    """
    The command of an offer.
    """
    return command_text(offer.plan)
