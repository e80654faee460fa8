"""
Which nodes a plan's processes run on, and what each of them must be told.

Source: vLLM 0.33 ``engine/arg_utils.py:create_engine_config`` (``--nnodes``), ``entrypoints/cli/serve.py``
(``--headless``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.catalog.flags import flag_table
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.argv import extra_settings
from vllm_sizing.units import ceil_div

if TYPE_CHECKING:
    from vllm_sizing.catalog.flags import Release
    from vllm_sizing.specs.plan import Plan

_NNODES_SINCE: Release = (0, 11, 1)
# Each node's own, or not for nodes that serve nothing.
_ONE_NODE_ONLY = (
    "api_server_count",
    "data_parallel_address",
    "data_parallel_backend",
    "data_parallel_external_lb",
    "data_parallel_hybrid_lb",
    "data_parallel_rank",
    "data_parallel_start_rank",
    "headless",
    "master_addr",
    "node_rank",
)


def count_nodes(plan: Plan) -> int:
    """
    Nodes that the plan's processes run on.
    """
    return max(plan.engine_args.nnodes or 1, ceil_div(plan.num_gpus, plan.cluster.num_gpus))


def needs_ray(plan: Plan) -> bool:
    """
    Whether several nodes find each other through Ray alone: before ``--nnodes``, or asked for.
    """
    release = flag_table(plan.vllm_version).release
    return plan.engine_args.distributed_executor_backend == "ray" or release < _NNODES_SINCE


def node_words(plan: Plan, count: str, rank: str, address: str) -> tuple[tuple[str, str], ...]:
    """
    What every node is told, if there are several: each flag with its value.

    Args:
        count, rank, address: How the target writes the number of nodes, the node's own number and the
            address of the first one.

    Raises:
        UnsupportedError: ``extra_args`` set for all nodes what differs between them.

    >>> import vllm_sizing as vs
    >>> plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> node_words(plan, "2", "0", "10.0.0.1")
    ()
    """
    if count_nodes(plan) == 1:
        return ()
    for name in _ONE_NODE_ONLY:
        if extra_settings(plan).get(name) not in {None, False}:
            message = f"extra_args set {name}, which cannot be the same on each of {count_nodes(plan)} nodes; drop it"
            raise UnsupportedError(message, field="extra_args", value=name)
    if needs_ray(plan):
        backend = ("--distributed-executor-backend", "ray")
        return () if plan.engine_args.distributed_executor_backend == "ray" else (backend,)
    nnodes = () if plan.engine_args.nnodes else (("--nnodes", count),)
    return (*nnodes, ("--node-rank", rank), ("--master-addr", address))
