"""
A plan as a bash script that starts the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.render.argv import extra_settings, model_word
from vllm_sizing.render.command import shell_arguments
from vllm_sizing.render.container import SECRETS_FROM_ENVIRONMENT
from vllm_sizing.render.deployment import check_code, plan_notes
from vllm_sizing.render.nodes import count_nodes, needs_ray
from vllm_sizing.render.report import clean
from vllm_sizing.render.shell import bash_script, exports, shell_word
from vllm_sizing.render.start import server_environment
from vllm_sizing.units import format_gib

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

_NODE = """\
: "${MASTER_ADDR:?set it to the address of the first node}"
: "${NODE_RANK:?set it to 0 on the first node, 1 on the second, and so on}"
"""
_LOOPBACK = """\
# Without a key for clients, only this machine can connect.
if [ -z "${VLLM_API_KEY:-}" ]; then args+=(--host 127.0.0.1); fi
"""
_HEADLESS = """\
# The first node answers requests, the others compute for it.
if [ "$NODE_RANK" != 0 ]; then args+=(--headless); fi
"""


def script(plan: Plan) -> str:
    """
    The script; each argument stands below the reason for it.

    Raises:
        UnsupportedError: This version of vLLM would refuse an argument, or code of the model's repository
            would run that is not pinned.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    check_code(plan, "script")
    memory, settings = plan.memory, extra_settings(plan)
    spans = count_nodes(plan) > 1 and not needs_ray(plan)
    weights, cache = format_gib(memory.weights_bytes_per_gpu), format_gib(memory.kv_cache_bytes)
    head = (
        *plan_notes(plan),
        f"Per GPU: weights {weights}, KV cache {cache} of {format_gib(memory.total_bytes)}.",
        "",
        SECRETS_FROM_ENVIRONMENT,
    )
    parts = (
        _NODE if spans else "",
        exports(server_environment(plan)),
        _array(plan),
        "" if {"host", "uds"} & settings.keys() else _LOOPBACK,
        _HEADLESS if spans else "",
        'exec vllm serve "${args[@]}"\n',
    )
    return bash_script(head, *filter(None, parts))


def _array(plan: Plan) -> str:
    reasons = {"--" + item.flag.replace("_", "-"): clean(item.reason) for item in plan.decisions}
    lines = ["args=(", f"  {shell_word(model_word(plan.model.name))}"]
    for argument in shell_arguments(plan):
        flag = argument.partition(" ")[0].replace("--no-", "--", 1)
        if flag in reasons:
            lines.append(f"  # {reasons[flag]}")
        lines.append(f"  {argument}")
    return "\n".join([*lines, ")", ""])
