"""
Which attention backend vLLM picks: it decides the block size and which cache dtypes there are.

Source: vLLM 0.33 ``platforms/cuda.py:_get_backend_priorities``, ``platforms/interface.py:
update_block_size_for_backend``, ``v1/attention/backends/*``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import attrs

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.defaults import Rules
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.specs.model import (
    ChunkedLocal,
    CompressedMla,
    FullAttention,
    IndexKeys,
    MlaAttention,
    ModelSpec,
    RecurrentState,
    SlidingWindow,
)
from vllm_sizing.specs.value import Value

DEFAULT_BLOCK = 16
_PLAIN = frozenset({"float16", "bfloat16"})
_FP8 = frozenset({"fp8", "fp8_e4m3"})
_PER_HEAD = frozenset({"int8_per_token_head", "fp8_per_token_head", "int4_per_token_head"})
_FEW_HEADS = 16  # On a rank, up to which FlashMLA's padding costs more than FlashInfer; platforms/cuda.py.
_INDEXER_BLOCK = 64  # v1/attention/backends/mla/indexer.py:DeepseekV32IndexerBackend
TURBOQUANT = frozenset({"turboquant_k8v4", "turboquant_4bit_nc", "turboquant_k3v4_nc", "turboquant_3bit_nc"})


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AttentionChoice(Value):
    """
    The backend and what follows from it.

    Attributes:
        name: vLLM's.

        block_size: Before recurrent layers enlarge it.

        kernel_block: Smallest block that the kernels accept.
    """

    name: str
    block_size: int
    kernel_block: int = DEFAULT_BLOCK


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Backend(Value):
    """
    One attention backend, as far as selection asks it.

    Attributes:
        blocks: Block sizes that it takes.

        any_multiple: It takes every multiple of the first of them.

        majors: Compute capability majors; empty: all from ``least`` on.

        fp8_least: Capability that an FP8 cache needs.

        sinks: Capability from which it serves attention sinks; None: never.

        prefix_lm: Capability from which it serves bidirectional image prefixes; None: never.

        decode_context: Cache dtypes with which ranks may share the tokens of the cache; None: all.
    """

    name: str
    dtypes: frozenset[str]
    blocks: tuple[int, ...] = (16,)
    any_multiple: bool = True
    least: tuple[int, int] = (0, 0)
    most: tuple[int, int] = (99, 0)
    fp8_least: tuple[int, int] = (0, 0)
    head_sizes: frozenset[int] | None = None
    smallest_head: int = 0
    largest_head: int = 2**16
    sinks: tuple[int, int] | None = (0, 0)
    prefix_lm: tuple[int, int] | None = None
    windows: bool = True
    decode_context: frozenset[str] | None = None

    def takes_block(self, block_size: int) -> bool:
        """
        Whether an explicit ``--block-size`` suits it.
        """
        return block_size in self.blocks or any(block_size % block == 0 for block in self.blocks)


_FLASH_ATTN = Backend(
    name="FLASH_ATTN", dtypes=_PLAIN | _FP8, least=(8, 0), fp8_least=(9, 0), largest_head=512, sinks=(9, 0)
)
_TRITON_FLASH_ATTN = attrs.evolve(_FLASH_ATTN, name="TRITON_FLASH_ATTN", prefix_lm=(9, 0), dtypes=_PLAIN | _FP8)
_FLASHINFER = Backend(
    name="FLASHINFER",
    dtypes=_PLAIN | _FP8 | {"fp8_e5m2", "nvfp4", "nvfp4_4over6"},
    blocks=(16, 32, 64),
    any_multiple=False,
    least=(8, 0),
    most=(12, 1),
    head_sizes=frozenset({64, 128, 256, 512}),
    sinks=(10, 0),
)
_TRITON = Backend(
    name="TRITON_ATTN",
    dtypes=_PLAIN | _FP8 | {"fp8_e5m2", "float32"} | _PER_HEAD,
    fp8_least=(8, 9),
    smallest_head=32,
    prefix_lm=(0, 0),
    decode_context=frozenset(),
)
_TURBO = Backend(
    name="TURBOQUANT",
    dtypes=TURBOQUANT,
    blocks=(16, 32, 64, 128),
    any_multiple=False,
    sinks=None,
    windows=False,
    decode_context=frozenset(),
)
_DIFFKV = Backend(
    name="FLASH_ATTN_DIFFKV", dtypes=_PLAIN | _FP8 | _PER_HEAD | {"nvfp4"}, least=(9, 0), most=(9, 9), sinks=(9, 0)
)
_TRITON_DIFFKV = Backend(
    name="TRITON_ATTN_DIFFKV",
    dtypes=_PLAIN | _FP8 | {"float32"},
    fp8_least=(8, 9),
    decode_context=frozenset(),
)
_FLASH_ATTN_MLA = Backend(name="FLASH_ATTN_MLA", dtypes=_PLAIN, least=(9, 0), most=(9, 9))
_FLASHMLA = Backend(name="FLASHMLA", dtypes=_PLAIN | _FP8, blocks=(64,), any_multiple=False, least=(9, 0), most=(10, 9))
_FLASHINFER_MLA = Backend(
    name="FLASHINFER_MLA",
    dtypes=_PLAIN | _FP8,
    blocks=(32, 64),
    any_multiple=False,
    least=(10, 0),
    most=(10, 9),
)
_TRITON_MLA = Backend(name="TRITON_MLA", dtypes=_PLAIN | _FP8 | {"float32"}, fp8_least=(8, 9))
_CUTLASS_MLA = Backend(
    name="CUTLASS_MLA", dtypes=_PLAIN | _FP8, blocks=(128,), any_multiple=False, least=(10, 0), most=(10, 9)
)
_FA_SPARSE = Backend(
    name="FLASH_ATTN_MLA_SPARSE",
    dtypes=_PLAIN,
    blocks=(64,),
    least=(9, 0),
    most=(9, 9),
    decode_context=frozenset(),
)
_FLASHMLA_SPARSE = Backend(
    name="FLASHMLA_SPARSE",
    dtypes=frozenset({"bfloat16", "fp8", "fp8_ds_mla"}),
    blocks=(64,),
    least=(9, 0),
    most=(10, 9),
    decode_context=frozenset({"fp8", "fp8_ds_mla"}),
)
_FLASHMLA_SPARSE_100 = attrs.evolve(
    _FLASHMLA_SPARSE,
    dtypes=_FLASHMLA_SPARSE.dtypes | {"nvfp4_ds_mla"},
    least=(10, 0),
    decode_context=frozenset({"fp8", "fp8_ds_mla", "nvfp4_ds_mla"}),
)
_FLASHINFER_SPARSE = Backend(
    name="FLASHINFER_MLA_SPARSE", dtypes=_PLAIN | _FP8, blocks=(32,), least=(10, 0), most=(10, 9)
)
_SPARSE_120 = Backend(
    name="FLASHINFER_MLA_SPARSE_SM120",
    dtypes=_FP8 | {"bfloat16", "fp8_ds_mla"},
    blocks=(64,),
    least=(12, 0),
    decode_context=frozenset(),
)


@lru_cache(maxsize=512)
def choose_attention(
    model: ModelSpec,
    gpu: GpuSpec,
    rules: Rules,
    kv_cache_dtype: str,
    *,
    block_size: int | None,
    tensor: int = 1,
    decode_context: int = 1,
) -> AttentionChoice:
    """
    The first backend in vLLM's order that serves the model's cache on this GPU.

    Raises:
        UnsupportedError: None does: "No valid attention backend".
    """
    compressed = [layer for layer in model.cache_layers if isinstance(layer, CompressedMla)]
    latent = [layer for layer in model.cache_layers if isinstance(layer, MlaAttention)]
    plain = [layer for layer in model.cache_layers if isinstance(layer, FullAttention)]
    capability = gpu.compute_capability
    if compressed or capability is None or not (latent or plain):
        # DeepSeek-V4 brings its own backends; on other vendors every backend takes 16.
        kernel = max((layer.kernel_block for layer in compressed), default=DEFAULT_BLOCK)
        return AttentionChoice(name="", block_size=block_size or kernel, kernel_block=kernel)
    sparse = any(layer.indexer_bytes_per_token for layer in latent)
    chosen = max((layer.block_size for layer in model.cache_layers if isinstance(layer, IndexKeys)), default=0)
    if chosen:
        _check_chosen(chosen, kv_cache_dtype, block_size)
    refusals = []
    unequal = any(layer.head_size != layer.head_size_v for layer in plain)
    prefix_lm = "prefix_lm" in model.traits
    order = _in_order(capability, latent=bool(latent), sparse=sparse, prefix_lm=prefix_lm, unequal=unequal)
    if sparse and capability[0] == 10 and kv_cache_dtype in _PLAIN and model.num_attention_heads // tensor > _FEW_HEADS:
        order = iter((_FLASHMLA_SPARSE_100, _FLASHINFER_SPARSE))
    elif "mixed_heads" in model.traits and capability[0] not in (9, 10):
        order = iter((_TRITON,))  # models/config.py:Gemma4Config, where FlashAttention 4 is missing.
    for backend in order:
        reason = _refuses(backend, model, plain, capability, kv_cache_dtype, block_size)
        shared = backend.decode_context if decode_context > 1 else None
        if not reason and shared is not None and kv_cache_dtype not in shared:
            reason = f"decode_context_parallel_size {decode_context}"
        if reason:
            refusals.append(f"{backend.name}: {reason}")
            if shared and backend.name == "FLASHMLA_SPARSE" and reason.startswith("decode"):
                break  # Chosen all the same; it refuses when it is built.
            continue
        if backend.name == "FLASH_ATTN" and kv_cache_dtype in _FP8 and "alibi" in model.traits:
            # Chosen, but then without the FlashAttention 3 that an FP8 cache needs: fa_utils.py.
            message = f"kv_cache_dtype is {kv_cache_dtype}, which FlashAttention lacks for ALiBi; use auto"
            raise UnsupportedError(message, field="kv_cache_dtype", value=kv_cache_dtype)
        kernel = _kernel_block(backend, plain, latent, capability, kv_cache_dtype, rules)
        if kv_cache_dtype in TURBOQUANT:
            # Beside layers of twice the bytes (`cache_pages.boundary_layers`) the block is twice the smallest:
            # platforms/interface.py:_align_heterogeneous_kv_block_size.
            states = any(isinstance(layer, RecurrentState) for layer in model.cache_layers)
            block = max(block_size or 0, kernel if states else 2 * kernel)
            return AttentionChoice(name=backend.name, block_size=block, kernel_block=kernel)
        kernel = max(kernel, chosen)
        default = max(DEFAULT_BLOCK, kernel, _INDEXER_BLOCK if sparse else 0)
        return AttentionChoice(name=backend.name, block_size=block_size or default, kernel_block=kernel)
    way_out = "leave kv_cache_dtype on auto"
    if decode_context > 1:
        way_out = f"leave decode_context_parallel_size out, try kv_cache_dtype {'fp8_ds_mla' if sparse else 'auto'}"
    if block_size is not None and f"block_size {block_size}" in " ".join(refusals):
        own = choose_attention(
            model, gpu, rules, kv_cache_dtype, block_size=None, tensor=tensor, decode_context=decode_context
        )
        message = (
            f"block_size is {block_size}, which no attention backend of vLLM takes for {model.name} on {gpu.name} "
            f"with kv_cache_dtype {kv_cache_dtype}; leave it out for {own.block_size}"
        )
        raise UnsupportedError(message, field="block_size", value=block_size)
    message = (
        f"kv_cache_dtype is {kv_cache_dtype}: no attention backend of vLLM serves it for {model.name} on {gpu.name} "
        f"({'; '.join(refusals)}); {way_out} or take another GPU"
    )
    raise UnsupportedError(message, field="kv_cache_dtype", value=kv_cache_dtype)


def _check_chosen(chosen: int, kv_cache_dtype: str, block_size: int | None) -> None:
    """
    Attention to blocks that an indexer chose has kernels of its own.

    Source: vLLM 0.33 ``models/minimax_m3/common/sparse_attention.py``.
    """
    if block_size is not None and block_size % chosen:
        message = f"block_size is {block_size}; this model's sparse attention needs a multiple of {chosen}"
        raise UnsupportedError(message, field="block_size", value=block_size)
    if kv_cache_dtype not in _PLAIN | _FP8 | {"fp8_e5m2"}:
        message = (
            f"kv_cache_dtype is {kv_cache_dtype}, which this model's sparse attention cannot read; use auto or fp8"
        )
        raise UnsupportedError(message, field="kv_cache_dtype", value=kv_cache_dtype)


def _in_order(
    capability: tuple[int, int], *, latent: bool, sparse: bool, prefix_lm: bool, unequal: bool
) -> Iterator[Backend]:
    major = capability[0]
    if unequal:
        yield from (_DIFFKV, _TRITON_DIFFKV)
    elif sparse:
        yield from {
            10: (_FLASHINFER_SPARSE, _FLASHMLA_SPARSE_100),
            12: (_SPARSE_120,),
        }.get(major, (_FA_SPARSE, _FLASHMLA_SPARSE))
    elif latent:
        yield from {
            10: (_FLASHINFER_MLA, _CUTLASS_MLA, _FLASHMLA, _TRITON_MLA),
            12: (_TRITON_MLA,),
        }.get(major, (_FLASH_ATTN_MLA, _FLASHMLA, _TRITON_MLA))
    else:
        if prefix_lm and major == 9:
            yield _TRITON_FLASH_ATTN
        yield from (_FLASHINFER, _FLASH_ATTN) if major == 10 else (_FLASH_ATTN, _FLASHINFER)
        yield from (_TRITON, _TURBO)


def _refuses(
    backend: Backend,
    model: ModelSpec,
    plain: list[FullAttention],
    capability: tuple[int, int],
    kv_cache_dtype: str,
    block_size: int | None,
) -> str:
    if not backend.least <= capability <= backend.most:
        return "compute capability"
    if kv_cache_dtype not in backend.dtypes:
        return "cache dtype"
    if kv_cache_dtype in _FP8 | {"fp8_e5m2"} and capability < backend.fp8_least:
        return "FP8 cache on this compute capability"
    if backend.name == "FLASH_ATTN" and kv_cache_dtype in _FP8 and capability[0] not in (9, 10):
        return "FP8 cache on this compute capability"
    if block_size is not None and not backend.takes_block(block_size):
        return f"block_size {block_size}"
    if not backend.windows and any(isinstance(layer, SlidingWindow | ChunkedLocal) for layer in plain):
        return "sliding windows or chunks"
    if kv_cache_dtype.startswith("nvfp4") and backend.name == "FLASHINFER" and capability[0] in (8, 9, 12):
        # v1/attention/backends/flashinfer.py:FlashInferBackend.supports_combination, without TRT-LLM's kernels.
        if kv_cache_dtype != "nvfp4" or "attention_sinks" in model.traits:
            return "cache dtype"
        if any(layer.head_size == 64 for layer in plain):
            return "head size 64"
    for needed, least in (("prefix_lm", backend.prefix_lm), ("attention_sinks", backend.sinks)):
        if needed in model.traits and (least is None or capability < least):
            return needed.replace("_", " ")
    return _refuses_heads(backend, plain, capability)


def _refuses_heads(backend: Backend, plain: list[FullAttention], capability: tuple[int, int]) -> str:
    largest = backend.largest_head if capability[0] in (9, 10) else min(backend.largest_head, 256)
    flash = backend.name.endswith("FLASH_ATTN")
    for size in (layer.head_size for layer in plain):
        listed = backend.head_sizes is None or size in backend.head_sizes
        if not listed or size < backend.smallest_head or (flash and (size % 8 or size > largest)):
            return f"head size {size}"
    return ""


def _kernel_block(
    backend: Backend,
    plain: list[FullAttention],
    latent: list[MlaAttention],
    capability: tuple[int, int],
    kv_cache_dtype: str,
    rules: Rules,
) -> int:
    if latent and not rules.mla_block_by_backend and not any(layer.indexer_bytes_per_token for layer in latent):
        # Before 0.18 the platform fixed the block: platforms/cuda.py:check_and_update_config.
        if capability[0] == 10:
            return 128 if (0, 10, 1) <= rules.version < (0, 15, 0) else 64 if rules.version >= (0, 15, 0) else 16
        return 64 if capability[0] == 9 else 16
    largest = max((layer.head_size for layer in plain), default=0)
    if capability[0] == 9 and kv_cache_dtype in _FP8 and largest == 512 and "FLASH_ATTN" in backend.name:
        return 64  # FlashAttention 4's page for an FP8 cache of 512-wide heads; flash_attn.py.
    return min(backend.blocks)
