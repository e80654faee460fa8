"""
The picture of a plan in a notebook: a fragment without script, image or foreign style.

A viewer that drops the style shows the plain report, which stands first.  Colours are fills of their
own with text on them; everything else has the colour of the page, light or dark.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from vllm_sizing.render import picture, report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vllm_sizing.render.picture import Segment
    from vllm_sizing.render.report import Row
    from vllm_sizing.specs.plan import Plan

# Fill and text; told apart also by people who see no red or no green, and named beside the bar anyway.
_FILLS = {
    "weights": ("#0b63a5", "#fff"),
    "lora": ("#56b4e9", "#000"),
    "draft": ("#5e4fa2", "#fff"),
    "activation": ("#e69f00", "#000"),
    "outside": ("#cc79a7", "#000"),
    "graphs": ("#f0e442", "#000"),
    "kv": ("#007a5a", "#fff"),
    "others": ("#b8431c", "#fff"),
    "free": ("transparent", "inherit"),
}
_LONG = 28
_STYLE = """
.vllm-sizing>pre{display:none}
.vllm-sizing>div{display:block!important;max-width:64em;line-height:1.45}
.vllm-sizing p{margin:.2em 0}
.vllm-sizing b.yes,.vllm-sizing b.no{padding:.1em .5em;border-radius:.3em;color:#fff}
.vllm-sizing b.yes{background:#1a7f37}
.vllm-sizing b.no{background:#b3261e}
.vllm-sizing .dim,.vllm-sizing th{opacity:.75;font-weight:normal}
.vllm-sizing h4{margin:1em 0 .3em;font-size:1em}
.vllm-sizing h4 span{font-weight:normal;opacity:.75;margin-left:.6em}
.vllm-sizing .bar{display:flex;overflow:hidden;height:2em;
 border:1px solid rgba(128,128,128,.6);border-radius:.3em}
.vllm-sizing .bar span{min-width:2px;overflow:hidden;white-space:nowrap;text-align:center;
 font-size:.85em;line-height:2.35em}
.vllm-sizing .end{border-left:3px solid #b3261e;padding-left:.4em;font-weight:bold;white-space:nowrap}
.vllm-sizing .cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(28em,1fr));gap:0 2em}
.vllm-sizing table{border-collapse:collapse;margin:0;font-size:.95em;border:0}
.vllm-sizing tr{background:none!important}
.vllm-sizing td,.vllm-sizing th{text-align:left!important;vertical-align:top;padding:.1em 1em .1em 0;
 border:0;white-space:nowrap}
.vllm-sizing td.wrap,.vllm-sizing td:last-child{white-space:normal;overflow-wrap:anywhere;min-width:9em}
.vllm-sizing td:last-child{opacity:.85}
.vllm-sizing td.num,.vllm-sizing th.num{text-align:right!important;font-variant-numeric:tabular-nums}
.vllm-sizing i{display:inline-block;width:1em;height:1em;vertical-align:-.15em;
 border:1px solid rgba(128,128,128,.6);border-radius:.2em}
.vllm-sizing .part td{padding-left:1em;opacity:.75}
.vllm-sizing .command{margin:.3em 0;padding:.6em .8em;overflow-x:auto;white-space:pre;user-select:all;
 border:1px solid rgba(128,128,128,.4);border-radius:.3em}
"""


def fragment(plan: Plan) -> str:
    """
    The plan as a self-contained piece of HTML, for ``_repr_html_``.

    >>> import vllm_sizing as vs
    >>> plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> fragment(plan).startswith('<div class="vllm-sizing"><pre>FITS')
    True
    """
    from vllm_sizing.render.console import to_text

    parts = (
        _head(plan),
        _memory(plan),
        '<div class="cards">',
        _section("Capacity", report.capacity_title(plan), _table(report.capacity(plan))),
        _section("Performance", report.performance_title(plan), _table(report.performance(plan))),
        "</div>",
        _section("Flags", "", _table(report.flags(plan, explain=False))) if plan.decisions else "",
        _section("Remarks", "", _remarks(plan)) if plan.findings else "",
        _ways_out(plan),
    )
    plain = f"<pre>{escape(to_text(plan))}</pre>"
    shown = f'<div style="display:none">{"".join(parts)}</div>'
    return f'<div class="vllm-sizing">{plain}<style>{_STYLE}</style>{shown}</div>'


def _head(plan: Plan) -> str:
    word, rest = report.verdict(plan)
    badge = f'<b class="{"yes" if plan.fits else "no"}">{escape(word.rstrip(":"))}</b>'
    way_out = report.way_out(plan)
    return (
        f"<p>{badge} <b>{escape(rest)}</b></p>"
        + (f"<p><b>{escape(way_out)}</b></p>" if way_out else "")
        + f"<p>{_items([report.model_name(plan), *report.subject(plan)])}</p>"
        + f'<p class="dim">{_items(report.demand(plan))}</p>'
    )


def _items(items: Iterable[str]) -> str:
    return " · ".join(f"<bdi>{escape(item)}</bdi>" for item in items)


def _section(title: str, remark: str, body: str) -> str:
    return f"<section><h4>{escape(title)}<span>{escape(remark)}</span></h4>{body}</section>"


def _memory(plan: Plan) -> str:
    total = plan.memory.total_bytes
    parts = picture.segments(plan)
    bar = "".join(_stretch(part, total) for part in parts)
    place, words = picture.end_of_gpu(plan)
    end = f'<div class="end" style="margin-left:{100 * place:.2f}%">{escape(words)}</div>' if words else ""
    heads = '<tr><th></th><th></th><th class="num">GiB</th><th class="num">% GPU</th><th>80 % interval</th></tr>'
    lines = []
    for part in parts:
        swatch = f'<i style="background:{_FILLS[part.key][0]}"></i>'
        lines.append(
            f"<tr><td>{swatch}</td><td>{part.label}</td>"
            f'<td class="num"><b>{picture.gib(part.num_bytes)}</b></td>'
            f'<td class="num">{picture.share(part.num_bytes, total)}</td>'
            f"<td>{escape(picture.certainty(part))}</td></tr>"
        )
        if part.key == "weights":
            lines += [
                f'<tr class="part"><td></td><td>{escape(row.label)}</td><td class="num">{row.value}</td>'
                f'<td class="num">{row.remark}</td><td></td></tr>'
                for row in picture.weight_parts(plan)
            ]
    notes = "".join(f'<p class="dim">{escape(note)}</p>' for note in picture.notes(plan, explain=False))
    body = f'<div class="bar">{bar}</div>{end}<table>{heads}{"".join(lines)}</table>{notes}'
    return _section("Memory", picture.title(plan), body)


def _stretch(part: Segment, total: int) -> str:
    fill, ink = _FILLS[part.key]
    amount = f"{part.label} {picture.gib(part.num_bytes)}"
    title = f"{amount} GiB, {picture.share(part.num_bytes, total)} % of the GPU; {picture.certainty(part)}"
    # What is narrower than this has no room for its name, which the table has anyway.
    text = amount if part.num_bytes > 0.12 * total else ""
    style = f"flex:{part.num_bytes} 1 0;background:{fill};color:{ink}"
    return f'<span style="{style}" title="{escape(title)}">{text}</span>'


def _table(rows: Iterable[Row]) -> str:
    return f"<table>{''.join(map(_row, rows))}</table>"


def _row(row: Row) -> str:
    wrap = ' class="wrap"' if len(row.value) > _LONG else ""
    label, value, remark = map(escape, row)
    return f"<tr><td>{label}</td><td{wrap}><b>{value}</b></td><td>{remark}</td></tr>"


def _remarks(plan: Plan) -> str:
    lines = "".join(
        f"<tr><td><b>{severity}</b></td><td>{escape(message)}{'<br>' * bool(hint)}"
        f'<span class="dim">{escape(hint)}</span></td></tr>'
        for severity, message, hint in report.findings(plan)
    )
    return f"<table>{lines}</table>"


def _ways_out(plan: Plan) -> str:
    """
    The command if it would start, else what would.
    """
    if plan.fits:
        return _section("Command", "", f'<pre class="command">{escape(report.command_text(plan))}</pre>')
    rows = report.alternatives(plan)
    return _section("What would fit", "best first, each planned", _table(rows)) if rows else ""
