"""
OPT.

Source: vLLM 0.33 ``model_executor/models/opt.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import Stack, add_norms, add_self_attention, finish, read_stack
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import REPLICATED, ROW, ModelSpec

_DEFAULTS = {"max_position_embeddings": 2048, "tie_word_embeddings": True}
_POSITION_OFFSET = 2  # OPTLearnedPositionalEmbedding has this many rows more.


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder; both ends are on every pipeline stage.
    """
    text = text.over(_DEFAULTS).changed(num_key_value_heads=None, head_dim=None)
    stack = read_stack(text)
    hidden, layers = stack.hidden, stack.layers
    decoder = f"{prefix}model.decoder"
    layer = f"{decoder}.layers.*"
    width = text.integer("word_embed_proj_dim", default=hidden)
    bias = text.flag("enable_bias", default=True)
    builder.embed_and_head(
        f"{decoder}.embed_tokens", f"{prefix}lm_head", stack.vocab_size, width,
        tied=stack.tied, everywhere=True, lora=False, head_quantized=False,
    )  # fmt: skip
    builder.parameter(f"{decoder}.embed_positions.weight", stack.max_position + _POSITION_OFFSET, hidden, stage="all")
    if width != hidden:
        builder.linear(f"{decoder}.project_in", width, hidden, shard=REPLICATED, stage="all")
        builder.linear(f"{decoder}.project_out", hidden, width, shard=REPLICATED, stage="all")
    add_self_attention(builder, f"{layer}.self_attn", stack, bias=bias, output_bias=bias, output="out_proj")
    inner = text.required("ffn_dim")
    builder.linear(f"{layer}.fc1", hidden, inner, layers=layers, bias=bias)
    builder.linear(f"{layer}.fc2", inner, hidden, shard=ROW, layers=layers, bias=bias)
    if text.flag("layer_norm_elementwise_affine", default=True):
        add_norms(builder, layer, hidden, "self_attn_layer_norm", "final_layer_norm", layers=layers, bias=True)
        removed = text.flag("_remove_final_layer_norm", default=False)
        if text.flag("do_layer_norm_before", default=True) and not removed:
            builder.norm(f"{decoder}.final_layer_norm", hidden, stage="all", bias=True)
    return stack


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an OPT.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
