"""
The budget of the fullest GPU: from what vLLM requests to what is left for the KV cache.

Source: vLLM 0.33 ``v1/worker/gpu_worker.py:Worker.determine_available_memory``,
``utils/mem_utils.py:memory_profiling``; earlier releases through `defaults.Rules`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import attrs

from vllm_sizing.sizing.additions import draft_bytes, draft_method, drafts, lora_bytes
from vllm_sizing.sizing.kv_cache import CacheLayout, cache_layout
from vllm_sizing.sizing.overhead import Overhead, Start, estimate_overhead
from vllm_sizing.sizing.setup import Setup
from vllm_sizing.sizing.weights import offloaded_bytes, stage_weights
from vllm_sizing.specs.model import CacheLayer, ModelSpec
from vllm_sizing.specs.plan import Estimate, MemoryBudget, MemoryPart
from vllm_sizing.specs.value import Value
from vllm_sizing.units import GIB

DEVIATIONS_OF_80_PERCENT = 1.2816  # An 80 % interval reaches so many standard deviations.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Numbers(Value):
    """
    The memory of one start, before anything is said about requests.

    Attributes:
        available_bytes: For the KV cache, by pipeline stage; low, mid and high.

        exact: The KV pool was given (``kv_cache_memory_bytes``), nothing is modelled.
    """

    memory: MemoryBudget
    cache: CacheLayout
    available_bytes: tuple[int, ...]
    available_low: tuple[int, ...]
    available_high: tuple[int, ...]
    exact: bool

    @property
    def available_cautious(self) -> tuple[int, ...]:
        """
        A little below the low end, so that an unlikely fault elsewhere is covered as well.
        """
        ends = zip(self.available_bytes, self.available_low, strict=True)
        return tuple(mid - (mid - low) * 6 // 5 for mid, low in ends)


def measure(setup: Setup, max_model_len: int, *, headroom_bytes: int = 0, overhead_bytes: int | None = None) -> Numbers:
    """
    Every byte of the fullest GPU and the cache layout.

    Raises:
        UnsupportedError: vLLM would refuse these settings.
    """
    model, gpu, args, layout = setup.model, setup.gpu, setup.args, setup.layout
    stages = stage_weights(model, layout, setup.loading)
    lora = lora_bytes(model, layout, args, setup.dtype)
    draft, draft_buffers = _draft(setup)
    cache = cache_layout(
        _cache_layers(model, setup),
        model.num_layers,
        layout.pipeline,
        setup.cache,
        setup.attention,
        setup.rules,
    )
    overhead = overhead_of(setup, max_model_len, cache.block_size)
    if overhead_bytes is not None:
        overhead = _fixed(overhead_bytes)
    elif draft_buffers:
        overhead = attrs.evolve(overhead, resident_bytes=overhead.resident_bytes + draft_buffers)
    requested = gpu.memory_bytes * setup.gpu_memory_utilization
    requested_bytes = math.ceil(requested) if setup.rules.ceil_requested else int(requested)
    requested_bytes = min(requested_bytes, gpu.memory_bytes)
    moved = [(0, 0)] * len(stages)
    if args.cpu_offload_gb:
        limit = int(args.cpu_offload_gb * GIB)
        moved = [offloaded_bytes(model, layout, setup.loading, stage, limit) for stage in range(len(stages))]
    loaded = [stage.num_bytes + lora - offloaded for stage, (offloaded, _) in zip(stages, moved, strict=True)]
    loaded[-1] += draft
    beside = [0] * len(stages)
    if overhead_bytes is None:
        beside = [stage.beside_bytes - offloaded for stage, (_, offloaded) in zip(stages, moved, strict=True)]
    loaded = [amount + extra for amount, extra in zip(loaded, beside, strict=True)]
    fullest = max(range(len(stages)), key=lambda stage: loaded[stage])
    offloaded = moved[fullest][0]
    given = args.kv_cache_memory_bytes
    low, mid, high = _spent(overhead)
    if not cache.groups:
        given = 0  # v1/engine/core.py:_initialize_kv_caches asks for no memory.
    if given is not None:
        available = lows = highs = (given,) * len(stages)
    else:
        available = tuple(requested_bytes - amount - mid for amount in loaded)
        lows = tuple(amount - (high - mid) for amount in available)
        highs = tuple(amount + (mid - low) for amount in available)
    staying = overhead.resident_bytes + beside[fullest]
    memory = MemoryBudget(
        total_bytes=gpu.memory_bytes,
        requested_bytes=requested_bytes,
        weights_bytes_per_gpu=stages[fullest].num_bytes - offloaded,
        lora_bytes=lora,
        draft_bytes=draft,
        activation_peak_bytes=int(overhead.activation_peak.mid),
        non_torch_bytes=int(overhead.non_torch.mid) + staying,
        cuda_graph_bytes=int(overhead.cuda_graphs.mid),
        cuda_graph_estimate_bytes=overhead.cuda_graph_estimate_bytes,
        kv_cache_bytes=available[fullest],
        activation_peak_bytes_interval=overhead.activation_peak,
        non_torch_bytes_interval=_shifted(overhead.non_torch, staying),
        cuda_graph_bytes_interval=overhead.cuda_graphs,
        kv_cache_bytes_interval=Estimate(
            lows[fullest], available[fullest], highs[fullest],
            "exact" if given is not None else "modelled overhead, independent errors",
        ),
        offloaded_bytes_per_gpu=offloaded,
        loading_bytes_per_gpu=beside[fullest],
        weight_parts=tuple(
            MemoryPart(name=name, num_bytes=amount, quality="rough" if model.rough else "exact")
            for name, amount in stages[fullest].parts
        ),
    )  # fmt: skip
    return Numbers(
        memory=memory,
        cache=cache,
        available_bytes=available,
        available_low=lows,
        available_high=highs,
        exact=given is not None,
    )


def _draft(setup: Setup) -> tuple[int, int]:
    if not drafts(setup.args):
        return 0, 0
    return draft_bytes(setup.model, draft_method(setup.model, setup.args, setup.layout), setup.layout, setup.loading)


def _cache_layers(model: ModelSpec, setup: Setup) -> tuple[CacheLayer, ...]:
    if model.draft is not None and drafts(setup.args):
        return model.cache_layers + model.draft.cache_layers
    return model.cache_layers


def overhead_of(setup: Setup, max_model_len: int, block_size: int) -> Overhead:
    """
    The modelled parts of a start.
    """
    layout = setup.layout
    return _overhead(
        Start(
            model=setup.model,
            gpu=setup.gpu,
            rules=setup.rules,
            tensor=layout.tensor,
            pipeline=layout.pipeline,
            data=layout.data,
            expert=layout.expert,
            dtype=setup.dtype,
            kv_cache_dtype=setup.cache.kv_cache_dtype,
            max_num_batched_tokens=setup.max_num_batched_tokens,
            max_num_seqs=setup.max_num_seqs,
            max_model_len=max_model_len,
            block_size=block_size,
            capture_sizes=setup.capture_sizes,
            v2_runner=setup.v2_runner,
            profile_encoders=setup.profile_encoders,
            speculative_tokens=setup.speculative_tokens,
            pooling=setup.pooling,
        )
    )


@lru_cache(maxsize=512)
def _overhead(start: Start) -> Overhead:
    return estimate_overhead(start)


def _fixed(overhead_bytes: int) -> Overhead:
    """
    The user's own figure for everything that is modelled.
    """
    whole = Estimate(overhead_bytes, overhead_bytes, overhead_bytes, "given by the user")
    nothing = Estimate(0, 0, 0, "included in the user's figure")
    return Overhead(
        activation_peak=whole,
        non_torch=nothing,
        cuda_graphs=nothing,
        cuda_graph_estimate_bytes=0,
        resident_bytes=0,
    )


def _spent(overhead: Overhead) -> tuple[int, int, int]:
    """
    What the modelled parts take from the KV cache: low, mid, high, errors taken as independent.
    """
    parts = (overhead.activation_peak, overhead.non_torch)
    mid = int(sum(part.mid for part in parts)) + overhead.cuda_graph_estimate_bytes + overhead.resident_bytes
    subtracted = overhead.cuda_graphs if overhead.cuda_graph_estimate_bytes else None
    uncertain = (*parts, subtracted) if subtracted else parts
    below = math.sqrt(sum((part.mid - part.low) ** 2 for part in uncertain))
    above = math.sqrt(sum((part.high - part.mid) ** 2 for part in uncertain))
    return mid - int(below), mid, mid + int(above)


def _shifted(estimate: Estimate, amount: int) -> Estimate:
    if not amount:
        return estimate
    return Estimate(estimate.low + amount, estimate.mid + amount, estimate.high + amount, estimate.basis)
