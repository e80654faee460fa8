"""
Which candidates a search space has, in an order that is always the same.

Candidates come in groups that differ only in batch limits and load, so that the planner's caches serve a
whole group; a candidate is found by its number without counting through those before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import attrs

from vllm_sizing.errors import InvalidValueError, UnsupportedError
from vllm_sizing.sizing.defaults import Rules, parse_version, rules_for
from vllm_sizing.sizing.kernels import ONLINE
from vllm_sizing.sizing.methods import check_method, online_schemes_for
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.gpu import Cluster, GpuSpec
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.specs.search import SearchSpace
from vllm_sizing.specs.value import Value

LEAST_BITS = 8  # Fewer lose so much that nobody should get them without asking.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Group(Value):
    """
    Candidates that differ only in batch limits and load.

    Attributes:
        first: Number of the first of them.
    """

    first: int
    model: ModelSpec
    cluster: Cluster
    args: EngineArgs


def groups(space: SearchSpace) -> Iterator[Group]:
    """
    Every group: models, then GPUs, numbers of them, weight formats, layouts, KV dtypes.
    """
    size, first = group_size(space), 0
    rules = rules_for(parse_version(space.vllm_version))
    for model, gpu in product(space.models, space.gpus):
        methods = _quantizations(space, model, gpu, rules)
        dtypes = _kv_dtypes(space, model)
        for nodes, per_node, method in product(space.num_nodes, space.num_gpus, methods):
            cluster = Cluster(gpu=gpu, num_gpus=per_node, num_nodes=nodes, interconnect=space.interconnect)
            for layout, dtype in product(_layouts(space, model, cluster), dtypes):
                changes = {**layout, "quantization": method, "kv_cache_dtype": dtype}
                given = {name: value for name, value in changes.items() if value is not None}
                yield Group(first=first, model=model, cluster=cluster, args=space.engine_args.replaced(**given))
                first += size


def count_candidates(space: SearchSpace) -> int:
    """
    How many candidates there are; none of them is planned for that.

    Raises:
        InvalidValueError: There is none: no layout of the given sizes uses all GPUs.

    >>> import vllm_sizing as vs
    >>> space = vs.SearchSpace(models=vs.load_model("Qwen/Qwen3-8B"), gpus=vs.find_gpu("l4"), num_gpus=1)
    >>> count_candidates(space)
    60
    """
    found = sum(1 for _ in groups(space)) * group_size(space)
    if not found:
        message = (
            f"num_gpus is {', '.join(map(str, space.num_gpus))}, which no product of the tensor, pipeline and data "
            "parallel sizes to try equals; try other sizes, or leave tensor_parallel_size open"
        )
        raise InvalidValueError(message, field="num_gpus", value=space.num_gpus)
    return found


def group_size(space: SearchSpace) -> int:
    """
    Candidates of each group.
    """
    limits, tokens, loads = _inner(space)
    return len(limits) * len(tokens) * len(loads)


def inner_values(space: SearchSpace, place: int) -> tuple[int | None, int | None, int | None]:
    """
    (max_num_seqs, max_num_batched_tokens, concurrency) of a candidate by its place in the group; None: as given.
    """
    limits, tokens, loads = _inner(space)
    place, load = divmod(place, len(loads))
    limit, token = divmod(place, len(tokens))
    return limits[limit], tokens[token], loads[load]


def _inner(space: SearchSpace) -> tuple[tuple[int | None, ...], ...]:
    args = space.engine_args
    return (
        space.max_num_seqs if args.max_num_seqs is None else (None,),
        space.max_num_batched_tokens if args.max_num_batched_tokens is None else (None,),
        space.concurrency or (None,),
    )


def _quantizations(space: SearchSpace, model: ModelSpec, gpu: GpuSpec, rules: Rules) -> tuple[str | None, ...]:
    if space.engine_args.quantization is not None:
        return (None,)
    if space.quantization:
        return space.quantization
    if model.quantization is not None or gpu.compute_capability is None or not space.policy.allow_quantization:
        return (None,)
    return (None, *_online_methods(model, gpu, rules))


def _online_methods(model: ModelSpec, gpu: GpuSpec, rules: Rules) -> Iterator[str]:
    """
    On-line methods that load here, without those that only rename another.
    """
    seen: set[Any] = set()
    for method in ONLINE:
        try:
            schemes = online_schemes_for(model, method, rules)
            check_method(model, method, gpu, rules)
        except UnsupportedError:
            continue
        used = [scheme for scheme in (schemes or ())[: 3 if model.num_experts else 1] if scheme is not None]
        stored = tuple(scheme.replaced(name="", method="") for scheme in used)
        if used and min(scheme.weight_bits for scheme in used) >= LEAST_BITS and stored not in seen:
            seen.add(stored)
            yield method


def _kv_dtypes(space: SearchSpace, model: ModelSpec) -> tuple[str | None, ...]:
    """
    What the checkpoint itself asks for is not tried twice.
    """
    if space.engine_args.kv_cache_dtype is not None:
        return (None,)
    wanted = space.kv_cache_dtype if space.policy.allow_kv_cache_dtype else ("auto",)
    if "auto" in wanted and (model.kv_cache_dtype or "").startswith("fp8"):
        wanted = tuple(word for word in wanted if word not in ("fp8", "fp8_e4m3"))
    return tuple(None if word == "auto" else word for word in wanted)


def _layouts(space: SearchSpace, model: ModelSpec, cluster: Cluster) -> Iterator[dict[str, Any]]:
    """
    Sizes whose product is the number of GPUs; tensor parallelism stays inside a node unless a size is given.
    """
    args, total = space.engine_args, cluster.total_gpus
    tensors = _sizes(args.tensor_parallel_size, space.tensor_parallel_size, cluster.num_gpus)
    pipelines = _sizes(args.pipeline_parallel_size, space.pipeline_parallel_size, total)
    replicas = _sizes(args.data_parallel_size, space.data_parallel_size, total)
    for tensor, pipeline, data in product(tensors, pipelines, replicas):
        if tensor * pipeline * data != total:
            continue
        sizes = {"tensor_parallel_size": tensor, "pipeline_parallel_size": pipeline, "data_parallel_size": data}
        for expert in _experts(space, model, ranks=tensor * data):
            yield {**sizes, "enable_expert_parallel": expert}


def _sizes(fixed: int | None, wanted: tuple[int, ...], most: int) -> tuple[int, ...]:
    if fixed is not None:
        return (fixed,)
    return wanted or tuple(size for size in range(1, most + 1) if most % size == 0)


def _experts(space: SearchSpace, model: ModelSpec, ranks: int) -> tuple[bool | None, ...]:
    if space.engine_args.enable_expert_parallel is not None:
        return (None,)
    if not model.num_experts or ranks == 1:
        return (None,)
    return tuple(True if expert else None for expert in space.enable_expert_parallel)
