"""
`plan`: a model, a GPU and a workload go in, a `Plan` comes out.
"""

from __future__ import annotations

from vllm_sizing.errors import InvalidValueError, UnsupportedError
from vllm_sizing.sizing.decisions import decide
from vllm_sizing.sizing.defaults import parse_version, rules_for
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.gpu import Cluster, GpuSpec
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.specs.plan import Plan
from vllm_sizing.specs.request import LATEST_VLLM, Policy
from vllm_sizing.specs.workload import Workload


def plan(
    model: ModelSpec,
    gpu: GpuSpec,
    workload: Workload | None = None,
    *,
    num_gpus: int = 1,
    num_nodes: int = 1,
    interconnect: str | None = None,
    engine_args: EngineArgs | None = None,
    policy: Policy | None = None,
    vllm_version: str = LATEST_VLLM,
    siblings: tuple[ModelSpec, ...] = (),
) -> Plan:
    """
    Plan a deployment; a plan that does not fit is a `Plan` with ``fits=False``, never an error.

    Args:
        model: What to serve.

        gpu: On which kind of GPU.

        workload: What will be asked of it; None: one request at a time of 1024 + 256 tokens.

        num_gpus: Per node.

        num_nodes: All alike.

        interconnect: Inside a node: ``nvlink``, ``pcie`` or ``unknown``; None: what the GPU has.

        engine_args: What is fixed; everything else is decided.

        policy: Goal and limits of the decisions.

        vllm_version: Whose rules hold.

        siblings: The same model in other quantizations that exist, to propose if this one does not fit.

    Raises:
        UnsupportedError: vLLM would refuse these settings whatever the memory.

        InvalidValueError: An argument cannot be meant.

    >>> import vllm_sizing as vs
    >>> p = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> p.fits, p.oom_risk, p.engine_args.max_model_len
    (True, 'low', 40960)
    """
    for name, value, kind in (
        ("model", model, ModelSpec), ("gpu", gpu, GpuSpec), ("workload", workload, Workload | None),
        ("engine_args", engine_args, EngineArgs | None), ("policy", policy, Policy | None),
    ):  # fmt: skip
        if not isinstance(value, kind):
            message = f"{name} is {value!r:.60}; it must be a {getattr(kind, '__name__', kind)}"
            raise InvalidValueError(message, field=name, value=value)
    args = engine_args or EngineArgs()
    check_length(model, args)
    return decide(
        model=model,
        cluster=Cluster(gpu=gpu, num_gpus=num_gpus, num_nodes=num_nodes, interconnect=interconnect),
        workload=workload or Workload(),
        args=args,
        policy=policy or Policy(),
        rules=rules_for(parse_version(vllm_version)),
        vllm_version=vllm_version,
        siblings=siblings,
    )


def check_length(model: ModelSpec, args: EngineArgs) -> None:
    """
    Refuse requests that are longer than the model's config allows.
    """
    limit = model.max_model_len
    if args.max_model_len is not None and args.max_model_len > limit:
        message = (
            f"max_model_len is {args.max_model_len:,}, above the {limit:,} of the model's config, which vLLM refuses; "
            f"give at most {limit:,}"
        )
        raise UnsupportedError(message, field="max_model_len", value=args.max_model_len)
