"""
Small charts as SVG: text, lines and areas, nothing that runs or loads.

All text and numbers that go in are escaped here.  Colours are the style sheet's (`STYLE`), so that one picture
serves a light and a dark page.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH, HEIGHT = 340, 216
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 14, 40
_ROOM = 0.08  # Of the height, above the highest point.

Point = tuple[float, float]


class Axis(NamedTuple):
    """
    One direction of a chart.

    Attributes:
        ticks: Value and text of each grid line.

        log: Equal ratios are equal distances.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        """
        Where a value lies, from 0 to 1; what is outside lies at the end.
        """
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        at = math.log(max(value, self.low)) if self.log else value
        return min(1.0, max(0.0, (at - low) / (high - low))) if high > low else 0.5


class Mark(NamedTuple):
    """
    A point with a name.
    """

    x: float
    y: float
    text: str


class Limit(NamedTuple):
    """
    A line across that should not be crossed.
    """

    value: float
    text: str


def log_axis(label: str, low: float, high: float) -> Axis:
    """
    Ticks at powers of two, about six of them.

    >>> [text for _, text in log_axis("tokens", 256, 8192).ticks]
    ['256', '512', '1k', '2k', '4k', '8k']
    """
    first, last = math.floor(math.log2(max(low, 1))), math.ceil(math.log2(max(high, low * 2, 2)))
    step = max(1, math.ceil((last - first) / 6))
    powers = range(first, last + 1, step)
    return Axis(label, 2.0**first, 2.0**last, tuple((2.0**power, short(2**power)) for power in powers), log=True)


def linear_axis(label: str, high: float) -> Axis:
    """
    From 0, ticks at round numbers, four or five of them.

    >>> [text for _, text in linear_axis("ms", 37).ticks]
    ['0', '10', '20', '30', '40']
    """
    high = high * (1 + _ROOM) or 1.0
    size = 10.0 ** math.floor(math.log10(high))
    step = next(step * size for step in (0.2, 0.25, 0.5, 1.0, 2.0, 2.5) if high / (step * size) <= 5)
    top = math.ceil(high / step)
    return Axis(label, 0.0, top * step, tuple((step * place, short(step * place)) for place in range(top + 1)))


def short(value: float) -> str:
    """
    A number for a tick: thousands as k; powers of two as people write lengths.

    >>> short(0.25), short(1500.0), short(40960), short(2_500_000.0)
    ('0.25', '1.5k', '40k', '2.5M')
    """
    base = 1024 if isinstance(value, int) and value % 1024 == 0 else 1000
    for power, sign in ((2, "M"), (1, "k")):
        if value >= base**power:
            return f"{value / base**power:.4g}{sign}"
    return f"{value:.4g}"


def chart(
    *,
    title: str,
    about: str,
    x: Axis,
    y: Axis,
    line: Sequence[Point],
    band: Sequence[tuple[float, float, float]] = (),
    marks: Sequence[Mark] = (),
    limits: Iterable[Limit] = (),
) -> str:
    """
    A line with its interval, marked points and limits, as one ``<svg>``.

    Args:
        title, about: What it is, and what it shows, for those who do not see it.

        band: (x, low, high) of the interval.
    """
    parts = [*_grid(x, y)]
    if band:
        edge = [(at, low) for at, low, _ in band] + [(at, high) for at, _, high in reversed(band)]
        parts.append(f'<polygon class="band" points="{_points(edge, x, y)}"/>')
    rising = line[-1][1] >= line[0][1]
    named = [_words(mark, x, y, rising=rising) for mark in marks]
    for limit in limits:
        parts += _limit(limit, y, [up for _, up, _ in named])
    parts.append(f'<polyline class="line" points="{_points(line, x, y)}"/>')
    parts += [f'<circle class="dot" cx="{_x(at, x)}" cy="{_y(value, y)}" r="2.5"/>' for at, value in line]
    for mark, (at, up, side) in zip(marks, named, strict=True):
        parts.append(f'<circle class="mark" cx="{_x(mark.x, x)}" cy="{_y(mark.y, y)}" r="5"/>')
        parts.append(f'<text class="mark{side}" x="{at:.1f}" y="{up:.1f}">{escape(mark.text)}</text>')
    head = f"<title>{escape(title)}</title><desc>{escape(about)}</desc>"
    return (
        f'<svg class="chart" role="img" aria-label="{escape(title)}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}">{head}{"".join(parts)}</svg>'
    )


def _x(value: float, axis: Axis) -> str:
    return f"{LEFT + axis.share(value) * (WIDTH - LEFT - RIGHT):.1f}"


def _y(value: float, axis: Axis) -> str:
    return f"{HEIGHT - BOTTOM - axis.share(value) * (HEIGHT - TOP - BOTTOM):.1f}"


def _points(points: Iterable[Point], x: Axis, y: Axis) -> str:
    return " ".join(f"{_x(at, x)},{_y(value, y)}" for at, value in points)


def _grid(x: Axis, y: Axis) -> Iterable[str]:
    floor = HEIGHT - BOTTOM
    for value, text in y.ticks:
        at = _y(value, y)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>'
        yield f'<text class="tick at-end" x="{LEFT - 6}" y="{at}" dy=".35em">{escape(text)}</text>'
    for value, text in x.ticks:
        at = _x(value, x)
        yield f'<line class="grid" x1="{at}" x2="{at}" y1="{floor}" y2="{floor + 4}"/>'
        yield f'<text class="tick at-middle" x="{at}" y="{floor + 19}">{escape(text)}</text>'
    yield f'<text class="tick at-middle" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}">{escape(x.label)}</text>'


def _limit(limit: Limit, y: Axis, taken: Sequence[float]) -> Iterable[str]:
    at = float(_y(limit.value, y))
    yield f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>'
    # Above its line, or below where there is no room or other words stand.
    above = at > TOP + _LINE and all(abs(at - _OFF - up) >= _LINE for up in taken)
    foot = at + (-_OFF if above else _OFF + 10)
    yield f'<text class="tick limit" x="{LEFT + 5}" y="{foot:.1f}">{escape(limit.text)}</text>'


_LINE, _OFF = 11, 6  # Height of a line of text; of its foot over the line that it belongs to.


def _words(mark: Mark, x: Axis, y: Axis, *, rising: bool) -> tuple[float, float, str]:
    """
    Where the name of a point stands, and the class that says on which side: away from the line, inside the frame.
    """
    left = x.share(mark.x) > 0.55
    at, up = float(_x(mark.x, x)), float(_y(mark.y, y))
    below = (rising is not left or up < TOP + 18) and up < HEIGHT - BOTTOM - 18
    side, shift = (" at-end", -8) if left else ("", 8)
    return at + shift, up + (17 if below else -9), side


STYLE = """
.chart{max-width:100%;height:auto;overflow:visible}
.chart text{fill:currentColor;font-size:11px;stroke:none}
.chart .at-end{text-anchor:end}
.chart .at-middle{text-anchor:middle}
.chart .grid{stroke:currentColor;stroke-opacity:.25;stroke-width:1}
.chart .line{fill:none;stroke:var(--line,#2b7bb9);stroke-width:2}
.chart .dot{fill:var(--line,#2b7bb9)}
.chart .band{fill:var(--line,#2b7bb9);fill-opacity:.2}
.chart line.limit{stroke:var(--limit,#c4501b);stroke-width:1.5;stroke-dasharray:6 4}
.chart text.limit{fill:var(--limit,#c4501b);font-weight:600}
.chart circle.mark{fill:var(--mark,#d0469b);stroke:currentColor;stroke-width:1.5}
.chart text.mark{font-weight:600}
"""
