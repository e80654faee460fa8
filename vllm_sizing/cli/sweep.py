"""
``vllm-sizing sweep``: the cheapest configurations that meet the targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from vllm_sizing.cli.faults import DOES_NOT_FIT, FITS
from vllm_sizing.cli.option import Command
from vllm_sizing.cli.progress import progress, workers
from vllm_sizing.cli.request import gather
from vllm_sizing.cli.sweep_options import LISTS, LOADS, OPTIONS, fixed_flags
from vllm_sizing.cli.terminal import ascii_only, colour, width, write
from vllm_sizing.specs.engine import EngineArgs

if TYPE_CHECKING:
    from vllm_sizing.sizing.search import Executor, Progress
    from vllm_sizing.specs.search import SearchSpace


@click.command(cls=Command, params=OPTIONS, rare=fixed_flags)
def sweep(*, jobs: int | None, json_lines: bool, as_json: bool, html: str | None, **values: Any) -> int:
    """
    Find the cheapest GPUs and settings that serve MODEL as fast as wanted.

    Plans every combination of GPUs, numbers of them, parallel layouts, weight formats, KV dtypes, batch
    limits and loads.  Shows the cheapest that meet the targets, and the Pareto front of latency and
    throughput; --json has the full plan of each.

    Exit codes: 0 found, 3 nothing meets the targets (the nearest miss is told), 1 error, 2 wrong use.
    """
    if json_lines and (as_json or html):
        raise click.UsageError("--json-lines excludes --json and --html: give one of them")
    space = _space(values)
    with workers(jobs) as executor, progress("planning") as tell:
        if json_lines:
            return _stream(space, executor, tell)

        from vllm_sizing.sizing.search import search

        result = search(space, executor=executor, progress=tell)
    if html is not None:
        from vllm_sizing.render.page import search_report

        _write_page(html, search_report(result))
    if as_json:
        from vllm_sizing.render.search import search_json

        write(search_json(result))
    else:
        from vllm_sizing.render.search import search_text

        write(search_text(result, width=width(), color=colour(), ascii_only=ascii_only()))
    return FITS if result.best else DOES_NOT_FIT


def _space(values: dict[str, Any]) -> SearchSpace:
    """
    What the options say to try.
    """
    from vllm_sizing.sources.search import load_space

    lists = {name: tuple(item for part in values.pop(name) or () for item in part) for name in LISTS}
    tried: dict[str, Any] = {name: given for name, given in lists.items() if given}
    prices, rank = dict(values.pop("price")), values.pop("rank")
    least, checkpoints = values.pop("target_tokens_per_s"), values.pop("checkpoints")
    request = gather({**values, "gpu": None, "num_gpus": None})
    if values["profile"] is None and request.workload.request_rate is None:
        tried.setdefault("concurrency", LOADS)
    # A list given here wins over the one value of a profile.
    open_again: dict[str, Any] = {name: None for name in tried if name in EngineArgs.__annotations__}
    request = attrs.evolve(request, engine_args=attrs.evolve(request.engine_args, **open_again))
    return load_space(
        request,
        gpus=tried.pop("gpu", ()),
        own_prices=prices,
        checkpoints=checkpoints,
        output_tokens_per_s=least,
        rank=rank and rank.replace("-", "_"),
        **tried,
    )


def _stream(space: SearchSpace, executor: Executor | None, tell: Progress | None) -> int:
    from json import dumps

    from vllm_sizing.render.search import offer_to_dict
    from vllm_sizing.sizing.search import sweep as offers

    found = False
    for offer in offers(space, executor=executor, progress=tell):
        found = found or offer.meets
        write(dumps(offer_to_dict(offer), allow_nan=False))
    return FITS if found else DOES_NOT_FIT


def _write_page(path: str, page: str) -> None:
    from pathlib import Path

    from vllm_sizing.cli.files import File, write_files

    place = Path(path)
    write_files(place.parent, [File(name=place.name, text=page)], force=True)
