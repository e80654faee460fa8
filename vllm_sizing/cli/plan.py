"""
``vllm-sizing plan``: the answer, for people or as JSON.
"""

from __future__ import annotations

from typing import Any

import click

from vllm_sizing.cli.faults import DOES_NOT_FIT, FITS
from vllm_sizing.cli.option import Command, Option
from vllm_sizing.cli.options import AS_JSON, REQUEST, vllm_options
from vllm_sizing.cli.request import gather
from vllm_sizing.cli.terminal import ascii_only, colour, width, write
from vllm_sizing.sources.request import plan_request

EXPLAIN = Option("--explain", is_flag=True, help="Show how each number comes about.")
LOG_LINES = Option("--log-lines", is_flag=True, help="Only the lines that vLLM will log at start.")


@click.command(cls=Command, params=[*REQUEST, AS_JSON, EXPLAIN, LOG_LINES], rare=vllm_options)
def plan(*, as_json: bool, explain: bool, log_lines: bool, **values: Any) -> int:
    """
    Say whether MODEL fits the GPUs, with which flags, and how fast.

    MODEL is a Hub id, a name of the catalog, a folder, or a config.json.

    What is given is kept, or refused with the reason; everything else is decided.

    Exit codes: 0 fits, 3 does not fit, 1 error, 2 wrong use.
    """
    if as_json and log_lines:
        raise click.UsageError("--json and --log-lines exclude each other: give one of them")
    answer = plan_request(gather(values), allow_unsafe=bool(values.get("allow_unsafe")))
    if as_json:
        from vllm_sizing.render.json import json

        write(json(answer))
    elif log_lines:
        from vllm_sizing.render import log_lines as lines

        write(lines(answer))
    else:
        from vllm_sizing.render.console import to_text

        text = to_text(answer, width=width(), color=colour(), explain=explain, ascii_only=ascii_only())
        write(text)
    return FITS if answer.fits else DOES_NOT_FIT
