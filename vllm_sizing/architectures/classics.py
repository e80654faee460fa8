"""
The first generation of open decoders: GPT-2, GPT-J, BLOOM, Falcon.

Source: vLLM 0.33 ``model_executor/models/gpt2.py``, ``gpt_j.py``, ``bloom.py``, ``falcon.py``; defaults
from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import MAX_POSITION, Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Names, Style, add_decoder
from vllm_sizing.specs.model import ModelSpec

_OLD = Style(
    qkv_bias=True, output_bias=True, mlp_bias=True, head_dim=False, norms=("ln_1", "ln_2"), norm_bias=True,
    gated=False, rotary=False, everywhere=True, per_layer_windows=False, lora=False, lora_ends=False,
)  # fmt: skip
_GPT2 = attrs.evolve(
    _OLD,
    defaults={"max_position_embeddings": 1024, "tie_word_embeddings": True},
    names=Names(
        embed="transformer.wte", layer="transformer.h.*", attention="attn", qkv="c_attn", output="c_proj",
        up="c_fc", down="c_proj", norm="transformer.ln_f", qkv_parts=(),
    ),
)  # fmt: skip
_GPTJ = attrs.evolve(
    _OLD,
    defaults={"max_position_embeddings": 2048},
    names=Names(
        embed="transformer.wte", layer="transformer.h.*", attention="attn", output="out_proj", up="fc_in",
        down="fc_out", norm="transformer.ln_f",
    ),
    qkv_bias=False, output_bias=False, norms=("ln_1",), rotary=True, neox=False, head_bias=True, tied=False,
)  # fmt: skip
_BLOOM = attrs.evolve(
    _OLD,
    defaults={"tie_word_embeddings": True},
    names=Names(
        embed="transformer.word_embeddings", layer="transformer.h.*", attention="self_attention",
        qkv="query_key_value", output="dense", up="dense_h_to_4h", down="dense_4h_to_h", norm="transformer.ln_f",
        qkv_parts=(),
    ),
    norms=("input_layernorm", "post_attention_layernorm"), head_quantized=False,
)  # fmt: skip
_FALCON = attrs.evolve(
    _BLOOM,
    defaults={"max_position_embeddings": 2048, "tie_word_embeddings": True},
    qkv_bias=("bias",), output_bias=("bias",), mlp_bias=("bias",), head_quantized=True,
)  # fmt: skip
_STYLES = {
    "BloomForCausalLM": _BLOOM,
    "FalconForCausalLM": _FALCON,
    "GPT2LMHeadModel": _GPT2,
    "GPTJForCausalLM": _GPTJ,
}


def usual_names(text: Config) -> Config:
    """
    The config with its sizes under the names that newer ones use.
    """
    return text.changed(
        hidden_size=text.integer("n_embd", "n_embed", "hidden_size", default=None),
        num_attention_heads=text.integer("n_head", "num_attention_heads", default=None),
        num_hidden_layers=text.integer("n_layer", "num_hidden_layers", default=None),
        max_position_embeddings=text.integer("n_positions", "max_position_embeddings", default=None),
        intermediate_size=text.integer("n_inner", "ffn_hidden_size", "intermediate_size", default=None),
    )


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    text, style = usual_names(text), _STYLES[architecture]
    hidden = text.required("hidden_size")
    heads = text.required("num_attention_heads", maximum=2**16)
    kv_heads = heads
    width = text.integer("intermediate_size", default=4 * hidden)
    if architecture in ("BloomForCausalLM", "FalconForCausalLM"):
        width = 4 * hidden  # Whatever the config says.
    if architecture == "FalconForCausalLM":
        style, kv_heads = _falcon(text, style, heads)
        builder.traits.add("model_dtype_cache")  # Its Attention is built without a cache_config.
    elif architecture == "GPTJForCausalLM":
        share = text.integer("rotary_dim", default=64) * heads / hidden
        text = text.over({"partial_rotary_factor": share})
    if not text.has("max_position_embeddings"):
        text = text.changed(max_position_embeddings=style.defaults.get("max_position_embeddings"))
    text = text.changed(num_key_value_heads=kv_heads, intermediate_size=width)
    stack = add_decoder(builder, text, style, prefix=prefix)
    if architecture == "BloomForCausalLM":
        builder.norm(f"{prefix}transformer.word_embeddings_layernorm", hidden, stage="all", bias=True)
        builder.traits.add("alibi")
    elif architecture == "GPT2LMHeadModel":
        positions = stack.text.required("max_position_embeddings", maximum=MAX_POSITION)
        builder.parameter(f"{prefix}transformer.wpe.weight", positions, hidden, stage="all")
    return stack


def _falcon(text: Config, style: Style, heads: int) -> tuple[Style, int]:
    """
    Falcon's switches: grouped heads, norms in parallel, ALiBi instead of rotation.
    """
    new = text.flag("new_decoder_architecture", default=False)
    if new:
        kv_heads = text.integer("num_kv_heads", default=heads, maximum=2**16)
    else:
        kv_heads = 1 if text.flag("multi_query", default=True) else heads
    norms: tuple[str, ...] = ("input_layernorm",)
    if not text.flag("parallel_attn", default=True):
        norms = ("post_attention_layernorm", "input_layernorm")
    elif text.integer("num_ln_in_parallel_attn", default=2 if new else 1) == 2:
        norms = ("ln_attn", "ln_mlp")
    return attrs.evolve(style, norms=norms, rotary=not text.flag("alibi", default=False)), kv_heads


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a decoder of the first generation.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
