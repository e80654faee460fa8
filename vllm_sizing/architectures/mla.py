"""
Multi-head latent attention, with or without the sparse indexer.

Source: vLLM 0.33 ``model_executor/models/deepseek_v2.py``, ``models/deepseek_v32/attention.py``,
``layers/mla.py``.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import MAX_HEADS, Attention
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import REPLICATED, ROW, MlaAttention, Part
from vllm_sizing.specs.value import Value

# Source: vLLM transformers_utils/model_arch_config_convertor.py:is_deepseek_mla; other model types
# keep keys and values of every head.
MLA_MODEL_TYPES = frozenset((
    "axk1", "deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_mtp", "glm_moe_dsa", "glm4_moe_lite",
    "kimi_k2", "kimi_linear", "longcat_flash", "pangu_ultra_moe", "bailing_hybrid", "hy_v4", "dots3_note",
    "glm5_next", "glm5_next_text",
))  # fmt: skip
INDEXER_SCALE_BLOCK = 128  # One float32 scale beside so many fp8 elements.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Latent(Value):
    """
    Sizes of latent attention.

    Attributes:
        q_lora_rank: 0: queries come straight from the hidden state.

        absorbed: vLLM caches the latent vector; else keys and values of every head.
    """

    num_heads: int
    q_lora_rank: int
    kv_lora_rank: int
    nope: int
    rope: int
    value: int
    absorbed: bool = True

    @property
    def attention(self) -> Attention:
        """
        As ordinary attention sees it.
        """
        return Attention(num_heads=self.num_heads, num_kv_heads=self.num_heads, head_size=self.nope + self.rope)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Indexer(Value):
    """
    The sparse indexer.

    Attributes:
        layers: That have their own; the others use the choice of the layer before.

        top_k: Tokens it chooses.
    """

    layers: Layers
    num_heads: int
    head_size: int
    top_k: int

    @property
    def bytes_per_token(self) -> int:
        """
        Of its cache: fp8 keys and their scales.
        """
        return self.head_size + self.head_size // INDEXER_SCALE_BLOCK * 4


def read_latent(text: Config) -> Latent:
    """
    Sizes of latent attention in DeepSeek's spelling.
    """
    return Latent(
        num_heads=text.required("num_attention_heads", maximum=MAX_HEADS),
        q_lora_rank=text.integer("q_lora_rank", default=0, maximum=2**20),
        kv_lora_rank=text.required("kv_lora_rank", maximum=2**20),
        nope=text.required("qk_nope_head_dim", maximum=MAX_HEADS),
        rope=text.required("qk_rope_head_dim", maximum=MAX_HEADS),
        value=text.required("v_head_dim", maximum=MAX_HEADS),
        absorbed=text.text("model_type") in MLA_MODEL_TYPES,
    )


def read_indexer(text: Config, layers: Layers) -> Indexer | None:
    """
    The sparse indexer of a config; None without one.

    Source: vLLM 0.33 ``models/deepseek_v32/attention.py``: a pattern, or every so many layers.
    """
    top_k = text.integer("index_topk", default=None, maximum=2**24)
    if top_k is None:
        return None
    pattern = text.data.get("index_topk_pattern")
    if pattern is not None:
        if not isinstance(pattern, (str, list, tuple)) or not all(isinstance(letter, str) for letter in pattern):
            raise text.refuse("index_topk_pattern", "a string of F and S")
        owners = tuple(at for at in layers if at >= len(pattern) or pattern[at] != "S")
    else:
        every = text.integer("index_topk_freq", default=1)
        offset = text.integer("index_skip_topk_offset", default=2, minimum=0)
        owners = tuple(at for at in layers if max(at - offset + 1, 0) % every == 0)
    return Indexer(
        layers=owners,
        num_heads=text.required("index_n_heads", maximum=MAX_HEADS),
        head_size=text.required("index_head_dim", maximum=MAX_HEADS),
        top_k=top_k,
    )


def add_latent_attention(
    builder: Builder,
    name: str,
    hidden: int,
    latent: Latent,
    *,
    layers: Layers,
    indexer: Indexer | None = None,
    indexer_lora: bool = False,
    gated: bool = False,
    quantized: bool = True,
    down_lora: bool = True,
    merged: bool = True,
) -> None:
    """
    Projections, norms and the cache of latent attention.

    The down projections and the latent vector are the same on every rank.

    Args:
        merged: Both down projections are one.

        indexer_lora: The class names the parts of the indexer's merged projection, which LoRA needs.

        quantized: The class hands it the quant_config.

        down_lora: The class names the parts of the merged down projection.

        gated: The output has a gate, from the first projection or from one of its own.
    """
    facts: dict[str, Any] = {"layers": layers, "quantized": quantized}
    heads, rank = latent.num_heads, latent.q_lora_rank
    down = latent.kv_lora_rank + latent.rope
    qk = heads * (latent.nope + latent.rope)
    if rank and gated:
        # The gate is divided, the latent parts are on every rank.
        builder.linear(
            f"{name}.fused_qkv_a_g_proj", hidden, (Part(rank, 1), Part(down, 1), Part(heads * latent.value)),
            **facts, fused=("q_a_proj", "kv_a_proj_with_mqa", "g_proj"),
        )  # fmt: skip
    elif rank and latent.absorbed and merged:
        builder.linear(
            f"{name}.fused_qkv_a_proj", hidden, (rank, down),
            shard=REPLICATED, **facts, fused=("q_a_proj", "kv_a_proj_with_mqa"), lora=down_lora,
        )  # fmt: skip
    else:
        if rank:
            builder.linear(f"{name}.q_a_proj", hidden, rank, shard=REPLICATED, **facts)
        builder.linear(f"{name}.kv_a_proj_with_mqa", hidden, down, shard=REPLICATED, **facts)
    if rank:
        builder.norm(f"{name}.q_a_layernorm", rank, layers=layers)
        builder.linear(f"{name}.q_b_proj", rank, qk, **facts)
    else:
        builder.linear(f"{name}.q_proj", hidden, qk, **facts)
        if gated:
            builder.linear(f"{name}.g_proj", hidden, heads * latent.value, **facts)
    builder.norm(f"{name}.kv_a_layernorm", latent.kv_lora_rank, layers=layers)
    builder.linear(f"{name}.kv_b_proj", latent.kv_lora_rank, heads * (latent.nope + latent.value), **facts)
    builder.linear(f"{name}.o_proj", heads * latent.value, hidden, shard=ROW, **facts)
    if indexer is not None:
        _add_indexer(builder, f"{name}.indexer", hidden, rank, indexer, lora=indexer_lora)
    if latent.absorbed:
        builder.cache(
            MlaAttention(
                layers=layers, num_heads=heads, kv_lora_rank=latent.kv_lora_rank, rope_head_dim=latent.rope,
                nope_head_dim=latent.nope, v_head_dim=latent.value,
                indexer_bytes_per_token=indexer.bytes_per_token if indexer else 0,
                indexer_layers=indexer.layers if indexer else (),
            ),
            f"{name}.attn",
        )  # fmt: skip
    else:
        builder.attention_caches(f"{name}.attn", layers, heads, heads, latent.nope + latent.rope)


def _add_indexer(builder: Builder, name: str, hidden: int, q_lora_rank: int, indexer: Indexer, *, lora: bool) -> None:
    layers, size = indexer.layers, indexer.head_size
    builder.linear(f"{name}.wq_b", q_lora_rank, indexer.num_heads * size, shard=REPLICATED, layers=layers)
    builder.linear(
        f"{name}.wk_weights_proj", hidden, (size, indexer.num_heads),
        shard=REPLICATED, layers=layers, quantized=False, lora=lora,
    )  # fmt: skip
    builder.norm(f"{name}.k_norm", size, layers=layers, bias=True, dtype="float32")


def add_indices_buffer(builder: Builder, name: str, indexer: Indexer | None, *, count: int = 1) -> None:
    """
    The tokens that the indexer chose, for every token of a batch.
    """
    if indexer is not None:
        builder.parameter(
            name, indexer.top_k, dtype="int32", role="buffer", stage="all", count=count, per_batched_token=True
        )
