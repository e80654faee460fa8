"""
``vllm-sizing models``: what the catalog knows of models.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import click

from vllm_sizing.catalog.names import quote
from vllm_sizing.cli.options import AS_JSON
from vllm_sizing.cli.terminal import print_json, table, write
from vllm_sizing.cli.values import WORD
from vllm_sizing.errors import UnknownNameError
from vllm_sizing.units import format_gib

if TYPE_CHECKING:
    from vllm_sizing.catalog.models import CatalogModel

_TITLES = ("name", "parameters", "checkpoint", "licence", "quantized from")


@click.command(params=[click.Argument(["pattern"], required=False, type=WORD), AS_JSON])
def models(*, pattern: str | None, as_json: bool) -> None:
    """
    List the models of the catalog.

    PATTERN is a part of the name (qwen3), or a shape (qwen/*-fp8).  Every other model of the Hub can
    be planned by its id, if its architecture is modelled.
    """
    from vllm_sizing.catalog.models import find_model, model_names

    names = [name for name in model_names() if pattern is None or _matches(name, pattern)]
    found = [find_model(name) for name in names] or [_only(str(pattern))]
    if as_json:
        print_json(found)
    else:
        write(table(_TITLES, [_row(model) for model in found]))


def _matches(name: str, pattern: str) -> bool:
    name, pattern = name.casefold(), pattern.casefold()
    return pattern in name or fnmatchcase(name, pattern)


def _only(pattern: str) -> CatalogModel:
    """
    The model that a pattern without matches is another name of.
    """
    from vllm_sizing.catalog.models import look_up, near_names

    model = look_up(pattern)
    if model is None:
        near = near_names(pattern)
        hint = f"did you mean {' or '.join(near)}?" if near else "leave PATTERN out to see all"
        message = f"no model of the catalog matches {quote(pattern)}; {hint}"
        raise UnknownNameError(message, name=pattern, candidates=near)
    return model


def _count(model: CatalogModel) -> int | None:
    """
    Parameters as counted from the config, where nobody published them.
    """
    from vllm_sizing.errors import UnknownArchitectureError
    from vllm_sizing.sources.load import load_model

    try:
        return load_model(model.id).num_parameters
    except UnknownArchitectureError:
        return None


def _row(model: CatalogModel) -> list[str]:
    number = model.num_parameters or _count(model)
    size = "-" if number is None else f"{number / 1e9:,.2f} B"
    checkpoint = "-" if model.checkpoint_bytes is None else format_gib(model.checkpoint_bytes)
    return [model.id, size, checkpoint, "gated" if model.gated else "-", model.quantized_from or "-"]
