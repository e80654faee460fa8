"""
A search's result as text for people and as JSON for programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_sizing.render import offers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_sizing.render.console import Page
    from vllm_sizing.specs.search import Offer, SearchResult

MOST_LINES = 10
_LEAST_WORDS = 36  # Columns beside the figures, gaps included.


def search_text(
    result: SearchResult, *, width: int = 80, color: bool = False, ascii_only: bool = False, most: int = MOST_LINES
) -> str:
    """
    The result as a report: the best and its command, then the other good ones, then the Pareto front.

    Args:
        width, color, ascii_only: As in `to_text`.

        most: Lines of each table.

    >>> import vllm_sizing as vs
    >>> space = vs.SearchSpace(models=vs.load_model("Qwen/Qwen3-8B"), gpus=vs.find_gpu("l4"), num_gpus=1)
    >>> search_text(vs.search(space)).split()[:4]
    ['CHEAPEST:', '1', 'x', 'l4,']
    """
    from vllm_sizing.render.console import NARROWEST, Page

    page = Page(max(NARROWEST, width), color=color, ascii_only=ascii_only)
    word, rest = offers.verdict(result)
    page.line(page.words(word, "bold green" if result.best else "bold red"), page.words(f" {rest}", "bold"))
    if advice := offers.next_step(result):
        page.line(page.words(advice, "bold"))
    chosen = result.best[0] if result.best else result.closest
    if chosen is not None:
        page.flow(offers.settings(chosen))
        page.flow(offers.demand(chosen), "dim")
    page.line(page.words(offers.counts(result), "dim"))
    shown = [*result.best[:most], *_thinned(result.front, most)]
    if result.best:
        what = "USD per million tokens" if result.rank == "usd_per_million_tokens" else "USD per hour"
        page.title("Best first", f"by {what}; one for each checkpoint, GPU and number of GPUs")
        _table(page, result.best[:most])
        page.note(_more(len(result.best), most))
    if result.front:
        page.title("Latency against throughput", "the Pareto front, fastest first")
        _table(page, _thinned(result.front, most))
        page.note(_more(len(result.front), most))
    if rows := offers.prices(shown):
        page.title("Prices", "per GPU and hour")
        page.rows(rows)
    if rows := offers.refusals(result):
        page.title("Refused", "by vLLM, whatever the memory; the first of each kind")
        page.rows(rows)
    if not result.best or chosen is None:
        return page.text()
    return page.text() + "\n" + _command(chosen, ascii_only=ascii_only)


def _command(offer: Offer, *, ascii_only: bool) -> str:
    text = offers.command(offer)
    return "No command: ASCII cannot write it.\n" if ascii_only and not text.isascii() else text


def _thinned(front: Sequence[Offer], most: int) -> list[Offer]:
    """
    At most so many, both ends among them.
    """
    if len(front) <= most:
        return list(front)
    return [front[round(place * (len(front) - 1) / max(most - 1, 1))] for place in range(most)]


def _more(number: int, most: int) -> str:
    return f"{number - most:,} more in JSON and HTML" if number > most else ""


def _table(page: Page, found: Sequence[Offer]) -> None:
    lines = [offers.line(offer) for offer in found]
    widths = [max(map(len, column)) for column in zip(offers.HEADS, *(line.figures for line in lines), strict=True)]
    narrow = page.width - sum(widths) < _LEAST_WORDS
    if not narrow:
        heads = [page.words(head, "dim") for head in (*offers.HEADS, "GPUs")]
        page.grid([heads], widths, right=range(len(widths)))
    for line in lines:
        if narrow:
            page.line(page.words(line.hardware, "bold"))
            page.flow(f"{figure} {head}" for head, figure in zip(offers.HEADS, line.figures, strict=True))
        else:
            row = [*map(page.words, line.figures), page.words(line.hardware, "bold")]
            page.grid([row], widths, right=range(len(widths)))
        words = page.words(f"{line.settings}; ", "dim")
        page.grid([("", words.append_text(page.words(line.why)))], (0 if narrow else 2,))


def search_json(result: SearchResult) -> str:
    """
    The result as JSON: the names of `SearchResult` and `Offer`, each with its plan and its command.

    >>> import vllm_sizing as vs
    >>> space = vs.SearchSpace(models=vs.load_model("Qwen/Qwen3-8B"), gpus=vs.find_gpu("l4"), num_gpus=1)
    >>> search_json(vs.search(space)).splitlines()[1]
    '  "rank": "usd_per_hour",'
    """
    from json import dumps

    return dumps(search_to_dict(result), indent=2, allow_nan=False) + "\n"


def search_to_dict(result: SearchResult) -> dict[str, Any]:
    """
    The result as plain data.
    """
    from vllm_sizing.serialize import to_plain

    names = ("rank", "num_candidates", "num_refused", "num_fitting", "num_meeting")
    return {name: getattr(result, name) for name in names} | {
        "best": [offer_to_dict(offer) for offer in result.best],
        "front": [offer_to_dict(offer) for offer in result.front],
        "closest": None if result.closest is None else offer_to_dict(result.closest),
        "refusals": to_plain(result.refusals),
    }


def offer_to_dict(offer: Offer) -> dict[str, Any]:
    """
    One offer as plain data: what a line of ``sweep --json-lines`` holds.
    """
    from vllm_sizing.serialize import plan_to_dict, to_plain

    data = {field.name: to_plain(getattr(offer, field.name)) for field in offer.__attrs_attrs__ if field.name != "plan"}
    return data | {"meets": offer.meets, "command": offers.command(offer), "plan": plan_to_dict(offer.plan)}
