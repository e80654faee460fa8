"""
From names to a `SearchSpace`: finds the models, the GPUs and their prices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from vllm_sizing.catalog.gpus import find_gpu
from vllm_sizing.catalog.prices import listed_prices
from vllm_sizing.errors import InvalidValueError
from vllm_sizing.sources.request import checked_args, other_checkpoints, requested_model, this_machine
from vllm_sizing.specs.price import Price
from vllm_sizing.specs.search import SearchSpace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vllm_sizing.specs.gpu import GpuSpec
    from vllm_sizing.specs.request import PlanRequest

_AUTO = "auto"


def load_space(
    request: PlanRequest,
    *,
    gpus: Sequence[str] = (),
    own_prices: Mapping[str, float] | None = None,
    checkpoints: bool = True,
    **tried: Any,
) -> SearchSpace:
    """
    The space around a request.  Reads what the request names: the driver, files, the Hub.

    Args:
        gpus: Names; without any, the request's GPU, and for ``auto`` every GPU whose price is known.

        own_prices: US dollars per GPU and hour by name, instead of the list's.

        checkpoints: Try the model's other checkpoints in the catalog, too.

        tried: Further fields of the space.

    >>> from vllm_sizing.specs.request import PlanRequest
    >>> space = load_space(PlanRequest(model="Qwen/Qwen3-14B"), gpus=["l4", "l40s"])
    >>> len(space.models), [gpu.name for gpu in space.gpus]
    (4, ['l4', 'l40s'])
    """
    own = tuple(Price(gpu=find_gpu(name).name, usd_per_gpu_hour=usd) for name, usd in (own_prices or {}).items())
    prices = (*own, *listed_prices())
    names = tuple(gpus) or (() if request.gpu.strip().lower() == _AUTO else (request.gpu,))
    names = names or tuple(dict.fromkeys(price.gpu for price in prices))
    found = tuple(_gpu(name, request) for name in names)
    for price in own:
        if price.gpu not in [gpu.name for gpu in found]:
            known = ", ".join(gpu.name for gpu in found)
            message = f"a price is given for {price.gpu}, which is not tried; the GPUs to try are {known}"
            raise InvalidValueError(message, field="prices", value=price.gpu)
    args = checked_args(request)
    # Last: what is misspelt above is told before the Hub is asked.
    model = requested_model(request)
    others = other_checkpoints(model) if checkpoints and not model.rough else ()
    return SearchSpace(
        models=(model, *others),
        gpus=found,
        workload=request.workload,
        interconnect=request.interconnect,
        engine_args=args,
        policy=request.policy,
        vllm_version=request.vllm_version,
        prices=prices,
        **({"num_nodes": request.num_nodes} | _counts(names, request) | tried),
    )


def _gpu(name: str, request: PlanRequest) -> GpuSpec:
    gpu = this_machine(None).gpu if name.strip().lower() == _AUTO else find_gpu(name)
    if request.memory_bytes is not None:
        gpu = attrs.evolve(gpu, memory_bytes=request.memory_bytes, free_memory_bytes=None)
    return gpu


def _counts(names: Sequence[str], request: PlanRequest) -> dict[str, Any]:
    """
    The numbers of GPUs to try, where the request says something of them.
    """
    if request.num_gpus is not None:
        return {"num_gpus": request.num_gpus}
    if [name.strip().lower() for name in names] != [_AUTO]:
        return {}
    most = this_machine(None).num_gpus
    return {"num_gpus": tuple(sorted({1, most, *(size for size in (2, 4, 8) if size < most)}))}
