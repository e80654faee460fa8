"""
Hunyuan V4: gated sparse latent attention, experts, and several residual streams.

Source: vLLM 0.33 ``models/hy_v4/nvidia``; defaults from ``transformers_utils/configs/hy_v4.py``.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Moe,
    Stack,
    add_ends,
    add_moe,
    add_norms,
    add_rope,
    finish,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.mla import (
    Indexer,
    Latent,
    add_latent_attention,
    read_latent,
)
from vllm_sizing.specs.model import COLUMN, REPLICATED, ModelSpec

_SPARSE = ("sparse_attention", "sparse", "indexed_attention", "deepseek_sparse_attention")
_DEFAULTS: dict[str, Any] = {
    "moe_intermediate_size": 768, "n_shared_experts": 1, "num_experts_per_tok": 8,
    "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 192, "qk_rope_head_dim": 64, "v_head_dim": 256,
    "index_topk": 2048, "index_head_dim": 128, "index_n_heads": 16, "max_position_embeddings": 262144,
    "hc_mult": 4, "gating_type": "elementwise", "model_type": "hy_v4",
}  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    text = text.over(_DEFAULTS)
    latent = read_latent(text)
    stack = read_stack(text, attention=latent.attention)
    layers, layer, hidden = stack.layers, f"{prefix}model.layers.*", stack.hidden
    add_ends(builder, stack, prefix, lora=False)
    indexer = _read_indexer(text, layers)
    builder.parameter(
        f"{prefix}model.topk_indices_buffer", text.required("index_topk", maximum=2**24),
        dtype="int32", role="buffer", stage="all", per_batched_token=True,
    )  # fmt: skip
    # The class names the parts of the indexer's projection, so LoRA wraps it.
    add_latent_attention(
        builder, f"{layer}.self_attn", hidden, latent, layers=layers, indexer=indexer, indexer_lora=True
    )
    _add_gate_and_sinks(builder, f"{layer}.self_attn", hidden, latent, text, layers, sparse=indexer is not None)
    add_rope(builder, f"{layer}.self_attn", stack, head_size=latent.rope, neox=False)
    moe = _read_moe(text, layers)
    add_moe(builder, f"{layer}.mlp", hidden, moe)
    dense = tuple(at for at in layers if at not in set(moe.layers))
    builder.gated_mlp(f"{layer}.mlp", hidden, text.required("intermediate_size"), layers=dense)
    add_norms(builder, layer, hidden, *TWO_NORMS, layers=layers)
    if text.flag("enable_ihc", default=True):
        _add_streams(builder, prefix, layer, hidden, text.required("hc_mult", maximum=64), layers)
    return stack.with_experts(moe)


def _read_indexer(text: Config, layers: Layers) -> Indexer | None:
    number = len(layers)
    kinds = text.layer_types(number)
    sparse = tuple(at for at in layers if kinds is not None and kinds[at] in _SPARSE)
    if not sparse:
        return None
    types = text.layer_types(number, "indexer_types")
    types = types or ["full" if at == 0 or (at - 1) % 4 == 0 else "shared" for at in layers]
    return Indexer(
        layers=tuple(at for at in sparse if types[at] != "shared"),
        num_heads=text.required("index_n_heads", maximum=2**16),
        head_size=text.required("index_head_dim", maximum=2**16),
        top_k=text.required("index_topk", maximum=2**24),
    )


def _read_moe(text: Config, layers: Layers) -> Moe:
    kinds = text.layer_types(len(layers), "mlp_layer_types")
    width = text.required("moe_intermediate_size")
    return Moe(
        layers=tuple(at for at in layers if (kinds[at] != "dense" if kinds else at)),
        num_experts=text.integer("n_routed_experts", "num_local_experts", default=256, maximum=2**16),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=width,
        router_dtype="float32",
        correction_bias="expert_bias",
        shared_intermediate=width * text.integer("n_shared_experts", default=0, minimum=0, maximum=2**16),
    )


def _add_gate_and_sinks(
    builder: Builder, name: str, hidden: int, latent: Latent, text: Config, layers: Layers, *, sparse: bool
) -> None:
    if text.flag("gated_mla", default=True):
        kind = text.text("gating_type")
        if kind not in ("elementwise", "headwise"):
            raise text.refuse("gating_type", "elementwise or headwise")
        width = latent.value if kind == "elementwise" else 1
        builder.linear(f"{name}.linear_gate", hidden, latent.num_heads * width, layers=layers)
    if text.flag("learnable_sink", default=True):
        # float32 where the sparse backend folds it in, as on Hopper.
        builder.parameter(
            f"{name}.learnable_sink_param",
            latent.num_heads,
            layers=layers,
            shard=COLUMN,
            dtype="float32" if sparse else "bfloat16",
        )
        builder.traits.add("attention_sinks")


def _add_streams(builder: Builder, prefix: str, layer: str, hidden: int, streams: int, layers: Layers) -> None:
    """
    What mixes the residual streams before attention and MLP, and at the end; in float32 on every rank.
    """
    facts: dict[str, Any] = {"dtype": "float32"}
    for block in ("hc_attn_layer", "hc_mlp_layer"):
        name = f"{layer}.{block}.hc_pre"
        builder.linear(
            f"{name}.hc_fn", streams * hidden, 2 * streams,
            shard=REPLICATED, layers=layers, quantized=False, **facts,
        )  # fmt: skip
        builder.parameter(f"{name}.hc_scale", 2, layers=layers, **facts)
        builder.parameter(f"{name}.hc_base", 2 * streams, layers=layers, **facts)
    head = f"{prefix}model.hc_head"
    builder.linear(
        f"{head}.hc_head_fn", streams * hidden, streams, shard=REPLICATED, quantized=False, stage="last", **facts
    )
    builder.parameter(f"{head}.hc_head_base", streams, stage="last", **facts)
    builder.parameter(f"{head}.hc_head_scale", 1, stage="last", **facts)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Hunyuan V4.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
