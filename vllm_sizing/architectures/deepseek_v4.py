"""
DeepSeek-V4: several residual streams, windows of latent vectors, and compressed ones for what is older.

Source: vLLM 0.33 ``models/deepseek_v4/nvidia/model.py``, ``mtp.py``, ``attention.py``, ``compressor.py``,
``common/rope.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import (
    MAX_HEADS,
    MAX_POSITION,
    Attention,
    Moe,
    Stack,
    add_ends,
    add_moe,
    add_norms,
    add_speculator,
    finish,
    finish_draft,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers, without
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.compressed_attention import Compressed, add_compressed_attention
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.rope import RopeTable, read_rope, rope_parameters, rope_type
from vllm_sizing.specs.model import REPLICATED, ROW, Draft, ModelSpec, Part

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 129280, "hidden_size": 4096, "moe_intermediate_size": 2048, "num_hidden_layers": 43,
    "num_attention_heads": 64, "head_dim": 512, "q_lora_rank": 1024, "num_experts_per_tok": 6,
    "n_routed_experts": 256, "n_shared_experts": 1, "max_position_embeddings": 1048576, "rope_theta": 10000.0,
    "compress_rope_theta": 160000.0, "hc_mult": 4, "sliding_window": 128, "o_groups": 8, "o_lora_rank": 1024,
    "index_n_heads": 64, "index_head_dim": 128, "index_topk": 512, "num_nextn_predict_layers": 1,
    "num_hash_layers": 3,
}  # fmt: skip
_SPARSE, _HEAVY = "compressed_sparse_attention", "heavily_compressed_attention"
_RATES = {_SPARSE: 4, _HEAVY: 128}  # The only ones that vLLM's compressor knows.
_LEGACY = {0: "sliding_attention", 4: _SPARSE, 128: _HEAVY}
_STREAM_SCALES = 3


def add_language_model(builder: Builder, text: Config) -> Stack:
    """
    The decoder and its MTP draft.
    """
    text = text.over(_DEFAULTS)
    attention = Attention(
        num_heads=text.required("num_attention_heads", maximum=MAX_HEADS),
        num_kv_heads=1,
        head_size=text.required("head_dim", maximum=MAX_HEADS),
    )
    stack = attrs.evolve(
        read_stack(text, attention=attention),
        tied=False,
        num_experts=read_experts(text, "n_routed_experts"),
        num_experts_per_token=read_experts(text, "num_experts_per_tok"),
    )
    streams = text.required("hc_mult", maximum=2**10)
    add_ends(builder, stack, "", lora=False)
    builder.parameter(
        "model.topk_indices_buffer", text.required("index_topk", maximum=2**24),
        dtype="int32", role="buffer", stage="all", per_batched_token=True,
    )  # fmt: skip
    _add_stream_head(builder, "model", stack.hidden, streams)
    builder.parameter(
        "model._mtp_hidden_buffer", streams * stack.hidden,
        role="buffer", stage="last", per_batched_token=True, with_draft=True,
    )  # fmt: skip
    compressed = _read_attention(text, stack)
    _add_layers(builder, stack, "model.layers.*", stack.layers, compressed, streams, hashed=_hashed(text, stack.layers))
    builder.draft = _draft(builder, stack, compressed, streams)
    return stack


def _read_attention(text: Config, stack: Stack) -> Compressed:
    kinds = text.layer_types(len(stack.layers)) or _old_kinds(text, len(stack.layers))
    if set(kinds) - set(_LEGACY.values()):
        raise text.refuse("layer_types", "a list of " + ", ".join(_LEGACY.values()))
    rates = text.section("compress_rates")
    for kind, rate in _RATES.items():
        if rates is not None and rates.has(kind) and rates.required(kind) != rate:
            raise rates.refuse(kind, f"{rate}, the only rate that vLLM compresses it by")
    size = stack.attention.head_size
    partial = text.number("partial_rotary_factor", default=64 / 512)
    return Compressed(
        num_heads=stack.attention.num_heads,
        head_size=size,
        q_lora_rank=text.required("q_lora_rank", maximum=2**20),
        o_lora_rank=text.required("o_lora_rank", maximum=2**20),
        groups=text.required("o_groups", maximum=2**16),
        window=text.required("sliding_window", maximum=2**20),
        rope=text.integer("qk_rope_head_dim", default=0, minimum=0, maximum=MAX_HEADS) or int(size * partial),
        index_heads=text.required("index_n_heads", maximum=MAX_HEADS),
        index_head_size=text.required("index_head_dim", maximum=MAX_HEADS),
        sparse=tuple(at for at in stack.layers if kinds[at] == _SPARSE),
        heavy=tuple(at for at in stack.layers if kinds[at] == _HEAVY),
    )


def _old_kinds(text: Config, number: int) -> list[str]:
    ratios = text.integers("compress_ratios")
    if ratios is None:
        return [_HEAVY if at < 2 or at % 2 == 0 else _SPARSE for at in range(number)]
    if len(ratios) < number or set(ratios) - set(_LEGACY):
        raise text.refuse("compress_ratios", f"{number} or more of 0, 4 and 128")
    return [_LEGACY[ratio] for ratio in ratios[:number]]


def _hashed(text: Config, layers: Layers) -> Layers:
    """
    The first layers choose experts by the token's id.
    """
    kinds = text.words("mlp_layer_types")
    if kinds is not None:
        return layers[: kinds[: len(layers)].count("hash_moe")]
    return layers[: text.integer("num_hash_layers", default=0, minimum=0)]


def _add_layers(
    builder: Builder,
    stack: Stack,
    layer: str,
    layers: Layers,
    compressed: Compressed,
    streams: int,
    *,
    hashed: Layers = (),
) -> None:
    text, hidden = stack.text, stack.hidden
    add_compressed_attention(builder, f"{layer}.attn", hidden, compressed, layers=layers)
    _add_ropes(builder, f"{layer}.attn", stack, compressed, layers)
    ffn, scored = f"{layer}.ffn", without(layers, hashed)
    if hashed:
        builder.parameter(
            f"{ffn}.gate.tid2eid", stack.vocab_size, stack.num_experts_per_token, layers=hashed, dtype="int32"
        )
    if scored and text.text("topk_method") == "noaux_tc":
        builder.parameter(f"{ffn}.gate.e_score_correction_bias", stack.num_experts, layers=scored, dtype="float32")
    width = text.required("moe_intermediate_size")
    moe = Moe(layers=layers, num_experts=stack.num_experts, top_k=stack.num_experts_per_token, intermediate=width)
    add_moe(builder, ffn, hidden, moe)
    shared = width * text.integer("n_shared_experts", default=0, minimum=0, maximum=2**16)
    if shared:
        _add_shared(builder, f"{ffn}.shared_experts", hidden, shared, layers=layers)
    add_norms(builder, layer, hidden, "attn_norm", "ffn_norm", layers=layers)
    mix = (2 + streams) * streams
    for part in ("attn", "ffn"):
        sizes: dict[str, tuple[int, ...]] = {"fn": (mix, streams * hidden), "base": (mix,), "scale": (_STREAM_SCALES,)}
        for name, shape in sizes.items():
            builder.parameter(f"{layer}.hc_{part}_{name}", *shape, layers=layers, dtype="float32")


def _add_shared(builder: Builder, name: str, hidden: int, width: int, *, layers: Layers) -> None:
    """
    The MLP of every token; ranks hold whole blocks of scales.
    """
    scheme = builder.quantization.linear(f"{name}.gate_up_proj", ("w1", "w3"))
    part = Part(width, blocks=scheme.block[0] if scheme is not None else 0)
    builder.linear(f"{name}.gate_up_proj", hidden, (part, part), layers=layers, fused=("w1", "w3"))
    builder.linear(f"{name}.down_proj", width, hidden, shard=attrs.evolve(ROW, parts=(part,)), layers=layers)


def _add_stream_head(builder: Builder, name: str, hidden: int, streams: int, **facts: Any) -> None:
    """
    What folds the residual streams into one.
    """
    facts = facts or {"stage": "all"}
    shapes: dict[str, tuple[int, ...]] = {"fn": (streams, streams * hidden), "base": (streams,), "scale": (1,)}
    for last, shape in shapes.items():
        builder.parameter(f"{name}.hc_head_{last}", *shape, dtype="float32", **facts)


def _add_ropes(builder: Builder, name: str, stack: Stack, compressed: Compressed, layers: Layers) -> None:
    """
    A float32 table for plain windows, and one with YaRN for layers that compress.
    """
    text, dim, rows = stack.text, compressed.rope, stack.max_position
    plain = without(layers, compressed.sparse + compressed.heavy)
    older = without(layers, plain)
    if plain:
        table = RopeTable(positions=rows, dim=dim, dtype="float32", key=("window", rows, dim))
        builder.rope(f"{name}.rotary_emb", table, layers=plain)
    if older:
        positions = rows
        if rope_type(rope_parameters(text, "compress")) != "default":
            table = read_rope(text, dim, max_position=rows, layer_type="compress", deepseek=True, partial=1.0)
            positions = table.positions
        if positions > MAX_POSITION:
            raise text.refuse("max_position_embeddings", f"at most {MAX_POSITION} after scaling")
        table = RopeTable(positions=positions, dim=dim, dtype="float32", key=("compressed", positions, dim))
        builder.rope(f"{name}.rotary_emb", table, layers=older)


def _draft(builder: Builder, stack: Stack, compressed: Compressed, streams: int) -> Draft | None:
    """
    More layers, with windows only; both inputs have a projection of their own.
    """
    number = stack.text.integer("num_nextn_predict_layers", default=0, minimum=0, maximum=64)
    if not number:
        return None
    first, hidden, layer = len(stack.layers), stack.hidden, "model.layers.*"
    layers = tuple(range(first, first + number))
    extra = builder.beside()
    add_norms(extra, layer, hidden, "enorm", "hnorm", "shared_head.norm", layers=layers)
    for name in ("e_proj", "h_proj"):
        extra.linear(f"{layer}.{name}", hidden, hidden, shard=REPLICATED, layers=layers)
    _add_stream_head(extra, layer, hidden, streams, layers=layers)
    _add_layers(extra, stack, layer, layers, compressed, streams)
    add_speculator(extra, streams * hidden)
    return finish_draft(extra, num_layers=number)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a DeepSeek-V4.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text)
    return attrs.evolve(finish(checkpoint, builder, stack), kv_cache_dtype="fp8_ds_mla")
