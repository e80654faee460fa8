"""
Which attention backend vLLM picks, as far as it decides the block size.

Source: vLLM 0.33 ``platforms/cuda.py:_get_backend_priorities``, ``platforms/interface.py``,
``v1/attention/backends``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.sizing.defaults import Rules
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.specs.model import CompressedMla, MlaAttention, ModelSpec

DEFAULT_BLOCK = 16


@attrs.frozen(kw_only=True, cache_hash=True)
class AttentionChoice:
    """
    The backend and what follows from it.

    Attributes:
        name: vLLM's, empty where several mix.

        block_size: Before recurrent layers enlarge it.

        kernel_block: Smallest block that the kernels accept.

        token_bytes: Replaces the bytes per token when recurrent pages are aligned; 0: the layer's.
    """

    name: str
    block_size: int
    kernel_block: int = DEFAULT_BLOCK
    token_bytes: int = 0


def choose_attention(
    model: ModelSpec, gpu: GpuSpec, rules: Rules, kv_cache_dtype: str, *, tensor: int, block_size: int | None
) -> AttentionChoice:
    """
    The backend for a model on a GPU.
    """
    kernel, name = DEFAULT_BLOCK, "FLASH_ATTN"
    fp8 = kv_cache_dtype.startswith("fp8")
    for layer in model.cache_layers:
        if isinstance(layer, CompressedMla):
            kernel = max(kernel, layer.block_size)
        elif isinstance(layer, MlaAttention):
            if layer.indexer_bytes_per_token:
                kernel, name = 64, "FLASHMLA_SPARSE"
            elif (gpu.compute_capability or (0, 0))[0] == 9 and fp8:
                kernel, name = 64, "FLASHMLA"
    return AttentionChoice(name=name, block_size=block_size or kernel, kernel_block=kernel)
