"""
DeepSeek-V4's attention: a short window of latent vectors, and one vector for 4 or 128 tokens before it.

Layers that compress four to one choose among the vectors with a sparse indexer.
Source: vLLM 0.33 ``models/deepseek_v4/attention.py``, ``compressor.py``, ``v1/attention/backends/mla/sparse_swa.py``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.builder import Builder, Layers, among
from vllm_sizing.architectures.mla import INDEXER_SCALE_BLOCK
from vllm_sizing.specs.model import COLUMN, REPLICATED, ROW, CompressedMla, Part
from vllm_sizing.specs.value import Value

_FP8_STATE = 584  # 448 bytes of fp8, 64 rotary elements of 16 bits, 8 bytes of scales.
_ALIGNMENT = 576  # Page bytes, for FlashMLA.
_KERNEL_BLOCK = 256
_WINDOW_BLOCK = 64
_SINKS = 64  # Heads are padded to it for the kernel, or to twice as many.
_SPARSE_RATE, _HEAVY_RATE = 4, 128


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Compressed(Value):
    """
    Sizes of the attention.

    Attributes:
        rope: Rotated part of a head.

        sparse, heavy: Layers that compress by 4 and by 128; the others have only the window.
    """

    num_heads: int
    head_size: int
    q_lora_rank: int
    o_lora_rank: int
    groups: int
    window: int
    rope: int
    index_heads: int
    index_head_size: int
    sparse: Layers
    heavy: Layers


def add_compressed_attention(builder: Builder, name: str, hidden: int, sizes: Compressed, *, layers: Layers) -> None:
    """
    Projections, sinks, compressors, indexers and all their caches.
    """
    inner, size = sizes.num_heads * sizes.head_size, sizes.head_size
    builder.linear(
        f"{name}.fused_wqa_wkv", hidden, (sizes.q_lora_rank, size),
        shard=REPLICATED, layers=layers, fused=("wq_a", "wkv"),
    )  # fmt: skip
    builder.norm(f"{name}.q_norm", sizes.q_lora_rank, layers=layers)
    builder.linear(f"{name}.wq_b", sizes.q_lora_rank, inner, layers=layers)
    builder.norm(f"{name}.kv_norm", size, layers=layers)
    builder.linear(f"{name}.wo_a", inner // sizes.groups, sizes.groups * sizes.o_lora_rank, layers=layers)
    builder.linear(f"{name}.wo_b", sizes.groups * sizes.o_lora_rank, hidden, shard=ROW, layers=layers)
    sinks = _SINKS if sizes.num_heads <= _SINKS else 2 * _SINKS
    builder.parameter(
        f"{name}.attn_sink", sinks, layers=layers, dtype="float32",
        shard=attrs.evolve(COLUMN, parts=(Part(sinks, sinks // _SINKS),)),
    )  # fmt: skip
    _add_cache(builder, "sliding_window", layers, _FP8_STATE, window=sizes.window, block_size=_WINDOW_BLOCK, fp8=True)
    sparse = among(layers, sizes.sparse)
    heavy = among(layers, sizes.heavy)
    _add_indexer(builder, f"{name}.indexer", hidden, sizes, layers=sparse)
    for rate, owners in ((_SPARSE_RATE, sparse), (_HEAVY_RATE, heavy)):
        _add_cache(builder, f"compressed_{rate}", owners, _FP8_STATE, rate=rate, fp8=True)
        _add_compressor(builder, f"{name}.compressor", hidden, size, rate, layers=owners)


def _add_indexer(builder: Builder, name: str, hidden: int, sizes: Compressed, *, layers: Layers) -> None:
    size = sizes.index_head_size
    builder.linear(f"{name}.wq_b", sizes.q_lora_rank, sizes.index_heads * size, shard=REPLICATED, layers=layers)
    builder.linear(f"{name}.weights_proj", hidden, sizes.index_heads, shard=REPLICATED, layers=layers, quantized=False)
    _add_cache(builder, "indexer", layers, size + size // INDEXER_SCALE_BLOCK * 4, rate=_SPARSE_RATE)
    _add_compressor(builder, f"{name}.compressor", hidden, size, _SPARSE_RATE, layers=layers)


def _add_compressor(builder: Builder, name: str, hidden: int, size: int, rate: int, *, layers: Layers) -> None:
    """
    What folds ``rate`` tokens into one vector, and the float32 state of tokens that are not folded yet.

    At the low rate windows of twice the length overlap.
    """
    overlap = 2 if rate == _SPARSE_RATE else 1
    width = overlap * size
    builder.parameter(f"{name}.ape", rate, width, layers=layers, dtype="float32")
    builder.linear(
        f"{name}.fused_wkv_wgate", hidden, (width, width),
        shard=REPLICATED, layers=layers, quantized=False, fused=("wkv", "wgate"),
    )  # fmt: skip
    builder.norm(f"{name}.norm", size, layers=layers)
    _add_cache(
        builder, f"compressor_{rate}", layers, 2 * width * 4,
        window=overlap * rate, block_size=4 if rate == _SPARSE_RATE else 8,
    )  # fmt: skip


def _add_cache(
    builder: Builder,
    name: str,
    layers: Layers,
    num_bytes: int,
    *,
    rate: int = 1,
    window: int = 0,
    block_size: int = 0,
    fp8: bool = False,
) -> None:
    if layers:
        builder.cache_layers.append(
            CompressedMla(
                layers=layers, name=name, bytes_per_state=(("fp8_ds_mla" if fp8 else "", num_bytes),),
                tokens_per_state=rate, window=window, alignment=_ALIGNMENT, block_size=block_size,
                kernel_block=_KERNEL_BLOCK if fp8 or rate > 1 else 0,
            )
        )  # fmt: skip
