"""
LongCat-Flash: two latent attentions and two MLPs in every layer, experts beside them, some of which do nothing.

LongCat-Flash-Lite adds embeddings of the last tokens, hashed.

Source: vLLM 0.33 ``model_executor/models/longcat_flash.py``, ``longcat_flash_mtp.py``, ``longcat_flash_ngram.py``;
defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Stack,
    add_ends,
    add_norms,
    add_rope,
    add_speculator,
    finish,
    finish_draft,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.mla import Latent, add_latent_attention, read_latent
from vllm_sizing.specs.model import REPLICATED, Draft, ModelSpec

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 131072, "hidden_size": 6144, "num_layers": 28, "num_attention_heads": 64,
    "max_position_embeddings": 131072, "ffn_hidden_size": 12288, "q_lora_rank": 1536, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "moe_topk": 12, "n_routed_experts": 512,
    "zero_expert_num": 256, "expert_ffn_hidden_size": 2048,
}  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder and its MTP draft.
    """
    text = text.over(_DEFAULTS)
    text = text.changed(num_hidden_layers=text.num_layers("num_layers"))
    latent = attrs.evolve(read_latent(text), absorbed=True)
    stack = attrs.evolve(
        read_stack(text, attention=latent.attention),
        tied=False,
        num_experts=read_experts(text, "n_routed_experts", "num_local_experts"),
        num_experts_per_token=read_experts(text, "moe_topk", "num_experts_per_tok"),
    )
    layer, hidden = f"{prefix}model.layers.*", stack.hidden
    add_ends(builder, stack, prefix, lora=False)
    _add_pair(builder, stack, layer, tuple(sorted(stack.layers * 2)), latent)
    name = f"{layer}.mlp"
    routed = stack.num_experts + text.required("zero_expert_num", minimum=0, maximum=2**16)
    builder.linear(
        f"{name}.gate.classifier", hidden, routed,
        shard=REPLICATED, layers=stack.layers, quantized=False, dtype="float32",
    )  # fmt: skip
    builder.parameter(f"{name}.gate.e_score_correction_bias", routed, layers=stack.layers, dtype="float32")
    width = text.required("expert_ffn_hidden_size", "moe_intermediate_size")
    builder.experts(f"{name}.experts", stack.num_experts, hidden, width, layers=stack.layers)
    builder.draft = _draft(builder, stack, prefix, latent)
    return stack


def _add_pair(builder: Builder, stack: Stack, layer: str, layers: Layers, latent: Latent) -> None:
    """
    Attention, MLP and their norms; a layer that has two of each is listed twice.
    """
    text, hidden = stack.text, stack.hidden
    plain = set(text.words("disable_quant_module") or ())
    add_latent_attention(
        builder, f"{layer}.self_attn", hidden, latent,
        layers=layers, quantized="self_attn" not in plain, down_lora=False,
    )  # fmt: skip
    add_rope(builder, f"{layer}.self_attn", stack, head_size=latent.rope, deepseek=True, neox=False)
    builder.gated_mlp(
        f"{layer}.mlps", hidden, text.required("ffn_hidden_size", "intermediate_size"),
        layers=layers, quantized="mlps" not in plain,
    )  # fmt: skip
    add_norms(builder, layer, hidden, *TWO_NORMS, layers=layers)


def _draft(builder: Builder, stack: Stack, prefix: str, latent: Latent) -> Draft:
    """
    One dense layer with its own projection of the hidden state.
    """
    layers, hidden = (len(stack.layers),), stack.hidden
    extra, layer = builder.beside(), f"{prefix}model.layers.*"
    add_norms(extra, layer, hidden, "enorm", "hnorm", "final_layernorm", layers=layers)
    extra.linear(f"{layer}.eh_proj", 2 * hidden, hidden, shard=REPLICATED, layers=layers)
    _add_pair(extra, stack, layer, layers, latent)
    add_speculator(extra, hidden)
    return finish_draft(extra)


def _add_ngrams(builder: Builder, stack: Stack) -> None:
    """
    One table of all hashes of the last 2, 3, ... tokens, and a projection for each part of it.
    """
    text, name = stack.text, "model.ngram_embeddings"
    last, parts = (
        text.required("emb_neighbor_num", minimum=2, maximum=64),
        text.required("emb_split_num", maximum=2**10),
    )
    tables = (last - 1) * parts
    rows = tables * (text.required("ngram_vocab_size_ratio", maximum=2**10) * stack.vocab_size + tables)
    width = stack.hidden // tables
    builder.embedding(f"{name}.oe_embedder", rows, width, lora=False)
    builder.parameter(f"{name}.oe_projection", tables, width, stack.hidden)
    builder.parameter(f"{name}.hashing", tables * (last + 2) + 1, role="buffer", dtype="int32")


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a LongCat-Flash.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text)
    if checkpoint.architecture == "LongcatFlashNgramForCausalLM":
        builder.draft = None
        if checkpoint.text.has("ngram_vocab_size_ratio"):
            _add_ngrams(builder, stack)
    return finish(checkpoint, builder, stack)
