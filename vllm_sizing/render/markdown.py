"""
The report as Markdown, to keep beside the files or to paste into a ticket.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vllm_sizing.render import picture, report
from vllm_sizing.render.deployment import plan_notes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vllm_sizing.render.report import Row
    from vllm_sizing.specs.plan import Plan

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|~$!&]")
# What a spreadsheet takes for a formula.
_FORMULA = re.compile(r"[=+@-]")


def markdown(plan: Plan) -> str:
    """
    Verdict, memory, capacity, performance, flags with reasons, remarks, the command.

    >>> import vllm_sizing as vs
    >>> plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> markdown(plan).splitlines()[0]
    '# Qwen/Qwen3-8B'
    """
    return "\n\n".join(_blocks(plan)) + "\n"


def escape(text: str) -> str:
    r"""
    Text that Markdown shows as it is, in a table too.

    >>> print(escape("=a|b *c*"))
    \=a\|b \*c\*
    """
    escaped = _SPECIAL.sub(r"\\\g<0>", report.clean(text))
    return "\\" + escaped if _FORMULA.match(escaped) else escaped


def _blocks(plan: Plan) -> Iterator[str]:
    yield f"# {escape(report.model_name(plan))}"
    word, reason = report.verdict(plan)
    yield f"**{word}** {escape(reason)}"
    yield "\n".join(f"- {escape(line)}" for line in (*report.subject(plan), *report.demand(plan)))
    yield from _section("Memory", picture.title(plan))
    parts = picture.segments(plan)
    total = plan.memory.total_bytes
    yield _table(
        ("", "GiB", "% of the GPU", "how sure"),
        (
            (part.label, picture.gib(part.num_bytes), picture.share(part.num_bytes, total), picture.certainty(part))
            for part in parts
        ),
    )
    yield from (escape(note) for note in picture.notes(plan, explain=True))
    yield from _section("Capacity", report.capacity_title(plan))
    yield _rows(report.capacity(plan))
    yield from _section("Performance", report.performance_title(plan))
    if speed := report.performance(plan):
        yield _rows(speed)
    if plan.decisions:
        yield from _section("Flags", "and why")
        yield _rows(report.flags(plan, explain=True))
    yield from _section("Facts", "what the numbers rest on")
    yield _rows([*report.basis(plan), *picture.basis(plan)])
    if plan.findings:
        yield from _section("Remarks", "")
        yield _rows(report.findings(plan))
    if plan.alternatives:
        yield from _section("What would fit", "")
        yield _rows(report.alternatives(plan))
    if plan.fits:
        yield from _section("Command", "")
        yield _code(report.command_text(plan))
    yield escape(plan_notes(plan)[0])


def _section(title: str, remark: str) -> Iterator[str]:
    yield f"## {title}"
    if remark:
        yield escape(remark[:1].upper() + remark[1:]) + "."


def _rows(rows: Iterable[Row]) -> str:
    return _table(("", "", ""), rows)


def _table(heads: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    lines = [heads, ("---",) * len(heads), *(tuple(map(escape, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _code(text: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}bash\n{text}{fence}"
