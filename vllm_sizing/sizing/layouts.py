"""
Which parallel layouts are legal on a cluster, and which one serves the goal best.
"""

from __future__ import annotations

from collections.abc import Iterator

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.gpu import Cluster


def fixed_layout(args: EngineArgs, cluster: Cluster) -> Layout | None:
    """
    The layout that the user's arguments leave no choice about; None: there is something to decide.

    Raises:
        UnsupportedError: It needs more GPUs than there are.
    """
    sizes = (args.tensor_parallel_size, args.pipeline_parallel_size, args.data_parallel_size)
    tensor, pipeline, data = (size or 1 for size in sizes)
    layout = make_layout(args, tensor, pipeline, data)
    check_gpus(layout, cluster)
    return None if cluster.total_gpus > 1 and args.tensor_parallel_size is None else layout


def make_layout(args: EngineArgs, tensor: int, pipeline: int, data: int) -> Layout:
    """
    A layout of these sizes with the user's other switches.
    """
    return Layout(
        tensor=tensor,
        pipeline=pipeline,
        data=data,
        decode_context=args.decode_context_parallel_size or 1,
        expert=bool(args.enable_expert_parallel),
    )


def check_gpus(layout: Layout, cluster: Cluster) -> None:
    """
    Refuse a layout that needs more GPUs than there are.
    """
    if layout.num_ranks <= cluster.total_gpus:
        return
    message = (
        f"tensor_parallel_size x pipeline_parallel_size x data_parallel_size is {layout.num_ranks}, "
        f"but there are {cluster.total_gpus} GPUs; give num_gpus={layout.num_ranks} or smaller sizes"
    )
    raise UnsupportedError(message, field="tensor_parallel_size", value=layout.tensor)


def candidates(args: EngineArgs, cluster: Cluster) -> Iterator[Layout]:
    """
    Every layout that uses as many GPUs as possible and keeps what the user fixed.

    Tensor parallelism stays inside a node, where the links are; pipeline stages may cross nodes.
    """
    per_node, nodes = cluster.num_gpus, cluster.num_nodes
    total = cluster.total_gpus
    seen = set()
    for tensor in _sizes(args.tensor_parallel_size, total if args.tensor_parallel_size else per_node):
        for pipeline in _sizes(args.pipeline_parallel_size, total // tensor or 1):
            if args.pipeline_parallel_size is None and not _sensible_pipeline(pipeline, tensor, per_node, nodes):
                continue
            rest = total // (tensor * pipeline)
            for data in _sizes(args.data_parallel_size, rest) if args.data_parallel_size else (rest,):
                if data < 1 or (tensor, pipeline, data) in seen:
                    continue
                seen.add((tensor, pipeline, data))
                layout = make_layout(args, tensor, pipeline, data)
                if layout.num_ranks <= total:
                    yield layout


def _sizes(fixed: int | None, most: int) -> tuple[int, ...]:
    return (fixed,) if fixed is not None else tuple(range(1, most + 1))


def _sensible_pipeline(pipeline: int, tensor: int, per_node: int, nodes: int) -> bool:
    """
    One stage; a stage per node; or stages inside a node where tensor parallelism cannot use it all.
    """
    return pipeline in (1, nodes) or (pipeline * tensor <= per_node and per_node % (pipeline * tensor) == 0)
