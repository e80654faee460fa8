"""
``vllm-sizing check``: a command, script or manifest held against a plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vllm_sizing.cli.faults import DOES_NOT_FIT, ERROR, FITS
from vllm_sizing.cli.option import Option
from vllm_sizing.cli.options import AS_JSON
from vllm_sizing.cli.terminal import ascii_only, colour, width, write
from vllm_sizing.cli.values import COUNT, GPU, PATH, TOKENS, WORD

if TYPE_CHECKING:
    from vllm_sizing.specs.check import CheckReport

_PLACE, _WORKLOAD = "Hardware and version, where the file does not say them", "Workload"
_OPTIONS = [
    click.Argument(["file"], type=PATH, metavar="FILE"),
    Option("--gpu", group=_PLACE, type=GPU, help="GPU of the catalog, 4xNAME for four per node, or auto."),
    Option("--gpus", "num_gpus", group=_PLACE, type=COUNT, help="GPUs per node. [default: what FILE says]"),
    Option("--nodes", "num_nodes", group=_PLACE, type=COUNT, help="Nodes of one server. [default: what FILE says]"),
    Option(
        "--interconnect",
        group=_PLACE,
        type=click.Choice(["nvlink", "pcie", "unknown"]),
        help="Between GPUs of a node. [default: what the GPU has]",
    ),
    Option(
        "--vllm-version",
        group=_PLACE,
        type=WORD,
        metavar="VERSION",
        help="Rules, defaults and flags of this release. [default: the image's tag, else the log's, else the newest]",
    ),
    Option(
        "--model", group=_PLACE, type=WORD, help="Hub id or folder to plan with, where FILE names a container's folder."
    ),
    Option("--input-tokens", group=_WORKLOAD, type=TOKENS, help="Prompt of a typical request. [default: 1024]"),
    Option("--output-tokens", group=_WORKLOAD, type=TOKENS, help="Answer of a typical request. [default: 256]"),
    Option("--concurrency", group=_WORKLOAD, type=COUNT, help="Requests at once. [default: 1]"),
    Option("--log", type=PATH, metavar="LOG", help="A start-up log of vLLM, to hold against the plan."),
    AS_JSON,
    Option("--sarif", is_flag=True, help="Print SARIF 2.1.0, for code hosts and editors."),
    Option("--strict", is_flag=True, help="Warnings count as errors for the exit code."),
]


@click.command(params=_OPTIONS)
def check(*, file: str, log: str | None, as_json: bool, sarif: bool, strict: bool, **values: Any) -> int:
    """
    Check what starts a server: does it fit, is it right.

    FILE is a script, a command in a file, a Compose file, Kubernetes objects, Helm values, or settings for
    vllm serve --config; - reads standard input.  Nothing in it is run.

    Exit codes: 0 fits and has no errors, 3 does not fit, 1 has errors or cannot be known, 2 wrong use.
    """
    if as_json and sarif:
        raise click.UsageError("--json and --sarif exclude each other: give one of them")
    report = _check(file, log, values)
    if as_json:
        from vllm_sizing.render.check_json import check_json

        write(check_json(report))
    elif sarif:
        from vllm_sizing.render.sarif import sarif as as_sarif

        write(as_sarif(report))
    else:
        from vllm_sizing.render.check_console import check_console

        write(check_console(report, width=width(), color=colour(), ascii_only=ascii_only()))
    if report.fits is False:
        return DOES_NOT_FIT
    wrong = ("error", "warning") if strict else ("error",)
    return ERROR if report.worst in wrong or report.fits is None else FITS


def _check(file: str, log: str | None, values: dict[str, Any]) -> CheckReport:
    from vllm_sizing.checks.check import check as check_file
    from vllm_sizing.specs.workload import Workload

    names = ("input_tokens", "output_tokens", "concurrency")
    workload = Workload(**{name: values[name] for name in names if values[name] is not None})
    number, name = values["gpu"] or (None, None)
    given = values["num_gpus"]
    if None not in (number, given) and number != given:
        raise click.UsageError(f"--gpu {number}x{name} and --gpus {given} contradict each other: give one of them")
    return check_file(
        file,
        gpu=name,
        num_gpus=given or number,
        num_nodes=values["num_nodes"],
        interconnect=values["interconnect"],
        vllm_version=values["vllm_version"],
        workload=workload,
        model=values["model"],
        log=log,
    )
