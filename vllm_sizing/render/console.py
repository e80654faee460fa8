"""
The report for people: verdict first, the command last, readable without colour and in a log file.

Whoever imports this module wants the report, so that rich is imported here and nowhere else.
"""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vllm_sizing.render import picture, report

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vllm_sizing.render.picture import Segment
    from vllm_sizing.render.report import Row
    from vllm_sizing.specs.plan import Plan

NARROWEST = 40
_GAP = 2
# Columns that a remark needs beside label and value, and the memory table for all its columns.
_LEAST_REMARK = 30
_LEAST_MEMORY = 66
_WIDEST_VALUE = 28

# Glyph, glyph in ASCII, ANSI colour: the parts differ in both, so that either is enough.
_LOOK = {
    "weights": ("█", "#", "bright_blue"),
    "lora": ("▓", "L", "cyan"),
    "draft": ("▤", "D", "bright_cyan"),
    "activation": ("▒", "a", "yellow"),
    "outside": ("▞", "n", "magenta"),
    "graphs": ("▚", "g", "bright_magenta"),
    "kv": ("░", "=", "green"),
    "others": ("┼", "x", "red"),
    "free": ("·", ".", "bright_black"),
}
SEVERITY = {"error": "bold red", "warning": "bold yellow", "info": "bold cyan"}
_ASCII = str.maketrans({"·": "-", "…": "...", "→": "->", "└": "'"})


def to_text(
    plan: Plan, *, width: int = 80, color: bool = False, explain: bool = False, ascii_only: bool = False
) -> str:
    """
    The plan as a report.

    Args:
        width: Columns; no line but the command is longer.  Less than 40 is taken as 40.

        color: With ANSI colours.

        explain: Every reason in full, and what each estimate rests on.

        ascii_only: For terminals and logs that know nothing else.

    >>> import vllm_sizing as vs
    >>> plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> to_text(plan).split()[0]
    'FITS'
    """
    page = Page(max(NARROWEST, width), color=color, ascii_only=ascii_only)
    _head(page, plan)
    _memory(page, plan, explain=explain)
    page.title("Capacity", report.capacity_title(plan))
    page.rows(report.capacity(plan))
    page.title("Performance", report.performance_title(plan))
    page.rows(report.performance(plan))
    if explain:
        _curves(page, plan)
    if plan.decisions:
        page.title("Flags", "" if explain else "and why; in full with explain")
        page.rows(report.flags(plan, explain=explain), clip=not explain)
    if explain:
        page.title("Facts", "what the numbers rest on")
        page.rows([*report.basis(plan), *picture.basis(plan)])
    _findings(page, plan)
    _alternatives(page, plan)
    return page.text() + (f"\n{_command(plan, ascii_only=ascii_only)}" if plan.fits else "")


def _command(plan: Plan, *, ascii_only: bool) -> str:
    """
    As it is, not wrapped and without frame, so that it can be copied.
    """
    text = report.command_text(plan)
    return "No command: ASCII cannot write it.\n" if ascii_only and not text.isascii() else text


class Page:
    """
    A rich console that writes to a string and knows nothing of the environment.
    """

    def __init__(self, width: int, *, color: bool, ascii_only: bool) -> None:
        self.width = width
        self.ascii_only = ascii_only
        self._out = StringIO()
        self._console = Console(
            file=self._out,
            width=width,
            color_system="standard" if color else None,
            force_terminal=color,
            no_color=not color,
            force_jupyter=False,
            legacy_windows=False,
            markup=False,
            emoji=False,
            highlight=False,
            _environ={},
        )

    def text(self) -> str:
        """
        What was written, without the blanks that fill up lines.
        """
        text = self._out.getvalue()
        if self.ascii_only:
            text = text.replace("…", "~")  # rich's mark of what was cut
        return "".join(line.rstrip() + "\n" for line in text.split("\n")[:-1])

    def words(self, text: str, style: str = "") -> Text:
        """
        Text that is not markup, in ASCII if nothing else may appear.
        """
        if self.ascii_only:
            text = text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")
        return Text(text, style=style)

    def line(self, *parts: Text) -> None:
        """
        One line, wrapped where it is too long.
        """
        self._console.print(Text.assemble(*parts), overflow="fold")

    def flow(self, items: Iterable[str], style: str = "") -> None:
        """
        Short items, broken between them and not inside.
        """
        lines: list[str] = []
        for item in items:
            longer = f"{lines[-1]} · {item}" if lines else item
            if lines and cell_len(longer) <= self.width:
                lines[-1] = longer
            else:
                lines.append(item)
        for line in lines:
            self.line(self.words(line, style))

    def title(self, title: str, remark: str = "") -> None:
        """
        A section begins.
        """
        self._console.print()
        self.line(self.words(title, "bold"), self.words(f"  {remark}" if remark else "", "dim"))

    def note(self, text: str) -> None:
        """
        A dim line below a table, if there is something to say.
        """
        if text:
            self.grid([(self.words(text, "dim"),)], ())

    def rows(self, rows: Sequence[Row], *, clip: bool = False) -> None:
        """
        Label, value and remark side by side, or the remark below where there is little room.
        """
        cells = [(self.words(row.label), self.words(row.value, "bold"), self.words(row.remark, "dim")) for row in rows]
        label = max((row[0].cell_len for row in cells), default=0)
        value = min(_WIDEST_VALUE, max((row[1].cell_len for row in cells), default=0))
        if self.width - 3 * _GAP - label - value >= _LEAST_REMARK:
            self.grid(cells, (label, value), clip=clip)
            return
        for name, amount, remark in cells:
            head = Text.assemble(name, "  ", amount) if name else amount
            self.grid([(head,)], (), clip=clip)
            if remark:
                self.grid([("", remark)], (0,), clip=clip)

    def grid(
        self,
        rows: Iterable[Sequence[str | Text]],
        widths: Sequence[int],
        *,
        right: Sequence[int] = (),
        clip: bool = False,
    ) -> None:
        """
        An indented table without lines; the last column has the room that the widths leave.

        What is too long is folded, or cut where the table is clipped.
        """
        rest = self.width - sum(widths) - _GAP * (len(widths) + 1)
        table = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
        for number, width in enumerate((*widths, rest)):
            table.add_column(
                width=width,
                justify="right" if number in right else "left",
                overflow="ellipsis" if clip else "fold",
                no_wrap=clip,
            )
        for row in rows:
            table.add_row(*row)
        self._console.print(Padding(table, (0, 0, 0, _GAP), expand=False))


def _head(page: Page, plan: Plan) -> None:
    word, rest = report.verdict(plan)
    style = "bold green" if plan.fits else "bold red"
    page.line(page.words(word, style), page.words(f" {rest}", "bold"))
    if way_out := report.way_out(plan):
        page.line(page.words(way_out, "bold"))
    page.flow([report.model_name(plan), *report.subject(plan)])
    page.flow(report.demand(plan), "dim")


def _memory(page: Page, plan: Plan, *, explain: bool) -> None:
    page.title("Memory", picture.title(plan))
    parts = picture.segments(plan)
    _bar(page, plan, parts)
    wide = page.width >= _LEAST_MEMORY
    rows = [("", "", "GiB", "% GPU", "80 % interval")]
    lines: list[tuple[Text, ...]] = []
    for part in parts:
        glyph, style = _look(page, part.key)
        amounts = (picture.gib(part.num_bytes), picture.share(part.num_bytes, plan.memory.total_bytes))
        lines.append(
            (
                page.words("").append(glyph * 2, style),
                page.words(part.label),
                page.words(amounts[0], "bold"),
                page.words(amounts[1]),
                page.words(picture.certainty(part), "dim"),
            )
        )
        if part.key == "weights":
            lines += [
                (Text(), *(page.words(text, "dim") for text in (f"  {row.label}", row.value, row.remark, "")))
                for row in picture.weight_parts(plan)
            ]
    heads = tuple(page.words(head, "dim") for head in rows[0])
    if wide:
        label = max(line[1].cell_len for line in lines)
        page.grid([heads, *lines], (2, label, 6, 5), right=(2, 3))
    else:
        page.grid(_stacked([heads, *lines]), (2, page.width - 3 * _GAP - 2 - 6), right=(2,))
    for note in picture.notes(plan, explain=explain):
        page.note(note)


def _stacked(lines: Iterable[tuple[Text, ...]]) -> list[tuple[Text, ...]]:
    """
    For narrow pages: no share of the GPU, and how sure it is below the name.
    """
    return [
        (swatch, Text.assemble(label, "\n" if sure and label else "", sure), amount)
        for swatch, label, amount, _, sure in lines
    ]


def _look(page: Page, key: str) -> tuple[str, str]:
    glyph, plain, colour = _LOOK[key]
    return (plain if page.ascii_only else glyph), colour


def _bar(page: Page, plan: Plan, parts: Sequence[Segment]) -> None:
    cells = apportion([part.num_bytes for part in parts], page.width)
    bar = Text()
    for part, size in zip(parts, cells, strict=True):
        glyph, colour = _look(page, part.key)
        bar.append(_labelled(part, glyph, size), colour)
    page.line(bar)
    place, words = picture.end_of_gpu(plan)
    if words:
        note = f"└ {words}"
        indent = min(int(page.width * place), page.width - len(note))
        page.line(page.words(" " * indent + note, "bold red"))


def _labelled(part: Segment, glyph: str, size: int) -> str:
    """
    A stretch of the bar with its name on it, if there is room.
    """
    for label in (f" {part.label} {picture.gib(part.num_bytes)} ", f" {part.label} "):
        if len(label) + 4 <= size:
            return glyph * 2 + label + glyph * (size - 2 - len(label))
    return glyph * size


def apportion(amounts: Sequence[int], width: int) -> list[int]:
    """
    Cells for each amount: at least one, all together the width, a larger amount never fewer.

    >>> apportion([61, 2, 1, 36], 10)
    [5, 1, 1, 3]
    """
    spare = width - len(amounts)
    total = sum(amounts)
    cells = [1 + spare * amount // total for amount in amounts]
    by_rest = sorted(range(len(amounts)), key=lambda place: -(spare * amounts[place] % total))
    for place in by_rest[: width - sum(cells)]:
        cells[place] += 1
    return cells


def _curves(page: Page, plan: Plan) -> None:
    """
    What it would hold and do with the same flags at other lengths and loads.
    """
    from vllm_sizing.render import bars

    glyph = "#" if page.ascii_only else "█"
    for title, remark, rows in (
        ("By length", "requests that the cache holds; each further mark is twice as many", bars.by_length(plan, glyph)),
        ("By load", "with the same flags", bars.by_load(plan, glyph)),
    ):
        if rows:
            page.title(title, remark)
            page.rows(rows)


def _findings(page: Page, plan: Plan) -> None:
    found = report.findings(plan)
    if not found:
        return
    page.title("Remarks")
    for severity, message, hint in found:
        advice = page.words(f"\n→ {hint}" if hint else "", "dim")
        words = Text.assemble(page.words(message), advice)
        page.grid([(page.words(severity, SEVERITY[severity]), words)], (len("warning"),))


def _alternatives(page: Page, plan: Plan) -> None:
    others = report.alternatives(plan)
    if plan.fits or not others:
        return
    page.title("What would fit", "best first, each planned")
    for number, change, gives in others:
        words = Text.assemble(page.words(change, "bold"), "\n", page.words(gives, "dim"))
        page.grid([(page.words(number), words)], (2,))
