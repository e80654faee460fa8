"""
The options that `plan` and `generate` share, in the groups in which the help shows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vllm_sizing.cli.values import COUNT, GIGABYTES, GPU, MEMORY, NUMBER, TOKENS, WORD, Value
from vllm_sizing.specs.request import LATEST_VLLM


if TYPE_CHECKING:
    from collections.abc import Sequence

MODEL, HARDWARE, WORKLOAD, POLICY, ENGINE, OUTPUT = (
    "Model",
    "Hardware",
    "Workload",
    "Policy",
    "vLLM's own flags (what is not given is decided, and the reason shown)",
    "Output",
)


class Option(click.Option):
    """
    An option in a group of the help, perhaps with spellings that the help does not show.
    """

    def __init__(self, *names: str, group: str = OUTPUT, aliases: Sequence[str] = (), **more: Any) -> None:
        super().__init__([*names, *aliases], **more)
        self.group = group
        self.aliases = frozenset(aliases)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """
        The help without the aliases.
        """
        spellings = self.opts
        try:
            self.opts = [name for name in spellings if name not in self.aliases]
            return super().get_help_record(ctx)
        finally:
            self.opts = spellings


class Command(click.Command):
    """
    A command whose help shows its options in groups.
    """

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


AS_JSON = Option("--json", "as_json", is_flag=True, help="Print JSON, with the names of the Python API.")


def request_options() -> list[click.Parameter]:
    """
    MODEL and every option that says what to plan.
    """
    return [click.Argument(["model"], required=False, type=WORD), *_OWN, *_engine()]


_OWN = [
    Option("--revision", group=MODEL, type=WORD, help="Branch, tag or commit of MODEL on the Hub."),
    Option(
        "--trust-remote-code/--no-trust-remote-code",
        group=MODEL,
        default=None,
        help="Let vLLM run code of the model's repository. This program never runs any.",
    ),
    Option(
        "--params-b",
        group=MODEL,
        type=NUMBER,
        help="Billions of parameters: plan a rough model of this size instead of reading MODEL.",
    ),
    Option(
        "--profile",
        group=MODEL,
        type=click.Path(),
        metavar="FILE",
        help="Begin with the values of a profile that generate wrote; options given here win.",
    ),
    Option(
        "--gpu",
        group=HARDWARE,
        type=GPU,
        help="GPU of the catalog (see: vllm-sizing gpus), 4xNAME for four, or auto. "
        "[default: auto, the GPUs of this machine]",
    ),
    Option(
        "--gpus",
        "num_gpus",
        group=HARDWARE,
        type=COUNT,
        help="GPUs per node. [default: 1; with auto all of this machine]",
    ),
    Option("--nodes", "num_nodes", group=HARDWARE, type=COUNT, help="Nodes. [default: 1]"),
    Option(
        "--vram-gb",
        "memory_bytes",
        group=HARDWARE,
        type=MEMORY,
        help="Memory of one GPU in GiB (2**30 bytes), as its driver reports it, instead of the catalog's.",
    ),
    Option(
        "--interconnect",
        group=HARDWARE,
        type=click.Choice(["nvlink", "pcie", "unknown"]),
        help="Link between the GPUs of a node. [default: what the GPU has]",
    ),
    Option(
        "--input-tokens",
        group=WORKLOAD,
        aliases=["--prompt-tokens"],
        type=TOKENS,
        help="Prompt of a typical request. [default: 1024]",
    ),
    Option(
        "--output-tokens",
        group=WORKLOAD,
        aliases=["--gen-tokens"],
        type=TOKENS,
        help="Answer of a typical request. [default: 256]",
    ),
    Option("--concurrency", "-c", group=WORKLOAD, type=COUNT, help="Requests at once. [default: 1]"),
    Option("--request-rate", group=WORKLOAD, type=NUMBER, help="Requests per second that arrive."),
    Option(
        "--goal",
        group=WORKLOAD,
        aliases=["--batching-mode"],
        type=click.Choice(["balanced", "latency", "throughput"]),
        help="What to decide for. [default: balanced]",
    ),
    Option("--target-ttft-ms", group=WORKLOAD, type=NUMBER, help="Longest time to the first token."),
    Option("--target-tpot-ms", group=WORKLOAD, type=NUMBER, help="Longest mean time per further token."),
    Option(
        "--headroom-gb",
        "headroom_bytes",
        group=POLICY,
        type=GIGABYTES,
        help="GiB to leave free on each GPU for other processes. [default: 0]",
    ),
    Option(
        "--overhead-gb",
        "overhead_bytes",
        group=POLICY,
        type=GIGABYTES,
        help="GiB per GPU for activations, CUDA graphs and the rest, instead of the model's estimate.",
    ),
    Option(
        "--vllm-version",
        group=POLICY,
        type=WORD,
        metavar="VERSION",
        help=f"Rules, defaults and flags of this release. [default: {LATEST_VLLM}]",
    ),
]


def _engine() -> list[click.Parameter]:
    """
    Interim: from the fields of EngineArgs, until catalog.flags is there.
    """
    import json

    from vllm_sizing.specs.engine import EngineArgs

    types = {"int | None": COUNT, "float | None": NUMBER, "str | None": WORD, "Any": Value("JSON", json.loads)}
    own = {param.name for param in _OWN} | {"extra_args"}
    options: list[click.Parameter] = []
    for name, annotation in EngineArgs.__annotations__.items():
        flag = name.replace("_", "-")
        aliases = ["--tp", "-tp"] if name == "tensor_parallel_size" else []
        if name in own:
            continue
        if annotation == "bool | None":
            options.append(Option(f"--{flag}/--no-{flag}", group=ENGINE, default=None))
        else:
            options.append(Option(f"--{flag}", group=ENGINE, aliases=aliases, type=types[str(annotation)]))
    return [*options, _EXTRA_ARG]


_EXTRA_ARG = Option(
    "--extra-arg",
    "extra_args",
    group=ENGINE,
    multiple=True,
    metavar="WORD",
    help="Any other flag of this vLLM version, one word each: --extra-arg --seed --extra-arg 7.",
)
