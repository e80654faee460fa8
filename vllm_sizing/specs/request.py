"""
Everything one plan needs, by name: what `plan` takes and what a profile stores.
"""

from __future__ import annotations

import attrs

from vllm_sizing.specs.checks import (
    above_zero_or_none,
    not_negative,
    not_negative_or_none,
    one_of,
    positive,
    positive_or_none,
    text,
)
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.value import Value
from vllm_sizing.specs.workload import Workload

LATEST_VLLM = "0.33.0"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Policy(Value):
    """
    What the planner may decide and what it must keep free.

    Attributes:
        goal: ``balanced``, ``latency`` or ``throughput``.

        headroom_bytes: Left free on each GPU beside what vLLM requests, for other processes.

        overhead_bytes: Replaces the modelled activation peak, non-torch memory and CUDA graph
            estimate by the user's own figure, per GPU; None: model them.

        allow_quantization: An on-line method may be proposed when the model does not fit.

        allow_kv_cache_dtype: A smaller KV dtype may be proposed when the model does not fit.
    """

    goal: str = attrs.field(default="balanced", validator=one_of("balanced", "latency", "throughput"))
    headroom_bytes: int = attrs.field(default=0, validator=not_negative)
    overhead_bytes: int | None = attrs.field(default=None, validator=not_negative_or_none)
    allow_quantization: bool = True
    allow_kv_cache_dtype: bool = True


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PlanRequest(Value):
    """
    One question to the planner, by names instead of values; what ``--profile`` reads and writes.

    Attributes:
        model: Hub id, catalog name, folder or config.json.

        gpu: Catalog name or alias, or ``auto``: the GPUs of this machine.

        num_gpus: Per node; None: every GPU of this machine for ``auto``, else 1.

        memory_bytes: Of one GPU, instead of the catalog's or the driver's figure.

        params_b: Billions of parameters: a rough model of this size instead of reading ``model``.
    """

    model: str = attrs.field(validator=text)
    revision: str | None = None
    gpu: str = attrs.field(default="auto", validator=text)
    num_gpus: int | None = attrs.field(default=None, validator=positive_or_none)
    num_nodes: int = attrs.field(default=1, validator=positive)
    interconnect: str | None = attrs.field(default=None, validator=one_of("nvlink", "pcie", "unknown", or_none=True))
    memory_bytes: int | None = attrs.field(default=None, validator=positive_or_none)
    params_b: float | None = attrs.field(default=None, validator=above_zero_or_none)
    workload: Workload = attrs.field(factory=Workload)
    engine_args: EngineArgs = attrs.field(factory=EngineArgs)
    policy: Policy = attrs.field(factory=Policy)
    vllm_version: str = attrs.field(default=LATEST_VLLM, validator=text)
