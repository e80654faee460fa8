"""
What leaves the process when something is wrong: one line on stderr, and an exit code.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from typing import TYPE_CHECKING

import click

from vllm_sizing.cli.terminal import one_line
from vllm_sizing.errors import SizingError

if TYPE_CHECKING:
    from collections.abc import Callable

FITS, ERROR, USAGE, DOES_NOT_FIT, INTERRUPTED = 0, 1, 2, 3, 130

# Parameters of the library whose option is not simply their own name.
_OPTIONS = {
    "num_gpus": "--gpus",
    "num_nodes": "--nodes",
    "memory_bytes": "--vram-gb",
    "headroom_bytes": "--headroom-gb",
    "overhead_bytes": "--overhead-gb",
    "ttft_ms": "--target-ttft-ms",
    "tpot_ms": "--target-tpot-ms",
    "e2el_ms": "--target-e2el-ms",
    "extra_args": "--extra-arg",
    "allow_unsafe": "--allow-unsafe",
    "gpu": "--gpu",
    "revision": "--revision",
    "params_b": "--params-b",
    "interconnect": "--interconnect",
    "vllm_version": "--vllm-version",
    "input_tokens": "--input-tokens",
    "output_tokens": "--output-tokens",
    "request_rate": "--request-rate",
    "prefix_cache_hit_rate": "--prefix-cache-hit-rate",
    "acceptance_rate": "--acceptance-rate",
    "concurrency": "--concurrency",
    "goal": "--goal",
}
_PARAMETER = re.compile(r"(?<![\w./'\"-])([a-z][a-z0-9_]*)(?:=(\"[^\"]*\"|'[^']*'|[\w.+/-]*\w))?(?![\w'\"])")
_LONGEST_LINE = 1000


def exit_code(run: Callable[[], object]) -> int:
    """
    Runs a command; returns what the process should exit with, having told what went wrong.
    """
    with contextlib.suppress(AttributeError, io.UnsupportedOperation):
        # A terminal that cannot print a character gets "?", not a traceback.
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        code = run()
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.UsageError as error:
        return _usage(error)
    except SizingError as error:
        return _tell(as_options(error.message), ERROR)
    except OSError as error:
        _forget_stdout()
        return _tell(f"{error.filename or 'the answer'}: {error.strerror or error}", ERROR)
    except Exception as error:  # a bug, told in one line all the same
        if os.environ.get("VLLM_SIZING_DEBUG"):
            raise
        text = f"internal error: {error!r}; please report it (VLLM_SIZING_DEBUG=1 shows where it is)"
        return _tell(text, ERROR)
    return code if isinstance(code, int) else FITS


def as_options(message: str) -> str:
    """
    A message of the library in the words of the command line.

    Plain words (gpu, revision) are parameters where a value follows, or as the first word: "revision is".

    >>> as_options('Fits with tensor_parallel_size=2, or with quantization="fp8".')
    'Fits with --tensor-parallel-size 2, or with --quantization fp8.'
    """
    if "@ $" in message:  # The fault has a path inside a file, where the names are the library's.
        return message
    return _PARAMETER.sub(_as_option, message.removesuffix(", or None"))


def _as_option(match: re.Match[str]) -> str:
    from vllm_sizing.specs.engine import EngineArgs

    name, value = match.groups()
    option = _OPTIONS.get(name)
    if option is None and name in EngineArgs.__annotations__:
        option = "--" + name.replace("_", "-")
    subject = match.start() == 0 and match.string.startswith(f"{name} is ")
    if option is None or (value is None and "_" not in name and not subject):
        return match[0]
    if value == "True":
        return option
    if value == "False":
        return "--no-" + option[2:]
    return option if value is None else f"{option} {value.strip(chr(34) + chr(39))}"


def _usage(error: click.UsageError) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        click.echo(error.format_message(), err=True)
        return USAGE
    text = error.format_message().rstrip(". ")
    stop = "" if text.endswith(("?", "?)")) else "."
    command = error.ctx.command_path if error.ctx else "vllm-sizing"
    return _tell(f"{text}{stop} Try '{command} --help'.", USAGE)


def _tell(message: str, code: int) -> int:
    line = one_line(message)
    if len(line) > _LONGEST_LINE:  # what is wrong stands at the front, the way out at the end
        line = f"{line[: _LONGEST_LINE - 300]} ... {line[-295:]}"
    click.echo(f"Error: {line}", err=True)
    return code


def _forget_stdout() -> None:
    """
    Whatever could not be written must not be tried again when the interpreter closes stdout.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
