"""
``vllm-sizing`` itself: which commands there are, and what leaves the process.

A command's module is imported when the command is used, so that ``--help`` costs only click.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from vllm_sizing import __version__
from vllm_sizing.cli.faults import exit_code
from vllm_sizing.cli.option import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "vllm-sizing"

# Each is `NAME` in the module cli/NAME.py; the text is the first sentence of its help (by test).
COMMANDS = {
    "plan": "Say whether MODEL fits the GPUs, with which flags, and how fast.",
    "generate": "Write the files that start MODEL as planned.",
    "check": "Check what starts a server: does it fit, is it right.",
    "sweep": "Find the cheapest GPUs and settings that serve MODEL as fast as wanted.",
    "detect": "Show the GPUs of this machine.",
    "gpus": "List the GPUs of the catalog, or show the one called NAME.",
    "models": "List the models of the catalog.",
}


def _command(name: str) -> click.Command | None:
    if name not in COMMANDS:
        return None
    command: click.Command = getattr(import_module(f"vllm_sizing.cli.{name}"), name)
    return command


class CommandLine(click.Group):
    """
    A group that imports a command on use and turns every fault into one line and an exit code.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """
        In the order of use, not of the alphabet.
        """
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """
        The command with all its options, or None.
        """
        command = _command(cmd_name)
        if isinstance(command, Command):
            command.load_rare()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """
        The command that the words name; a misspelt one is told with what it may have been.
        """
        name, *words = args
        command = _command(name)
        if command is None and not name.startswith("-") and not ctx.resilient_parsing:
            from vllm_sizing.cli.values import did_you_mean

            ctx.fail(f"No such command {name!r}. {did_you_mean(name, COMMANDS)}")
        return (name, command, words) if command else super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """
        From the table: listing the commands imports none of them.
        """
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """
        Runs the command and ends the process: 0 fits, 1 error, 2 usage, 3 does not fit, 130 Ctrl-C.
        """
        run = super().main
        arguments: Sequence[str] | None = args[0] if args else extra.pop("args", None)
        extra["prog_name"] = PROGRAM
        if not standalone_mode:
            return run(arguments, standalone_mode=False, **extra)
        # A process this short has no garbage: looking for it would take a tenth of the time.
        gc.disable()
        try:
            sys.exit(exit_code(lambda: run(arguments, standalone_mode=False, **extra)))
        finally:
            gc.freeze()
            gc.enable()


# vLLM reads --max_model_len as --max-model-len.
_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda word: word.replace("_", "-"),
}


@click.command(cls=CommandLine, context_settings=_SETTINGS)
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """
    Plan a vLLM server before it is started.

    Says whether a model fits the GPUs, with which flags, how many tokens and requests its KV cache
    holds and how fast it will be; and writes what starts it.

    \b
    vllm-sizing plan Qwen/Qwen3-32B --gpu h100-sxm --gpus 2 --concurrency 32
    vllm-sizing generate Qwen/Qwen3-32B --gpu 2xh100-sxm -o deploy --emit script

    Exit codes: 0 fits, 1 error, 2 wrong use of the command line, 3 does not fit.
    """  # noqa: D301
