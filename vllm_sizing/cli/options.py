"""
The options that `plan` and `generate` share, in the groups in which the help shows them.
"""

from __future__ import annotations

import click

from vllm_sizing.cli.option import Option
from vllm_sizing.cli.values import COUNT, GIGABYTES, GPU, MEMORY, MODEL, NUMBER, PATH, SHARE, TOKENS, WORD
from vllm_sizing.specs.request import LATEST_VLLM

_MODEL, _HARDWARE, _WORKLOAD, _POLICY = "Model", "Hardware", "Workload", "Policy"

AS_JSON = Option("--json", "as_json", is_flag=True, help="Print JSON, with the names of the Python API.")


def vllm_options() -> list[click.Parameter]:
    """
    vLLM's own flags.
    """
    from vllm_sizing.cli.engine import flag_options

    return [*flag_options(), _EXTRA_ARG, _ALLOW_UNSAFE]


# MODEL and every option that says what to plan, but vLLM's flags.
REQUEST: list[click.Parameter] = [
    click.Argument(["model"], required=False, type=MODEL, metavar="MODEL"),
    Option("--revision", group=_MODEL, type=WORD, help="Branch, tag or commit of MODEL on the Hub."),
    Option(
        "--trust-remote-code/--no-trust-remote-code",
        group=_MODEL,
        default=None,
        help="Let vLLM run code of the model's repository. This program never runs any.",
    ),
    Option(
        "--params-b",
        group=_MODEL,
        type=NUMBER,
        help="Billions of parameters: plan a rough model of this size; MODEL is then only its name.",
    ),
    Option(
        "--profile",
        group=_MODEL,
        type=PATH,
        metavar="FILE",
        help="Begin with the values of a profile that generate wrote; options given here win.",
    ),
    Option(
        "--gpu",
        group=_HARDWARE,
        type=GPU,
        help="GPU of the catalog (see: vllm-sizing gpus), 4xNAME for four, or auto. "
        "[default: auto, the GPUs of this machine]",
    ),
    Option(
        "--gpus",
        "num_gpus",
        group=_HARDWARE,
        type=COUNT,
        help="GPUs per node. [default: 1; with auto all of this machine]",
    ),
    Option("--nodes", "num_nodes", group=_HARDWARE, type=COUNT, help="Nodes. [default: 1]"),
    Option(
        "--vram-gb",
        "memory_bytes",
        group=_HARDWARE,
        type=MEMORY,
        help="Memory of one GPU in GiB (2**30 bytes), as its driver reports it, instead of the catalog's.",
    ),
    Option(
        "--interconnect",
        group=_HARDWARE,
        type=click.Choice(["nvlink", "pcie", "unknown"]),
        help="Link between the GPUs of a node. [default: what the GPU has]",
    ),
    Option(
        "--input-tokens",
        group=_WORKLOAD,
        aliases=["--prompt-tokens"],
        type=TOKENS,
        help="Prompt of a typical request. [default: 1024]",
    ),
    Option(
        "--output-tokens",
        group=_WORKLOAD,
        aliases=["--gen-tokens"],
        type=TOKENS,
        help="Answer of a typical request. [default: 256]",
    ),
    Option("--concurrency", "-c", group=_WORKLOAD, type=COUNT, help="Requests at once. [default: 1]"),
    Option(
        "--request-rate",
        group=_WORKLOAD,
        type=NUMBER,
        help="Requests per second that come at random; the speed is of this load instead of the concurrency.",
    ),
    Option(
        "--prefix-cache-hit-rate",
        group=_WORKLOAD,
        type=SHARE,
        help="Share of prompt tokens that the prefix cache holds, up to 1. [default: 0]",
    ),
    Option(
        "--acceptance-rate",
        group=_WORKLOAD,
        type=NUMBER,
        help="Share of speculative tokens that are accepted, up to 1.",
    ),
    Option(
        "--goal",
        group=_WORKLOAD,
        aliases=["--batching-mode"],
        type=click.Choice(["balanced", "latency", "throughput"]),
        help="What to decide for. [default: balanced]",
    ),
    Option("--target-ttft-ms", group=_WORKLOAD, type=NUMBER, help="Longest time to the first token."),
    Option("--target-tpot-ms", group=_WORKLOAD, type=NUMBER, help="Longest mean time per further token."),
    Option("--target-e2el-ms", group=_WORKLOAD, type=NUMBER, help="Longest time of a whole request."),
    Option(
        "--headroom-gb",
        "headroom_bytes",
        group=_POLICY,
        type=GIGABYTES,
        help="GiB to leave free on each GPU for other processes. [default: 0]",
    ),
    Option(
        "--overhead-gb",
        "overhead_bytes",
        group=_POLICY,
        type=GIGABYTES,
        help="GiB per GPU for activations, CUDA graphs and the rest, instead of the model's estimate.",
    ),
    Option(
        "--vllm-version",
        group=_POLICY,
        type=WORD,
        metavar="VERSION",
        help=f"Rules, defaults and flags of this release. [default: {LATEST_VLLM}]",
    ),
]
_EXTRA_ARG = Option(
    "--extra-arg",
    "extra_args",
    group="Any other flag of vLLM",
    multiple=True,
    metavar="WORD",
    help="Passed through, one word each: --extra-arg=--seed --extra-arg=7.",
)
_ALLOW_UNSAFE = Option(
    "--allow-unsafe",
    group="Any other flag of vLLM",
    is_flag=True,
    help="Accept flags that make vLLM load code or open files to clients; the files that are written warn.",
)
