"""
Which bytes of the weights each rank holds.

Exact: the sum over the tensor list, divided as vLLM's layers divide them.
Source: vLLM 0.33 ``model_executor/layers/linear.py``, ``vocab_parallel_embedding.py``,
``fused_moe/layer.py`` and the ``create_weights`` of each quantization method.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from math import prod

import attrs

from vllm_sizing.sizing.layout import Layout, part_on_rank, stage_bounds
from vllm_sizing.sizing.storage import ExpertPadding, fitted, scheme_bytes
from vllm_sizing.specs.model import ModelSpec, Part, WeightTensor
from vllm_sizing.specs.quantization import Scheme
from vllm_sizing.specs.value import Value
from vllm_sizing.units import DTYPE_BYTES, MIB, ceil_div, round_up

VOCAB_PADDING = 64  # vocab_parallel_embedding.py: DEFAULT_VOCAB_PADDING_SIZE
_OWN_SEGMENT_BYTES, _SEGMENT_STEP_BYTES, _SPLIT_OFF_BYTES = 10 * MIB, 2 * MIB, MIB


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Loading(Value):
    """
    What decides the bytes of a tensor beside the tensor itself.

    Attributes:
        dtype: Of the model.

        max_num_batched_tokens: For buffers that are as long as a batch.

        online: Schemes that replace plain matrices: (linear, w13, w2); None: load as stored.

        expert_padding: What the kernels of fused experts round up to.

        replicated_towers: Encoders are not divided (``mm_encoder_tp_mode=data``).

        skipped_towers: Encoders that are not loaded.

        towers_everywhere: Every pipeline stage holds the encoders, not only the first (V1 runner).

        router_dtype: Of routers that compute in float32 whatever their dtype (``layers/fused_moe/router``:
            ``GateLinear``); None: the model's.

        whole_segments: What the driver gave is what counts, not what torch allocated (from 0.27).

        older_ropes: See `WeightTensor.older_factor`.

        drafts: The checkpoint's own draft layers speculate.
    """

    dtype: str
    max_num_batched_tokens: int = 0
    online: tuple[Scheme | None, Scheme | None, Scheme | None] | None = None
    expert_padding: tuple[ExpertPadding, ...] = ()
    replicated_towers: bool = False
    skipped_towers: frozenset[str] = frozenset()
    towers_everywhere: bool = False
    router_dtype: str | None = None
    whole_segments: bool = False
    older_ropes: bool = False
    drafts: bool = False


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StageWeights(Value):
    """
    The weights of one pipeline stage, on one rank.

    Attributes:
        num_bytes: All of them.

        parts: By part of the model: (name, bytes).

        beside_bytes: What loading takes beside them: `rounding_bytes`, and the 16-bit copy that latent
            attention keeps of a quantized ``kv_b_proj`` (``layers/attention/mla_attention.py``).
    """

    num_bytes: int
    parts: tuple[tuple[str, int], ...]
    beside_bytes: int = 0


@lru_cache(maxsize=512)
def stage_weights(model: ModelSpec, layout: Layout, loading: Loading) -> tuple[StageWeights, ...]:
    """
    Bytes on a rank of every pipeline stage.

    Raises:
        UnsupportedError: A size does not divide by the tensor-parallel size.
    """
    return weights_of(model.tensors, model.num_layers, layout, loading)


def weights_of(
    tensors: tuple[WeightTensor, ...], num_layers: int, layout: Layout, loading: Loading
) -> tuple[StageWeights, ...]:
    """
    Bytes of a tensor list on a rank of every pipeline stage.
    """
    bounds = stage_bounds(num_layers, layout.pipeline)
    parts: list[dict[str, int]] = [{} for _ in bounds]
    beside = [0] * len(bounds)
    for tensor in tensors:
        if tensor.tower in loading.skipped_towers:
            continue
        if tensor.with_draft and not loading.drafts:
            continue
        single = tensor_bytes(tensor, layout, loading)
        extra = _beside(tensor, single, layout, loading)
        label = part_label(tensor)
        everywhere = loading.towers_everywhere and tensor.tower != "language" and len(bounds) > 1
        resident = attrs.evolve(tensor, stage="all") if everywhere and tensor.stage != "spread" else tensor
        for stage, (start, end) in enumerate(bounds):
            number = num_on_stage(resident, stage, start, end, len(bounds))
            if number:
                parts[stage][label] = parts[stage].get(label, 0) + single * number
                beside[stage] += extra * number
    return tuple(
        StageWeights(
            num_bytes=sum(stage.values()),
            parts=tuple(sorted(stage.items(), key=lambda item: -item[1])),
            beside_bytes=extra,
        )
        for stage, extra in zip(parts, beside, strict=True)
    )


def _beside(tensor: WeightTensor, num_bytes: int, layout: Layout, loading: Loading) -> int:
    """
    See `StageWeights.beside_bytes`; of a format with scales the values count, its largest tensor.
    """
    scheme = _scheme_of(tensor, loading)
    extra = 0
    if scheme is not None:
        values = prod(local_shape(tensor, layout.tensor, layout.expert_ranks))
        num_bytes = min(num_bytes, values * scheme.weight_bits // 8)
        if "kv_b_proj" in tensor.name:
            extra = values * DTYPE_BYTES[loading.dtype]
    return extra + rounding_bytes(num_bytes, whole_segments=loading.whole_segments)


@lru_cache(maxsize=256)
def has_batch_buffers(model: ModelSpec) -> bool:
    """
    Whether a tensor, of the draft too, is as long as a batch.
    """
    tensors = model.tensors + (model.draft.tensors if model.draft else ())
    return any(tensor.per_batched_token for tensor in tensors)


def rounding_bytes(num_bytes: int, *, whole_segments: bool = False) -> int:
    """
    What torch's caching allocator adds to a tensor.

    A large tensor gets a segment of its own, in steps of 2 MiB.  A rest of up to 1 MiB stays part of the
    tensor's block; a larger one is split off, and only lost to those who count segments.
    Source: torch 2.13 ``c10/cuda/CUDACachingAllocator.cpp`` (kMinLargeAlloc, kRoundLarge, should_split).

    >>> rounding_bytes(259 * 2**20), rounding_bytes(258 * 2**20), rounding_bytes(9 * 2**20 + 1)
    (1048576, 0, 0)
    """
    if num_bytes < _OWN_SEGMENT_BYTES:
        return 0
    rest = -num_bytes % _SEGMENT_STEP_BYTES
    return rest if whole_segments or rest <= _SPLIT_OFF_BYTES else 0


def offloaded_bytes(
    model: ModelSpec, layout: Layout, loading: Loading, stage: int, limit_bytes: int
) -> tuple[int, int]:
    """
    (weights that ``cpu_offload_gb`` moves to the host, what they had beside them).

    Layer by layer, parameter by parameter, until the limit is reached: the last one goes over it.
    Source: vLLM 0.33 ``model_executor/offloader/uva.py``.
    """
    start, end = stage_bounds(model.num_layers, layout.pipeline)[stage]
    moved = beside = 0
    for layer in range(start, end):
        for tensor in model.tensors:
            if tensor.tower != "language" or tensor.role == "buffer" or layer not in tensor.layers:
                continue
            for _ in range(tensor.count):
                if moved >= limit_bytes:
                    return moved, beside
                single = tensor_bytes(tensor, layout, loading)
                moved += single
                beside += _beside(tensor, single, layout, loading)
    return moved, beside


def num_on_stage(tensor: WeightTensor, stage: int, start: int, end: int, num_stages: int) -> int:
    """
    How many of a tensor live on a pipeline stage.
    """
    if tensor.layers:
        number = bisect_left(tensor.layers, end) - bisect_left(tensor.layers, start)
        return (min(number, 1) if tensor.stage == "owners" else number) * tensor.count
    first, last = stage == 0, stage == num_stages - 1
    if tensor.stage == "spread":
        return stage_bounds(tensor.count, num_stages)[0][1] if first else 0
    here = {"first": first, "last": last, "ends": first or last, "later": last and not first, "all": True}[tensor.stage]
    return tensor.count if here else 0


_LABELS = {
    "experts": "experts", "embedding": "embedding", "lm_head": "LM head", "classifier": "classifier",
    "buffer": "buffers",
}  # fmt: skip


def part_label(tensor: WeightTensor) -> str:
    """
    The part of the model that a tensor belongs to, for people.
    """
    if tensor.tower != "language":
        return f"{tensor.tower} encoder"
    if tensor.role in _LABELS:
        return _LABELS[tensor.role]
    if "mlp" in tensor.name or "feed_forward" in tensor.name or "ffn" in tensor.name:
        return "MLP"
    if tensor.role == "linear":
        return "attention"
    return "norms and other"


def tensor_bytes(tensor: WeightTensor, layout: Layout, loading: Loading) -> int:
    """
    Bytes of one such tensor on a rank that holds it.
    """
    tensor_size = layout.expert_tensor if tensor.role == "experts" else layout.tensor
    if tensor.tower != "language":
        whole = loading.replicated_towers and tensor.data_parallel
        tensor_size = 1 if whole or tensor.encoder_heads % tensor_size else tensor_size
    shape = local_shape(tensor, tensor_size, layout.expert_ranks)
    scheme = _scheme_of(tensor, loading)
    rule = "plain" if scheme is None else scheme.padding
    padding = _NO_PADDING
    if tensor.role == "experts" and rule:
        padding = next((found for found in loading.expert_padding if found.rule == rule), padding)
        shape = (shape[0], *padding.shape(tensor, shape[1], shape[2]))
    if scheme is None:
        elements = prod(shape)
        if tensor.per_batched_token:
            elements *= loading.max_num_batched_tokens
        if loading.older_ropes:
            elements *= tensor.older_factor
        dtype = loading.router_dtype if tensor.dtype == "router" else tensor.dtype
        return elements * DTYPE_BYTES[dtype or loading.dtype]
    scheme = fitted(scheme, tensor, shape, tensor_size)
    num_experts, rows, cols = shape if tensor.role == "experts" else (1, *shape)
    num_parts = max(len(tensor.shard.parts), 1)
    total = scheme_bytes(scheme, rows, cols, num_parts=num_parts, full_cols=tensor.shape[-1])
    return num_experts * (total + padding.more_bytes(scheme, rows, cols))


_NO_PADDING = ExpertPadding(rule="")


def _scheme_of(tensor: WeightTensor, loading: Loading) -> Scheme | None:
    """
    As the checkpoint stores it, or as an on-line method converts it.
    """
    online = loading.online
    if tensor.scheme is not None or online is None or not tensor.quantizable:
        return tensor.scheme
    if tensor.role != "experts":
        return online[0]
    return online[1] if tensor.shard.axis == 1 else online[2]


@lru_cache(maxsize=8192)
def local_shape(tensor: WeightTensor, tensor_size: int, expert_ranks: int) -> tuple[int, ...]:
    """
    The tensor's shape on a rank.

    With expert parallelism the first ``experts % ranks`` ranks hold one expert more; theirs is given.
    """
    shape, shard = tensor.shape, tensor.shard
    if shard.kind == "experts" and expert_ranks > 1:
        return (ceil_div(shape[0], expert_ranks), *shape[1:])
    if shard.axis is None:
        return shape
    size = shape[shard.axis]
    if shard.kind == "vocab":
        local = round_up(size, VOCAB_PADDING)
        local = part_on_rank(Part(local), tensor_size, tensor.name)
    else:
        local = sum(part_on_rank(part, tensor_size, tensor.name) for part in shard.parts or (Part(size),))
    local = round_up(local, shard.multiple)
    return (*shape[: shard.axis], local, *shape[shard.axis + 1 :])


__all__ = ["Loading", "StageWeights", "scheme_bytes", "stage_weights", "tensor_bytes", "weights_of"]
