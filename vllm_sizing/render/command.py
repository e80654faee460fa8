"""
A plan as a ``vllm serve`` command to paste into a shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.catalog.flags import flag_table
from vllm_sizing.render.argv import argument_groups, model_word, to_shell, written_args

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

_NNODES_SINCE = (0, 11, 1)


def command(plan: Plan) -> str:
    r"""
    One flag per line, with a line break at the end.

    A plan over several nodes takes ``MASTER_ADDR`` and ``NODE_RANK`` from the shell.

    Raises:
        UnsupportedError: This version of vLLM would refuse an argument.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    model = to_shell([model_word(plan.model.name)])
    return " \\\n  ".join([f"vllm serve {model}", *shell_arguments(plan)]) + "\n"


def shell_arguments(plan: Plan) -> list[str]:
    """
    The arguments behind the model, each flag with its values as shell text.
    """
    groups = argument_groups(written_args(plan), plan.vllm_version)
    return [to_shell(group) for group in groups] + _nodes(plan)


def spans_nodes(plan: Plan) -> bool:
    """
    Whether its processes run on more than one node.
    """
    return plan.num_gpus > plan.cluster.num_gpus


def _nodes(plan: Plan) -> list[str]:
    """
    What every node must be told: vLLM 0.33 ``engine/arg_utils.py``, before 0.11.1 by Ray alone.
    """
    args = plan.engine_args
    if not spans_nodes(plan) or args.distributed_executor_backend == "ray":
        return []
    if flag_table(plan.vllm_version).release < _NNODES_SINCE:
        return ["--distributed-executor-backend ray"]
    nodes = [] if args.nnodes else [f"--nnodes {-(-plan.num_gpus // plan.cluster.num_gpus)}"]
    return [*nodes, '--node-rank "$NODE_RANK"', '--master-addr "$MASTER_ADDR"']
