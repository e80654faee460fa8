"""
The picture of a plan in a notebook: a fragment without script, image or foreign style.

A viewer that drops the style shows the plain report, which stands first.  Colours are fills of their
own with text on them, or tell themselves from white and black; everything else has the colour of the page.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from vllm_sizing.render import charts, picture, report, svg

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vllm_sizing.render.report import Row
    from vllm_sizing.specs.plan import Plan

_LONG = 28
STYLE = f"""
.vllm-sizing>pre{{display:none}}
.vllm-sizing>div{{display:block!important;max-width:70em;line-height:1.45}}
.vllm-sizing p{{margin:.2em 0}}
.vllm-sizing b.yes,.vllm-sizing b.no{{padding:.1em .5em;border-radius:.3em;color:#fff}}
.vllm-sizing b.yes{{background:#1a7f37}}
.vllm-sizing b.no{{background:#b3261e}}
.vllm-sizing .dim,.vllm-sizing th{{opacity:.8;font-weight:normal}}
.vllm-sizing .title{{margin:1.2em 0 .3em;font-size:1em;font-weight:bold}}
.vllm-sizing .title span{{font-weight:normal;opacity:.8;margin-left:.6em}}
.vllm-sizing .memory{{display:block;border:1px solid rgba(128,128,128,.6);border-radius:.3em;overflow:hidden}}
.vllm-sizing .memory text{{font-size:12px}}
.vllm-sizing .end{{border:0 solid #b3261e;border-left-width:3px;padding:0 .4em;font-weight:bold}}
.vllm-sizing .end.back{{border-width:0 3px 0 0;text-align:right}}
.vllm-sizing .cards{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(28em,100%),1fr));gap:0 2em}}
.vllm-sizing .charts{{display:flex;flex-wrap:wrap;gap:.6em 1.6em;margin:.6em 0}}
.vllm-sizing figure{{margin:0;max-width:34em;flex:1 1 22em}}
.vllm-sizing .chart{{width:100%}}
.vllm-sizing figcaption{{font-size:.95em;opacity:.8}}
.vllm-sizing details{{font-size:.9em}}
.vllm-sizing summary{{cursor:pointer;opacity:.8}}
.vllm-sizing table{{border-collapse:collapse;margin:0;font-size:.95em;border:0}}
.vllm-sizing tr{{background:none!important}}
.vllm-sizing td,.vllm-sizing th{{text-align:left!important;vertical-align:top;padding:.1em 1em .1em 0;
 border:0;white-space:nowrap}}
.vllm-sizing td.wrap,.vllm-sizing td:last-child{{white-space:normal;overflow-wrap:anywhere;min-width:9em}}
.vllm-sizing td:last-child{{opacity:.9}}
.vllm-sizing td.num,.vllm-sizing th.num{{text-align:right!important;font-variant-numeric:tabular-nums}}
.vllm-sizing i{{display:inline-block;width:1em;height:1em;vertical-align:-.15em;
 border:1px solid rgba(128,128,128,.6);border-radius:.2em}}
.vllm-sizing .part td,.vllm-sizing .part th{{padding-left:1em;opacity:.8}}
.vllm-sizing .command{{margin:.3em 0;padding:.6em .8em;overflow-x:auto;white-space:pre;user-select:all;
 border:1px solid rgba(128,128,128,.4);border-radius:.3em}}
{svg.STYLE}"""


def fragment(plan: Plan) -> str:
    """
    The plan as a self-contained piece of HTML, for ``_repr_html_``.

    >>> import vllm_sizing as vs
    >>> plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> fragment(plan).startswith('<div class="vllm-sizing"><pre>FITS')
    True
    """
    from vllm_sizing.render.console import to_text

    plain = f"<pre>{escape(to_text(plan))}</pre>"
    shown = f'<div style="display:none">{head(plan)}{sections(plan, "h4")}</div>'
    return f'<div class="vllm-sizing">{plain}<style>{STYLE}</style>{shown}</div>'


def sections(plan: Plan, level: str, *, explain: bool = False) -> str:
    """
    What is below the verdict.

    Args:
        level: Tag of the titles.
    """

    def section(title: str, remark: str, body: str) -> str:
        words = f'<{level} class="title">{escape(title)}<span>{escape(remark)}</span></{level}>'
        return f"<section>{words}{body}</section>" if body else ""

    basis = [*report.basis(plan), *picture.basis(plan)] if explain else []
    drawn = charts.figures([*charts.capacity(plan), *charts.load(plan)])
    rows = report.alternatives(plan)
    return "".join(
        (
            section("Memory", picture.title(plan), _memory(plan, explain=explain)),
            '<div class="cards">',
            section("Capacity", report.capacity_title(plan), table(report.capacity(plan))),
            section("Performance", report.performance_title(plan), table(report.performance(plan))),
            "</div>",
            section("By length and load", "with the flags of this plan, each point planned; bands of 80 %", drawn),
            section("Flags", "", table(report.flags(plan, explain=explain))),
            section("Facts", "what the numbers rest on", table(basis)),
            section("Remarks", "", _remarks(plan)),
            section("Command", "", command(report.command_text(plan))) if plan.fits else "",
            section("What would fit", "best first, each planned", "" if plan.fits else table(rows)),
        )
    )


def head(plan: Plan) -> str:
    """
    The verdict, and what was planned for what.
    """
    way_out = report.way_out(plan)
    return (
        verdict(*report.verdict(plan), good=plan.fits)
        + (f"<p><b>{escape(way_out)}</b></p>" if way_out else "")
        + f"<p>{items([report.model_name(plan), *report.subject(plan)])}</p>"
        + f'<p class="dim">{items(report.demand(plan))}</p>'
    )


def verdict(word: str, rest: str, *, good: bool) -> str:
    """
    A word on a coloured ground, and the sentence that it begins.
    """
    badge = f'<b class="{"yes" if good else "no"}">{escape(word.rstrip(":"))}</b>'
    return f"<p>{badge} <b>{escape(rest)}</b></p>"


def items(words: Iterable[str]) -> str:
    """
    Short items on a line; none can turn the direction of its neighbours.
    """
    return " · ".join(f"<bdi>{escape(item)}</bdi>" for item in words)


def command(text: str) -> str:
    """
    Something to copy; the keyboard can scroll it.
    """
    return f'<pre class="command" tabindex="0" role="region" aria-label="Command">{escape(text)}</pre>'


def _memory(plan: Plan, *, explain: bool) -> str:
    total = plan.memory.total_bytes
    place, words = picture.end_of_gpu(plan)
    side = f'end" style="margin-left:{100 * place:.2f}%'
    if place > 0.5:  # The words stand where there is more room.
        side = f'end back" style="margin-right:{100 - 100 * place:.2f}%'
    end = f'<div class="{side}">{escape(words)}</div>' if words else ""
    names = (("", ""), ("part", ""), ("GiB", "num"), ("% GPU", "num"), ("80 % interval", ""))
    heads = "".join(
        f'<th scope="col" class="{kind}">{name}</th>' if kind else f"<th>{name}</th>" for name, kind in names
    )
    lines = []
    for part in picture.segments(plan):
        swatch = f'<i style="background:{charts.FILLS[part.key][0]}"></i>'
        lines.append(
            f'<tr><td>{swatch}</td><th scope="row">{part.label}</th>'
            f'<td class="num"><b>{picture.gib(part.num_bytes)}</b></td>'
            f'<td class="num">{picture.share(part.num_bytes, total)}</td>'
            f"<td>{escape(picture.certainty(part))}</td></tr>"
        )
        if part.key == "weights":
            lines += [
                f'<tr class="part"><td></td><th scope="row">{escape(row.label)}</th><td class="num">{row.value}</td>'
                f'<td class="num">{row.remark}</td><td></td></tr>'
                for row in picture.weight_parts(plan)
            ]
    notes = "".join(f'<p class="dim">{escape(note)}</p>' for note in picture.notes(plan, explain=explain))
    return f"{charts.memory_bar(plan)}{end}<table><tr>{heads}</tr>{''.join(lines)}</table>{notes}"


def table(rows: Sequence[Row]) -> str:
    """
    Label, value and remark side by side; nothing for no rows.
    """
    return f"<table>{''.join(map(_row, rows))}</table>" if rows else ""


def _row(row: Row) -> str:
    wrap = ' class="wrap"' if len(row.value) > _LONG else ""
    label, value, remark = map(escape, row)
    return f'<tr><th scope="row">{label}</th><td{wrap}><b>{value}</b></td><td>{remark}</td></tr>'


def _remarks(plan: Plan) -> str:
    lines = "".join(
        f'<tr><th scope="row"><b>{severity}</b></th><td>{escape(message)}{"<br>" * bool(hint)}'
        f'<span class="dim">{escape(hint)}</span></td></tr>'
        for severity, message, hint in report.findings(plan)
    )
    return f"<table>{lines}</table>" if lines else ""
