"""
Bytes of one token in the cache, by ``--kv-cache-dtype``.

Source: vLLM 0.33 ``config/cache.py:CacheDType``, ``v1/kv_cache_interface.py``, the backends'
``customize_spec``.
"""

from __future__ import annotations

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.units import DTYPE_BYTES, ceil_div

SIXTEEN_BIT = ("float16", "bfloat16", "float32")
_ONE_BYTE = ("int8_per_token_head", "fp8_per_token_head")
# Bits of keys and values; quantization/turboquant/config.py:TQ_PRESETS.
_TURBOQUANT_BITS = {
    "turboquant_k8v4": (8, 4),
    "turboquant_4bit_nc": (4, 4),
    "turboquant_k3v4_nc": (3, 4),
    "turboquant_3bit_nc": (3, 3),
}
FP8 = ("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc")


def head_token_bytes(kv_cache_dtype: str, head_size: int, head_size_v: int) -> int:
    """
    K and V of one token and one KV head.

    >>> head_token_bytes("fp8", 128, 128), head_token_bytes("nvfp4", 128, 128)
    (256, 144)
    """
    both = head_size + head_size_v
    if kv_cache_dtype in SIXTEEN_BIT:
        return both * DTYPE_BYTES[kv_cache_dtype]
    if kv_cache_dtype in FP8:
        return both
    if head_size != head_size_v and (kv_cache_dtype in _ONE_BYTE or kv_cache_dtype.startswith("nvfp4")):
        return both  # The backends for unequal heads know no scales: flash_attn_diffkv.py
    if kv_cache_dtype in _ONE_BYTE:
        return both + 2 * 4
    if kv_cache_dtype == "int4_per_token_head":
        return head_size // 2 + head_size_v // 2 + 2 * 4
    if kv_cache_dtype in _TURBOQUANT_BITS:
        keys, values = _TURBOQUANT_BITS[kv_cache_dtype]
        key_bytes = head_size if keys == 8 else ceil_div(head_size * keys, 8) + 2
        total = key_bytes + ceil_div(head_size_v * values, 8) + 4
        return total + total % 2  # quantization/turboquant/config.py:slot_size_aligned
    if kv_cache_dtype.startswith("nvfp4") and kv_cache_dtype != "nvfp4_ds_mla":
        return sum(size // 2 + size // 16 for size in (head_size, head_size_v))
    raise _unknown(kv_cache_dtype)


def mla_token_bytes(kv_cache_dtype: str, head_size: int) -> int:
    """
    The latent vector of one token.

    >>> mla_token_bytes("bfloat16", 576), mla_token_bytes("fp8_ds_mla", 576)
    (1152, 656)
    """
    if kv_cache_dtype in SIXTEEN_BIT:
        return head_size * DTYPE_BYTES[kv_cache_dtype]
    if kv_cache_dtype in FP8:
        return head_size
    if kv_cache_dtype == "fp8_ds_mla":
        return 656  # 512 fp8 + 4 fp32 scales + 64 16-bit rotary; mla_attention.py:get_kv_cache_spec
    if kv_cache_dtype == "nvfp4_ds_mla":
        return 352
    raise _unknown(kv_cache_dtype)


def _unknown(kv_cache_dtype: str) -> UnsupportedError:
    message = f"kv_cache_dtype is {kv_cache_dtype!r}, which no attention backend stores for this model; use auto or fp8"
    return UnsupportedError(message, field="kv_cache_dtype", value=kv_cache_dtype)
