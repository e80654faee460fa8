"""
The options of `sweep`: what to try, what to reach, what it costs.
"""

from __future__ import annotations

from typing import Any

import click

from vllm_sizing.cli.option import Option
from vllm_sizing.cli.options import AS_JSON, REQUEST, vllm_options
from vllm_sizing.cli.values import COUNT, KIND_OF_GPU, NUMBER, PATH, PRICE, TOKENS, WORD, several

_TRIED, _COST = "What to try (several, separated by commas)", "Targets and cost"
LOADS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def _list(*names: str, kind: Any, text: str, more: str = "") -> Option:
    return Option(*names, group=_TRIED, type=several(kind, more), multiple=True, help=text)


_LISTS = [
    _list("--gpu", "gpu", kind=KIND_OF_GPU, text="GPUs. [default: every GPU whose price is known]"),
    _list("--gpus", "num_gpus", kind=COUNT, text="GPUs per node. [default: 1,2,4,8]"),
    _list("--nodes", "num_nodes", kind=COUNT, text="Nodes. [default: 1]"),
    _list("--concurrency", "-c", "concurrency", kind=COUNT, text="Requests at once. [default: 1,2,4,...,256]"),
    _list("--tensor-parallel-size", "-tp", kind=COUNT, text="Sizes. [default: all that are legal]"),
    _list("--pipeline-parallel-size", "-pp", kind=COUNT, text="Sizes. [default: all that are legal]"),
    _list("--data-parallel-size", "-dp", kind=COUNT, text="Sizes. [default: all that are legal]"),
    _list(
        "--quantization",
        "-q",
        kind=WORD,
        more="none",
        text="On-line methods; none: as stored. [default: none and every method of 8 bits that vLLM and the GPU know]",
    ),
    _list("--kv-cache-dtype", kind=WORD, text="dtypes of the KV cache. [default: auto,fp8]"),
    _list("--max-num-seqs", kind=COUNT, more="auto", text="Limits of a batch. [default: auto,64]"),
    _list("--max-num-batched-tokens", kind=TOKENS, more="auto", text="Limits. [default: auto,2048,16384]"),
    Option(
        "--checkpoints/--no-checkpoints",
        group=_TRIED,
        default=True,
        help="Try the catalog's other checkpoints of MODEL, too. [default: yes]",
    ),
]
LISTS = tuple(str(option.name) for option in _LISTS[:-1])
_OPTIONS = [
    Option("--target-tokens-per-s", group=_COST, type=NUMBER, help="Least output of a whole deployment."),
    Option(
        "--price",
        group=_COST,
        type=PRICE,
        multiple=True,
        help="US dollars per GPU and hour, instead of the built-in list's. Repeat for more GPUs.",
    ),
    Option(
        "--rank",
        group=_COST,
        type=click.Choice(["usd-per-hour", "usd-per-million-tokens"]),
        help="Which cost is to be least. [default: per hour if one load is given, else per million tokens]",
    ),
    Option("--jobs", "-j", type=COUNT, help="Processes that share the work. [default: 1]"),
    Option("--json-lines", is_flag=True, help="Print every candidate as a line of JSON, as soon as it is planned."),
    Option("--html", type=PATH, metavar="FILE", help="Write the result as a page to look at, too."),
    AS_JSON,
]
OPTIONS = [*(option for option in REQUEST if option.name not in LISTS), *_LISTS, *_OPTIONS]


def fixed_flags() -> list[click.Parameter]:
    """
    vLLM's flags that are not varied.
    """
    return [option for option in vllm_options() if option.name not in LISTS]
