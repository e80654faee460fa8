"""
A plan as a bash script that starts the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.render.argv import model_word, to_shell
from vllm_sizing.render.command import shell_arguments, spans_nodes
from vllm_sizing.render.report import clean, demand, subject, verdict
from vllm_sizing.units import format_gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.specs.plan import Plan


def script(plan: Plan) -> str:
    """
    The script; each argument stands below the reason for it.

    Raises:
        UnsupportedError: This version of vLLM would refuse an argument.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    reasons = {"--" + item.flag.replace("_", "-"): clean(item.reason) for item in plan.decisions}
    lines = ["#!/usr/bin/env bash", "#", *(f"# {line}".rstrip() for line in _header(plan))]
    lines += ["", "set -euo pipefail", "", *_environment(plan), "args=(", f"  {_model(plan)}"]
    for argument in shell_arguments(plan):
        flag = argument.partition(" ")[0].replace("--no-", "--", 1)
        if flag in reasons:
            lines.append(f"  # {reasons[flag]}")
        lines.append(f"  {argument}")
    lines += [")", *_headless(plan), "", 'exec vllm serve "${args[@]}"']
    return "\n".join(lines) + "\n"


def _model(plan: Plan) -> str:
    return to_shell([model_word(plan.model.name)])


def _header(plan: Plan) -> Iterator[str]:
    memory = plan.memory
    word, reason = verdict(plan)
    yield f"{clean(plan.model.name)}: {'; '.join(subject(plan))}"
    yield f"Planned by vllm-sizing for {'; '.join(demand(plan))}."
    yield f"{clean(word)}: {clean(reason)}"
    yield (
        f"Per GPU: weights {format_gib(memory.weights_bytes_per_gpu)}, KV cache "
        f"{format_gib(memory.kv_cache_bytes)} of {format_gib(memory.total_bytes)}."
    )
    yield ""
    yield "Secrets come from the environment: HF_TOKEN for gated models, VLLM_API_KEY for clients."


def _environment(plan: Plan) -> list[str]:
    if '"$NODE_RANK"' not in " ".join(shell_arguments(plan)):
        return []
    return [
        ': "${MASTER_ADDR:?set it to the address of the first node}"',
        ': "${NODE_RANK:?set it to 0 on the first node, 1 on the second, and so on}"',
        "",
    ]


def _headless(plan: Plan) -> list[str]:
    if not spans_nodes(plan) or not _environment(plan):
        return []
    return ['if [ "$NODE_RANK" != 0 ]; then args+=(--headless); fi']
