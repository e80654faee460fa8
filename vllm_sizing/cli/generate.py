"""
``vllm-sizing generate``: the plan as files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vllm_sizing.cli.faults import DOES_NOT_FIT, FITS
from vllm_sizing.cli.files import File, write_files
from vllm_sizing.cli.option import Command, Option
from vllm_sizing.cli.options import AS_JSON, REQUEST, vllm_options
from vllm_sizing.cli.request import gather
from vllm_sizing.cli.terminal import print_json, write
from vllm_sizing.cli.values import PATH, did_you_mean
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.artifacts import ARTIFACTS
from vllm_sizing.sources.profile import profile_text
from vllm_sizing.sources.request import plan_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_sizing.render.artifacts import Artifact
    from vllm_sizing.specs.plan import Plan
    from vllm_sizing.specs.request import PlanRequest

PROFILE, ALL = "profile", "all"
_WORDS = (*ARTIFACTS, PROFILE)
_ABOUT = {name: f"{artifact.file} ({artifact.about})" for name, artifact in ARTIFACTS.items()}
_ABOUT[PROFILE] = "profile.yaml (what was asked, for --profile)"
_DEFAULT = "script,json,profile"


def _emit(ctx: click.Context, _: click.Parameter, given: Sequence[str]) -> tuple[str, ...]:
    """
    Words, separated by commas or in several options, each once.
    """
    words = [word.strip() for text in given for word in text.split(",")]
    for word in words:
        if word not in (*_WORDS, ALL):
            ctx.fail(f"--emit {word!r} is not known. {did_you_mean(word, (*_WORDS, ALL))}")
    return _WORDS if ALL in words else tuple(dict.fromkeys(words))


_OPTIONS = [
    Option("--output-dir", "-o", type=PATH, metavar="DIR", required=True, help="Made if it is not there."),
    Option(
        "--emit",
        multiple=True,
        default=[_DEFAULT],
        metavar="A,B",
        callback=_emit,
        help=f"Any of {'; '.join(f'{name}: {about}' for name, about in _ABOUT.items())}; or all. [default: {_DEFAULT}]",
    ),
    Option("--force", is_flag=True, help="Overwrite files that are there."),
    Option("--render-anyway", is_flag=True, help="Write what does not fit, with a warning in what starts it."),
    AS_JSON,
]


@click.command(cls=Command, params=[*REQUEST, *_OPTIONS], rare=vllm_options)
def generate(
    *, output_dir: str, emit: tuple[str, ...], force: bool, render_anyway: bool, as_json: bool, **values: Any
) -> int:
    """
    Write the files that start MODEL as planned.

    Prints the path of each.  Writes all of them or none, and none if the model does not fit.

    Exit codes: 0 written, 3 does not fit, 1 error, 2 wrong use.
    """
    request = gather(values)
    plan = plan_request(request, allow_unsafe=bool(values.get("allow_unsafe")))
    words = emit if plan.fits or render_anyway else ()
    files = [file for word in words for file in _files(word, plan, request, optional=emit == _WORDS)]
    files = list({file.name: file for file in files}.values())  # the Kustomize base has the Kubernetes objects too
    written = write_files(Path(output_dir), files, force=force) if files else []
    paths = [str(path) for path in written]
    click.echo(_summary(plan, nothing=not files), err=True)
    if as_json:
        print_json({"fits": plan.fits, "shortfall_bytes": plan.shortfall_bytes, "files": paths})
    elif paths:
        write("\n".join(paths))
    return FITS if plan.fits else DOES_NOT_FIT


def _files(word: str, plan: Plan, request: PlanRequest, *, optional: bool) -> list[File]:
    if word == PROFILE:
        return [File(name="profile.yaml", text=profile_text(request))]
    artifact = ARTIFACTS[word]
    try:
        texts = artifact.render(plan)
    except UnsupportedError as error:
        if not optional or error.field != "emit":
            raise
        click.echo(f"Left out: {error.message}", err=True)
        return []
    return [File(name=name, text=text, mode=_mode(name, artifact)) for name, text in texts.items()]


def _mode(name: str, artifact: Artifact) -> int:
    """
    What people copy and fill in with secrets is theirs alone from the start.
    """
    return 0o600 if name.startswith("secrets.") else 0o755 if artifact.executable else 0o644


def _summary(plan: Plan, *, nothing: bool) -> str:
    from vllm_sizing.render.report import verdict, way_out

    text = " ".join(verdict(plan))
    if plan.fits:
        return f"{text}."
    end = "Nothing was written." if nothing else "What was written will not start."
    return f"{text}. {way_out(plan)}. {end}".replace(". . ", ". ")
