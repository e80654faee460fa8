"""
The work of one rank, counted from the model's own two lists: bytes to read and operations to do.

Exact; what a GPU makes of it is in `performance`.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import attrs

from vllm_sizing.sizing.cache_pages import CacheSettings, attention_token_bytes, conv_token_bytes, state_bytes
from vllm_sizing.sizing.kv_formats import mla_token_bytes
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.sizing.weights import Loading, local_shape, tensor_bytes
from vllm_sizing.specs.model import (
    ChunkedLocal,
    CompressedMla,
    ConvWindow,
    CrossAttention,
    FullAttention,
    IndexKeys,
    MlaAttention,
    ModelSpec,
    RecurrentState,
    SlidingWindow,
    WeightTensor,
)
from vllm_sizing.specs.value import Value
from vllm_sizing.units import ceil_div

SPILLING = frozenset({"bitsandbytes"})  # quantization/bitsandbytes.py: dequantize, then an ordinary product.
SPARSE_TOKENS = 2048  # index_topk of the checkpoints with a sparse indexer; the indexer itself reads all.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Matrices(Value):
    """
    Matrices that are multiplied in one dtype.

    Attributes:
        compute: dtype of the multiplication; ``method``: vLLM's quantization method; ``blocks``: scales by
            block, so that activations are quantized by group on the way.

        num_bytes: Of all of them on a rank.

        spilled_bytes: Unpacked to memory and read again by every step: kernels that multiply 16-bit matrices only.

        flops_per_token: Of one token through all of them.

          narrow: Columns of one expert on a rank; 0 for dense layers.
    """

    compute: str
    method: str
    blocks: bool
    num_bytes: int
    flops_per_token: float
    spilled_bytes: int = 0
    narrow: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CacheRead(Value):
    """
    Cache layers that read alike.

    Attributes:
        bytes_per_token: Of one token of context, all layers together.

        flops_per_token, decode_flops_per_token: Of one query token against one token of context; latent
            attention works on the latent vector when it decodes and on whole heads when it prefills.

        span: Context beyond it is not read; 0: all is.

        state_bytes: Read and written per request instead.
    """

    bytes_per_token: float
    flops_per_token: float
    decode_flops_per_token: float
    span: int = 0
    state_bytes: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Work(Value):
    """
    What one rank does.

    Attributes:
        dense, head: Linear layers of the decoder; the output projection.

        experts: Routed experts, all local ones.

        num_layers, num_moe_layers: On one rank.

        num_split_norms: Layers whose query norm spans all ranks and so needs a collective of its own.

        activation_bytes_per_token: What one collective exchanges per token.

        values_per_token: That all matrices take in and give out.
    """

    dense: tuple[Matrices, ...]
    head: tuple[Matrices, ...]
    experts: tuple[Matrices, ...]
    caches: tuple[CacheRead, ...]
    num_layers: float
    num_moe_layers: float
    num_split_norms: float
    num_experts: int
    num_experts_per_token: int
    activation_bytes_per_token: int
    values_per_token: float = 0.0


@lru_cache(maxsize=512)
def work_of(model: ModelSpec, layout: Layout, loading: Loading, settings: CacheSettings) -> Work:
    """
    The work of an average rank; pipeline stages share the layers evenly.
    """
    kinds: dict[tuple[str, str, str, bool, int], list[float]] = {}
    values_per_token = 0.0
    moe_layers: set[int] = set()
    split_norms: set[int] = set()
    for tensor in model.tensors:
        if tensor.role == "parameter" and tensor.shard.axis is not None and "q_norm" in tensor.name:
            split_norms.update(tensor.layers)
        if tensor.tower != "language" or tensor.role not in ("linear", "lm_head", "experts", "embedding"):
            continue
        role = tensor.role
        if role == "embedding":
            if "tied_embeddings" not in model.traits:
                continue
            role = "lm_head"
        if role == "experts":
            moe_layers.update(tensor.layers)
        compute, method, blocks = _kind(tensor, loading)
        experts = role == "experts"
        local = local_shape(tensor, layout.expert_tensor if experts else layout.tensor, layout.expert_ranks)
        narrow = local[tensor.shard.axis or 1] // max(len(tensor.shard.parts), 1) if experts else 0
        number = max(len(tensor.layers), 1) * tensor.count / (layout.pipeline if tensor.layers else 1)
        # With expert parallelism a rank holds 1/n of the experts and meets 1/n of the tokens' choices.
        met = number * model.num_experts_per_token / layout.expert_ranks if experts else number
        entry = kinds.setdefault((role, compute, method, blocks, narrow), [0.0] * 3)
        entry[0] += tensor_bytes(tensor, layout, loading) * number
        entry[1] += 2.0 * (prod(local[1:]) if experts else prod(local)) * met
        values_per_token += sum(local[-2:]) * met if role != "lm_head" else 0.0
        entry[2] += 4.0 * prod(local) * number if method in SPILLING else 0.0
    found = {
        role: tuple(
            Matrices(
                compute=compute, method=method, blocks=blocks, num_bytes=int(total), flops_per_token=flops,
                spilled_bytes=int(spilled), narrow=narrow,
            )
            for (kind, compute, method, blocks, narrow), (total, flops, spilled) in kinds.items()
            if kind == role
        )
        for role in ("linear", "lm_head", "experts")
    }  # fmt: skip
    return Work(
        dense=found["linear"],
        head=found["lm_head"],
        experts=found["experts"],
        caches=tuple(_cache_reads(model, layout, settings)),
        num_layers=model.num_layers / layout.pipeline,
        num_moe_layers=len(moe_layers) / layout.pipeline,
        num_split_norms=len(split_norms) / layout.pipeline,
        num_experts=model.num_experts,
        num_experts_per_token=model.num_experts_per_token,
        activation_bytes_per_token=2 * model.hidden_size,
        values_per_token=values_per_token,
    )


def _kind(tensor: WeightTensor, loading: Loading) -> tuple[str, str, bool]:
    scheme = tensor.scheme
    if scheme is None and loading.online is not None and tensor.quantizable:
        scheme = loading.online[0] if tensor.role != "experts" else loading.online[1]
    if scheme is None:
        return "bf16", "", False
    return scheme.compute, scheme.method, scheme.block != (0, 0)


def _cache_reads(model: ModelSpec, layout: Layout, settings: CacheSettings) -> list[CacheRead]:
    reads = []
    for layer in model.cache_layers:
        number = len(layer.layers) / layout.pipeline
        if isinstance(layer, RecurrentState):
            reads.append(
                CacheRead(
                    bytes_per_token=0.0,
                    flops_per_token=0.0,
                    decode_flops_per_token=0.0,
                    state_bytes=int(2 * number * state_bytes(layer, settings)),
                )
            )
        elif isinstance(layer, MlaAttention):
            per_token = mla_token_bytes(settings.kv_cache_dtype, layer.head_size)
            heads = ceil_div(layer.num_heads, layout.tensor) * number / layout.decode_context
            whole = layer.nope_head_dim + layer.rope_head_dim + layer.v_head_dim
            reads.append(
                CacheRead(
                    bytes_per_token=per_token * number / layout.decode_context,
                    flops_per_token=2.0 * heads * whole,
                    decode_flops_per_token=2.0 * heads * (layer.head_size + layer.kv_lora_rank),
                    span=SPARSE_TOKENS if layer.indexer_bytes_per_token else 0,
                )
            )
            if layer.indexer_layers:
                read = float(layer.indexer_bytes_per_token * len(layer.indexer_layers)) / layout.pipeline
                reads.append(CacheRead(bytes_per_token=read, flops_per_token=0.0, decode_flops_per_token=0.0))
        elif isinstance(layer, IndexKeys):
            read = float(layer.head_size * 2 * number)
            reads.append(CacheRead(bytes_per_token=read, flops_per_token=0.0, decode_flops_per_token=0.0))
        elif isinstance(layer, ConvWindow):
            read = float(conv_token_bytes(layer, settings) * number)
            reads.append(
                CacheRead(bytes_per_token=read, flops_per_token=0.0, decode_flops_per_token=0.0, span=layer.window)
            )
        elif isinstance(layer, CompressedMla):
            size = dict(layer.bytes_per_state)
            per_state = size.get(settings.kv_cache_dtype, size.get("", 0))
            reads.append(
                CacheRead(
                    bytes_per_token=per_state * number / layer.tokens_per_state,
                    flops_per_token=0.0,
                    decode_flops_per_token=0.0,
                    span=layer.window,
                )
            )
        elif not isinstance(layer, CrossAttention):
            reads.append(_attention_read(layer, number, layout, settings))
    return reads


def _attention_read(layer: FullAttention, number: float, layout: Layout, settings: CacheSettings) -> CacheRead:
    heads = ceil_div(layer.num_heads or layer.num_kv_heads, layout.tensor)
    span = layer.window if isinstance(layer, SlidingWindow) else layer.chunk if isinstance(layer, ChunkedLocal) else 0
    share = layout.decode_context
    flops = 2.0 * heads * (layer.head_size + layer.head_size_v) * number / share
    return CacheRead(
        bytes_per_token=attention_token_bytes(layer, settings) * number / share,
        flops_per_token=flops,
        decode_flops_per_token=flops,
        span=span,
    )
