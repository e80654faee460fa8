"""
Answers a `PlanRequest`: finds the GPU and the model that it names, and plans.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from vllm_sizing.errors import InvalidValueError
from vllm_sizing.specs.gpu import Cluster

if TYPE_CHECKING:
    from vllm_sizing.specs.engine import EngineArgs
    from vllm_sizing.specs.model import ModelSpec
    from vllm_sizing.specs.plan import Plan
    from vllm_sizing.specs.request import PlanRequest


def plan_request(request: PlanRequest, *, allow_unsafe: bool = False) -> Plan:
    """
    The plan for a request.  Reads what the request names: the driver, files, the Hub.

    Args:
        allow_unsafe: Accept arguments that make vLLM load code or open files to clients; the outputs warn.

    Raises:
        SizingError: Something that the request names is unknown, cannot be read or would be
            refused by vLLM.
    """
    engine_args = checked_args(request, allow_unsafe=allow_unsafe)
    cluster = _hardware(request)
    model = requested_model(request)  # Last: what is misspelt above is told before the Hub is asked.

    from vllm_sizing.sizing.planner import plan

    answer = partial(
        plan,
        model,
        cluster.gpu,
        request.workload,
        num_gpus=cluster.num_gpus,
        num_nodes=cluster.num_nodes,
        interconnect=cluster.interconnect,
        engine_args=engine_args,
        policy=request.policy,
        vllm_version=request.vllm_version,
    )
    first = answer()
    if first.fits or model.rough or not (others := other_checkpoints(model)):
        return first
    return answer(siblings=others)


def checked_args(request: PlanRequest, *, allow_unsafe: bool = False) -> EngineArgs:
    """
    The engine arguments, each known to the version of vLLM that is planned for, and none of them a secret.
    """
    args = request.engine_args
    if args.revision is None and request.revision is not None:
        args = attrs.evolve(args, revision=request.revision)
    fixed = args.fixed()
    if not fixed:
        return args

    from vllm_sizing.catalog.arguments import check_extra_args, refuse_secrets, refuse_unsafe
    from vllm_sizing.catalog.flag_values import check_value
    from vllm_sizing.catalog.flags import check_flag, flag_table

    extra = fixed.pop("extra_args", ())
    check_extra_args(extra, request.vllm_version, args, allow_unsafe=allow_unsafe)
    refuse_secrets(map(str, fixed.values()))
    for name, value in fixed.items():
        flag = check_flag(name, request.vllm_version)
        check_value(flag, value, flag_table(request.vllm_version).release)
        if not allow_unsafe and name != "trust_remote_code":
            refuse_unsafe(flag, value)
    return args


def other_checkpoints(model: ModelSpec) -> tuple[ModelSpec, ...]:
    """
    The model's other checkpoints in the catalog, to be proposed if this one does not fit.
    """
    from vllm_sizing.catalog.models import siblings
    from vllm_sizing.sources.load import load_model

    return tuple(load_model(name) for name in siblings(model.name))


def requested_model(request: PlanRequest) -> ModelSpec:
    """
    The model that is named, or a rough one of the size that is given.
    """
    if request.params_b is not None:
        from vllm_sizing.architectures import model_from_params

        return model_from_params(request.params_b, name=request.model)

    from vllm_sizing.sizing.additions import draft_reference, speculation
    from vllm_sizing.sources.load import load_model
    from vllm_sizing.specs.engine import thaw

    args = request.engine_args
    facts: dict[str, Any] = {}
    if args.hf_overrides:
        facts["hf_overrides"] = thaw(args.hf_overrides)
    draft = draft_reference(args)
    if draft is not None:
        facts |= {"draft": draft, "draft_method": speculation(args).get("method")}
    return load_model(request.model, revision=request.revision, **facts)


def _hardware(request: PlanRequest) -> Cluster:
    """
    The GPUs of this machine or of the catalog, with what the request says better.
    """
    if request.gpu.strip().lower() == "auto":
        cluster = this_machine(request.num_gpus)
    else:
        from vllm_sizing.catalog.gpus import find_gpu

        cluster = Cluster(gpu=find_gpu(request.gpu), num_gpus=request.num_gpus or 1)
    gpu = cluster.gpu
    if request.memory_bytes is not None:
        gpu = attrs.evolve(gpu, memory_bytes=request.memory_bytes, free_memory_bytes=None)
    return Cluster(
        gpu=gpu,
        num_gpus=cluster.num_gpus,
        num_nodes=request.num_nodes,
        interconnect=request.interconnect or cluster.interconnect,
    )


def this_machine(num_gpus: int | None) -> Cluster:
    """
    The GPUs of this machine, all of them for None.
    """
    from vllm_sizing.sources.gpus import detect_machine

    cluster = detect_machine().cluster()
    if num_gpus is None:
        return cluster
    if num_gpus > cluster.num_gpus:
        message = (
            f"num_gpus is {num_gpus}, but this machine has {cluster.num_gpus} that can be joined; "
            "name the kind of GPU to plan for other machines, for example gpu=h100-sxm"
        )
        raise InvalidValueError(message, field="num_gpus", value=num_gpus)
    return attrs.evolve(cluster, num_gpus=num_gpus)
