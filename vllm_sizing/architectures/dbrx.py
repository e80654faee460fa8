"""
DBRX: sixteen experts in every layer.

Source: vLLM 0.33 ``model_executor/models/dbrx.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import Moe, Stack, finish, read_experts
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Names, Style, add_decoder
from vllm_sizing.specs.model import ModelSpec


def _read_moe(text: Config, layers: Layers) -> Moe:
    ffn = (text.section("ffn_config") or Config({}, "ffn_config")).over(
        {"ffn_hidden_size": 3584, "moe_num_experts": 4, "moe_top_k": 1}
    )
    return Moe(
        layers=layers,
        num_experts=read_experts(ffn, "moe_num_experts"),
        top_k=read_experts(ffn, "moe_top_k"),
        intermediate=ffn.required("ffn_hidden_size"),
        router="router.layer",
    )


_STYLE = Style(
    names=Names(
        embed="transformer.wte", layer="transformer.blocks.*", attention="norm_attn_norm.attn", qkv="Wqkv",
        output="out_proj", moe="ffn", norm="transformer.norm_f", qkv_parts=(),
    ),
    qkv_bias=False, output_bias=False, moe=_read_moe, head_dim=False, everywhere=True, tied=False,
    norms=("norm_attn_norm.norm_1", "norm_attn_norm.norm_2"), per_layer_windows=False, lora=False, lora_ends=False,
)  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    del architecture
    attention = text.section("attn_config") or Config({}, "attn_config")
    text = text.changed(
        hidden_size=text.integer("d_model", default=2048),
        num_attention_heads=text.integer("n_heads", default=16, maximum=2**16),
        num_key_value_heads=attention.integer("kv_n_heads", default=1, maximum=2**16),
        num_hidden_layers=text.integer("n_layers", default=24, maximum=1024),
        max_position_embeddings=text.integer("max_seq_len", default=2048, maximum=2**30),
        vocab_size=text.integer("vocab_size", default=32000),
        rope_scaling=None,
        rope_parameters={"rope_type": "default"},
    )
    if text.flag("tie_word_embeddings", default=False):
        raise text.refuse("tie_word_embeddings", "false: vLLM does not tie them for DBRX")
    return add_decoder(builder, text, _STYLE, prefix=prefix)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a DBRX.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
