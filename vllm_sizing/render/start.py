"""
How long a start may take, and what the server's processes are told about it.

Source: vLLM 0.33 ``envs.py`` and ``v1/engine/core_client.py``: front ends that start beside the engines give up
after ``VLLM_ENGINE_READY_TIMEOUT_S``, 600 s if it is not set.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from vllm_sizing.render.argv import extra_settings, is_folder
from vllm_sizing.render.nodes import count_nodes
from vllm_sizing.units import GB, ceil_div

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

DOWNLOAD_BYTES_PER_S = GB // 8  # 1 Gbit/s
_LOAD_BYTES_PER_S = GB  # a network disk or one SATA SSD
_WARM_UP_S = 300  # compilation, profiling and graph capture; measured starts took 1 to 5 minutes
_EAGER_WARM_UP_S = 60
_LEAST_S = 600


class Start(NamedTuple):
    """
    The longest start that is not a fault.

    Attributes:
        checkpoint_bytes: What is downloaded and loaded.

        note: The formula.
    """

    checkpoint_bytes: int
    seconds: int
    note: str


def start_budget(plan: Plan) -> Start:
    """
    Download, loading and warming up, half as much again.
    """
    replicas = plan.engine_args.data_parallel_size or 1
    checkpoint = plan.model.checkpoint_bytes or bytes_per_gpu(plan) * plan.num_gpus // replicas
    download = 0 if is_folder(plan.model.name) else ceil_div(checkpoint, DOWNLOAD_BYTES_PER_S)
    load = ceil_div(checkpoint, _LOAD_BYTES_PER_S)
    warm_up = _EAGER_WARM_UP_S if plan.engine_args.enforce_eager else _WARM_UP_S
    seconds = max(_LEAST_S, ceil((download + load + warm_up) * 0.15) * 10)
    note = (
        f"1.5 x ({download} s download at 1 Gbit/s + {load} s loading at 1 GB/s + {warm_up} s compilation, "
        f"warm-up and graphs), at least {_LEAST_S} s"
    )
    return Start(checkpoint, seconds, note)


def bytes_per_gpu(plan: Plan) -> int:
    """
    What a worker reads from files.
    """
    memory = plan.memory
    loaded = memory.weights_bytes_per_gpu + memory.lora_bytes + memory.draft_bytes
    return loaded + memory.offloaded_bytes_per_gpu


def processes(plan: Plan) -> tuple[int, int]:
    """
    API servers and engines of the first node.
    """
    engines = max(1, ceil_div(plan.engine_args.data_parallel_size or 1, count_nodes(plan)))
    return int(extra_settings(plan).get("api_server_count") or engines), engines


def server_environment(plan: Plan) -> tuple[tuple[str, str], ...]:
    """
    Variables of vLLM that are neither secrets nor folders.
    """
    servers, _ = processes(plan)
    variables = (("VLLM_NO_USAGE_STATS", "1"),)
    if servers == 1 and (plan.engine_args.data_parallel_size or 1) == 1:
        return variables
    return (*variables, ("VLLM_ENGINE_READY_TIMEOUT_S", str(start_budget(plan).seconds)))
