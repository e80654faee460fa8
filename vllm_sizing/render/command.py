"""
A plan as a ``vllm serve`` command to paste into a shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.render.argv import model_word, plan_groups, to_shell
from vllm_sizing.render.nodes import count_nodes, node_words

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

DOES_NOT_FIT = "WARNING: the plan does not fit; this server will not start."


def command(plan: Plan) -> str:
    r"""
    One flag per line, with a line break at the end.

    A plan over several nodes takes ``MASTER_ADDR`` and ``NODE_RANK`` from the shell.

    Raises:
        UnsupportedError: This version of vLLM would refuse an argument.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    model = to_shell([model_word(plan.model.name)])
    warning = "" if plan.fits else f"# {DOES_NOT_FIT}\n"
    return warning + " \\\n  ".join([f"vllm serve {model}", *shell_arguments(plan)]) + "\n"


def shell_arguments(plan: Plan) -> list[str]:
    """
    The arguments behind the model, each flag with its values as shell text.
    """
    nodes = node_words(plan, str(count_nodes(plan)), '"$NODE_RANK"', '"$MASTER_ADDR"')
    return [*map(to_shell, plan_groups(plan)), *(f"{flag} {value}" for flag, value in nodes)]
