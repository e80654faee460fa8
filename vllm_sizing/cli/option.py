"""
An option that belongs to a group of the help, and the command that shows the groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

OUTPUT = "Output"


class Option(click.Option):
    """
    An option with a place in the help.

    Attributes:
        group: Under which title the help shows it.

        aliases: Spellings that the help does not show.

        takes_all: ``--flag 1 2 3`` is read as ``--flag 1 --flag 2 --flag 3``, as vLLM does.
    """

    def __init__(
        self,
        *names: str,
        group: str = OUTPUT,
        aliases: Sequence[str] = (),
        takes_all: bool = False,
        **more: Any,
    ) -> None:
        super().__init__([*names, *aliases], multiple=takes_all or more.pop("multiple", False), **more)
        self.group = group
        self.aliases = frozenset(name.removeprefix(" /") for name in aliases)
        self.takes_all = takes_all

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """
        The help without the aliases.
        """
        spellings = self.opts, self.secondary_opts
        self.opts, self.secondary_opts = ([name for name in names if name not in self.aliases] for names in spellings)
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts, self.secondary_opts = spellings


class Command(click.Command):
    """
    A command whose help shows its options in groups, and whose rare options are built on demand.

    Args:
        rare: Makes further options, when a word of the command line may be one of them.
    """

    def __init__(self, *, rare: Callable[[], Sequence[click.Parameter]] | None = None, **more: Any) -> None:
        super().__init__(**more)
        self._rare = rare

    def load_rare(self) -> None:
        """
        Builds the rare options and puts them where the help shows them: before those of the output.
        """
        if self._rare is not None:
            at = [getattr(param, "group", "") for param in self.params].index(OUTPUT)
            self.params[at:at] = self._rare()
            self._rare = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """
        As click does, but a flag of vLLM that is no option is told with what to write.
        """
        spellings = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        given = {word.partition("=")[0] for word in args if word.startswith("-")}
        if ctx.resilient_parsing or not given <= spellings:
            self.load_rare()
        try:
            return super().parse_args(ctx, list(self._spread(args)))
        except click.NoSuchOption as error:
            from vllm_sizing.cli.engine import way_out

            if hint := way_out(error.option_name):
                ctx.fail(f"No such option {error.option_name}: {hint}")
            raise

    def _spread(self, words: list[str]) -> Iterator[str]:
        """
        Repeats a flag that takes several words before each of them.
        """
        greedy = {name for param in self.params if getattr(param, "takes_all", False) for name in param.opts}
        flag, count = "", 0
        for word in words:
            if word in greedy:
                flag, count = word, 0
            elif word.startswith("-"):
                flag = ""
            elif flag and (count := count + 1) > 1:
                yield flag
            yield word

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """
        One section per group, in the order of the parameters.
        """
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
                sections.setdefault(getattr(param, "group", OUTPUT), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
