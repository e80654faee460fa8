"""
A plan, or what a search found, as a page of its own: one file that loads nothing and runs nothing.

Light or dark as the reader's system is; every picture has its numbers as a table; the keyboard reaches
whatever scrolls or opens.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from vllm_sizing.render import charts, offers, report
from vllm_sizing.render.html import STYLE, command, head, items, sections, table, verdict
from vllm_sizing.render.search import MOST_LINES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_sizing.specs.plan import Plan
    from vllm_sizing.specs.search import Offer, SearchResult

# Colours on the page, light and dark: ground, text, curves, limits, marks, rules.
LIGHT = {
    "page": "#ffffff",
    "ink": "#1b1f23",
    "line": "#1f6fb2",
    "limit": "#b3431a",
    "mark": "#b9318a",
    "rule": "#c9ced3",
}
DARK = {
    "page": "#15181b",
    "ink": "#e6e8ea",
    "line": "#6bb1e8",
    "limit": "#ff9a66",
    "mark": "#f08acb",
    "rule": "#454c53",
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # Nothing is loaded, whatever a name may say.


def _colours(colours: dict[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())


_STYLE = f"""
:root{{color-scheme:light dark;{_colours(LIGHT)}}}
@media (prefers-color-scheme:dark){{:root{{{_colours(DARK)}}}}}
body{{margin:0;background:var(--page);color:var(--ink);font:15px/1.45 system-ui,sans-serif}}
main{{max-width:72em;margin:0 auto;padding:1.2em 1.2em 3em}}
h1{{font-size:1.4em;margin:.2em 0 .5em;overflow-wrap:anywhere}}
.vllm-sizing .title{{font-size:1.1em;border-top:1px solid var(--rule);padding-top:.7em}}
.vllm-sizing p{{overflow-wrap:anywhere}}
.vllm-sizing .wide{{overflow-x:auto}}
.vllm-sizing .offers td,.vllm-sizing .offers th{{padding:.25em 1em .25em 0;border-bottom:1px solid var(--rule)}}
:focus-visible{{outline:3px solid var(--line);outline-offset:2px}}
@media print{{body{{background:#fff;color:#000}}}}
"""


def html_report(plan: Plan) -> str:
    """
    The plan as an HTML page to keep, to send or to look at.

    >>> import vllm_sizing as vs
    >>> plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> html_report(plan).splitlines()[0]
    '<!doctype html>'
    """
    name = report.model_name(plan)
    return _page(
        f"{name} on {plan.num_gpus} x {report.clean(plan.gpu.name)}",
        head(plan) + sections(plan, "h2", explain=True),
    )


def search_report(result: SearchResult) -> str:
    """
    What a search found as an HTML page: the best, the Pareto front, and the plan of the best.

    >>> import vllm_sizing as vs
    >>> space = vs.SearchSpace(models=vs.load_model("Qwen/Qwen3-8B"), gpus=vs.find_gpu("l4"), num_gpus=1)
    >>> search_report(vs.search(space)).count("<h1>")
    1
    """
    chosen = result.best[0] if result.best else result.closest
    what = "USD per million tokens" if result.rank == "usd_per_million_tokens" else "USD per hour"
    parts = [verdict(*offers.verdict(result), good=bool(result.best))]
    if chosen is not None:
        parts.append(f"<p>{items(offers.settings(chosen))}</p>")
        parts.append(f'<p class="dim">{items(offers.demand(chosen))}</p>')
    parts.append(f'<p class="dim">{escape(offers.counts(result))}</p>')
    best = "of each checkpoint, GPU and number of GPUs, by " + what
    parts.append(_section("The best", best, _offers(result.best)))
    front = charts.figures(charts.front(result.front, result.best[0] if result.best else None))
    parts.append(
        _section("Latency against throughput", "the Pareto front, fastest first", front + _offers(result.front))
    )
    shown = [*result.best, *result.front]
    parts.append(_section("Prices", "per GPU and hour", table(offers.prices(shown))))
    refused = "by vLLM, whatever the memory; the first of each kind"
    parts.append(_section("Refused", refused, table(offers.refusals(result))))
    if chosen is not None:
        which = "The cheapest as a plan" if result.best else "The nearest as a plan"
        parts.append(
            _section(which, offers.hardware(chosen), head(chosen.plan) + sections(chosen.plan, "h3", explain=True))
        )
    title = "Compared hardware"
    if chosen is not None:
        title += f": {report.model_name(chosen.plan)} on {offers.hardware(chosen)}"
    return _page(title, "".join(parts))


def _page(title: str, body: str) -> str:
    heads = (
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}{_STYLE}</style>",
    )
    newline = "\n"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n{newline.join(heads)}\n</head>\n'
        f'<body>\n<main class="vllm-sizing">\n<h1>{escape(title)}</h1>\n<div>{body}</div>\n</main>\n</body>\n</html>\n'
    )


def _section(title: str, remark: str, body: str) -> str:
    head = f'<h2 class="title">{escape(title)}<span>{escape(remark)}</span></h2>'
    return f"<section>{head}{body}</section>" if body else ""


def _offers(found: Sequence[Offer]) -> str:
    if not found:
        return ""
    names = (("GPUs", ""), *((name, "num") for name in offers.HEADS), ("meets the targets", ""), ("settings", ""))
    heads = "".join(f'<th scope="col" class="{kind}">{escape(name)}</th>' for name, kind in names)
    rows = []
    for offer in found:
        line = offers.line(offer)
        figures = "".join(f'<td class="num">{escape(figure)}</td>' for figure in line.figures)
        figures = f'<th scope="row">{escape(line.hardware)}</th>{figures}'
        words = f'<td class="wrap">{escape(line.why)}</td>'
        start = (
            f"<details><summary>command</summary>{command(offers.command(offer))}</details>" if offer.plan.fits else ""
        )
        words += f"<td>{escape(line.settings)}{start}</td>"
        rows.append(f"<tr>{figures}{words}</tr>")
    shown = _wide(heads, rows[:MOST_LINES])
    if len(rows) > MOST_LINES:
        shown += (
            f"<details><summary>{len(rows) - MOST_LINES:,} more</summary>{_wide(heads, rows[MOST_LINES:])}</details>"
        )
    return shown


def _wide(heads: str, rows: Sequence[str]) -> str:
    scroll = '<div class="wide" tabindex="0" role="region" aria-label="Offers">'
    return f'{scroll}<table class="offers"><tr>{heads}</tr>{"".join(rows)}</table></div>'
