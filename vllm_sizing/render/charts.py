"""
The pictures of a plan and of a search: where the memory goes, what it holds, how fast it is under load.

Each comes with its numbers as a table, for who cannot see it or wants them.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

from vllm_sizing.render import picture, svg
from vllm_sizing.render.report import clean, figure
from vllm_sizing.sizing import curves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vllm_sizing.specs.plan import Estimate, LoadPoint, Performance, Plan
    from vllm_sizing.specs.search import Offer

# Fill and text of each part of the memory; told apart also by people who see no red or no green, and named beside the
# bar anyway.
FILLS = {
    "weights": ("#0b63a5", "#fff"),
    "lora": ("#56b4e9", "#000"),
    "draft": ("#5e4fa2", "#fff"),
    "activation": ("#e69f00", "#000"),
    "outside": ("#cc79a7", "#000"),
    "graphs": ("#f0e442", "#000"),
    "kv": ("#007a5a", "#fff"),
    "others": ("#b8431c", "#fff"),
    "free": ("transparent", "currentColor"),
}
_LEAST_NAMED = 0.12  # Of the bar: what is narrower has no room for its name, which the table has anyway.
_FAR = 2.5  # A limit so many times above the highest point is only told.


class Figure(NamedTuple):
    """
    One chart and its numbers.
    """

    caption: str
    svg: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def memory_bar(plan: Plan) -> str:
    """
    The fullest GPU's memory as one bar; stretches shrink with the page, their names do not.
    """
    parts = picture.segments(plan)
    whole = sum(part.num_bytes for part in parts)
    shown, at = [], 0.0
    for part in parts:
        fill, ink = FILLS[part.key]
        width = 100 * part.num_bytes / whole
        name = f"{part.label} {picture.gib(part.num_bytes)}"
        about = f"{name} GiB, {picture.share(part.num_bytes, plan.memory.total_bytes)} % of the GPU; "
        text = (
            f'<text x="6" y="50%" dy=".35em" fill="{ink}">{escape(name)}</text>' if width > 100 * _LEAST_NAMED else ""
        )
        shown.append(
            f'<svg x="{at:.3f}%" width="{width:.3f}%" height="100%"><title>{escape(about + picture.certainty(part))}'
            f'</title><rect width="100%" height="100%" fill="{fill}"/>{text}</svg>'
        )
        at += width
    title = f"Memory {picture.title(plan)}"
    about = ", ".join(f"{part.label} {picture.gib(part.num_bytes)} GiB" for part in parts)
    return (
        f'<svg class="memory" role="img" aria-label="{escape(title)}" width="100%" height="34">'
        f"<title>{escape(title)}</title><desc>{escape(about)}</desc>{''.join(shown)}</svg>"
    )


def capacity(plan: Plan) -> list[Figure]:
    """
    Requests at once over their length; nothing where the cache does not limit them.
    """
    points = [point for point in curves.capacity_curve(plan) if point.num_requests > 0]
    if len(points) < 2 or not plan.kv_cache.groups:
        return []
    wanted = plan.workload
    x = svg.log_axis("tokens of a request, prompt and answer", points[0].tokens, points[-1].tokens)
    y = svg.log_axis("requests", points[-1].num_requests, points[0].num_requests)
    held = plan.kv_cache.max_concurrency_at_workload * (plan.engine_args.data_parallel_size or 1)
    each = wanted.tokens_per_request
    marks = [svg.Mark(each, held, f"{held:,} of {each:,}")] if held and each <= points[-1].tokens else []
    drawn = svg.chart(
        title="Requests at once over their length",
        about=f"From {points[0].num_requests:,} requests of {points[0].tokens:,} tokens to "
        f"{points[-1].num_requests:,} of {points[-1].tokens:,}; {held:,} of the workload's {each:,}.",
        x=x,
        y=y,
        line=points,
        marks=marks,
    )
    rows = tuple((f"{point.tokens:,}", f"{point.num_requests:,}") for point in points)
    return [Figure("Requests that the KV cache holds at once", drawn, ("tokens", "requests at once"), rows)]


def load(plan: Plan) -> list[Figure]:
    """
    Time to first token, time per token and throughput over requests in flight, with the targets.
    """
    points, speed, target = curves.load_points(plan), plan.performance, plan.workload.target
    if len(points) < 2 or speed is None:
        return []
    rate = plan.workload.request_rate
    words = f"{plan.workload.concurrency:,} at once" if rate is None else f"{rate:g} per s"
    chosen = (speed.in_flight, words)
    return [
        _load("Time to first token, ms", "ms", points, lambda one: one.ttft_ms, chosen, speed, target.ttft_ms),
        _load("Time per output token, ms", "ms", points, lambda one: one.tpot_ms, chosen, speed, target.tpot_ms),
        _load(
            "Output of all requests, tokens/s", "tokens/s", points, lambda one: one.output_tokens_per_s, chosen, speed
        ),
    ]


def _load(
    caption: str,
    unit: str,
    points: Sequence[LoadPoint],
    read: Callable[[Performance], Estimate],
    chosen: tuple[float, str],
    speed: Performance,
    limit: float | None = None,
) -> Figure:
    values = [(point.concurrency, read(point.performance)) for point in points]
    highest = max(value.mid for _, value in values)
    # The interval may go beyond the frame where the load is beyond what is sensible.
    limits = [svg.Limit(limit, f"at most {limit:,g} {unit}")] if limit is not None and limit < _FAR * highest else []
    y = svg.linear_axis(unit, max(highest, *(one.value for one in limits)) if limits else highest)
    at_work, words = chosen
    first, last = values[0], values[-1]
    drawn = svg.chart(
        title=f"{caption}, over requests at once",
        about=f"From {figure(first[1].mid)} {unit} with {first[0]:,} to {figure(last[1].mid)} with {last[0]:,}"
        + (f"; the limit is {limit:g} {unit}." if limit is not None else "."),
        x=svg.log_axis("requests at once", values[0][0], values[-1][0]),
        y=y,
        line=[(at, value.mid) for at, value in values],
        band=[(at, value.low, value.high) for at, value in values],
        marks=[svg.Mark(at_work, read(speed).mid, f"{words}: {figure(read(speed).mid)}")],
        limits=limits,
    )
    rows = tuple((f"{at:,}", figure(value.mid), f"{figure(value.low)} to {figure(value.high)}") for at, value in values)
    return Figure(caption, drawn, ("requests at once", caption, "80 % interval"), rows)


def front(offers: Sequence[Offer], chosen: Offer | None) -> list[Figure]:
    """
    The Pareto front: seconds of a request against output tokens per GPU, and the offer that was chosen.
    """
    points = [
        (offer.plan.performance.e2el_ms.mid / 1e3, offer.output_tokens_per_s_per_gpu, offer)
        for offer in offers
        if offer.plan.performance is not None and offer.output_tokens_per_s_per_gpu is not None
    ]
    if len(points) < 2:
        return []
    times, rates = [time for time, _, _ in points], [rate for _, rate, _ in points]
    marks = []
    if chosen is not None and chosen.plan.performance is not None and chosen.output_tokens_per_s_per_gpu is not None:
        time, rate = chosen.plan.performance.e2el_ms.mid / 1e3, chosen.output_tokens_per_s_per_gpu
        times.append(time)
        rates.append(rate)
        marks.append(svg.Mark(time, rate, "the cheapest"))
    caption = "Output tokens per second and GPU"
    drawn = svg.chart(
        title=f"{caption}, over the seconds of a whole request",
        about=f"From {figure(points[0][1])} tokens/s at {figure(points[0][0])} s to {figure(points[-1][1])} at "
        f"{figure(points[-1][0])} s.",
        x=svg.linear_axis("seconds of a whole request", max(times)),
        y=svg.linear_axis("tokens/s", max(rates)),
        line=[(time, rate) for time, rate, _ in points],
        marks=marks,
    )
    heads = ("seconds of a request", "tokens/s per GPU", "GPUs")
    rows = tuple(
        (figure(time), figure(rate), f"{offer.plan.cluster.total_gpus} x {clean(offer.plan.gpu.name)}")
        for time, rate, offer in points
    )
    return [Figure(caption, drawn, heads, rows)]


def figures(found: Iterable[Figure]) -> str:
    """
    Charts side by side, each with its numbers behind a word to open.
    """
    shown = [
        f"<figure><figcaption>{escape(one.caption)}</figcaption>{one.svg}"
        f"<details><summary>as a table</summary>{_table(one)}</details></figure>"
        for one in found
    ]
    return f'<div class="charts">{"".join(shown)}</div>' if shown else ""


def _table(one: Figure) -> str:
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in one.heads)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in one.rows)
    return f"<table><tr>{heads}</tr>{rows}</table>"
