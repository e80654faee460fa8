"""
Qwen3-Next and Qwen3.5: three layers of gated delta net, then one of full attention.

Source: vLLM 0.33 ``model_executor/models/qwen3_next.py``, ``qwen3_5.py``,
``layers/mamba/gdn/qwen_gdn_linear_attn.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Moe,
    Stack,
    add_moe,
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
from vllm_sizing.architectures.qwen_moe import sparse_layers
from vllm_sizing.architectures.qwen_vision import add_qwen_vision
from vllm_sizing.specs.model import COLUMN, REPLICATED, ROW, ModelSpec, Part, RecurrentState, StateTensor

_COMMON = {
    "num_attention_heads": 16, "head_dim": 256, "max_position_embeddings": 32768, "partial_rotary_factor": 0.25,
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "full_attention_interval": 4,
    "decoder_sparse_step": 1, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
}  # fmt: skip
_DEFAULTS = {
    "Qwen3NextForCausalLM": {**_COMMON, "num_key_value_heads": 2, "num_experts": 512, "num_experts_per_tok": 10},
    "Qwen3_5ForCausalLM": {**_COMMON, "num_key_value_heads": 4},
    "Qwen3_5MoeForCausalLM": {**_COMMON, "num_key_value_heads": 2, "num_experts": 256, "num_experts_per_tok": 8},
}
_TEXT_CLASS = {
    "InternS2PreviewForConditionalGeneration": "Qwen3_5MoeForCausalLM",
    "Qwen3_5ForConditionalGeneration": "Qwen3_5ForCausalLM",
    "Qwen3_5MoeForConditionalGeneration": "Qwen3_5MoeForCausalLM",
}
# hf_to_vllm_mapper of the multimodal classes.
_PREFIXES = (
    ("model.visual.", "visual."),
    ("lm_head.", "language_model.lm_head."),
    ("model.language_model.", "language_model.model."),
)
_MARLIN_METHODS = frozenset({"auto_awq", "auto_gptq", "inc"})


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    The decoder; the embedding is on every pipeline stage, of Qwen3-Next the head too.
    """
    text = text.over(_DEFAULTS[architecture])
    old = architecture == "Qwen3NextForCausalLM"
    number = 0 if architecture == "Qwen3_5ForCausalLM" else text.required("num_experts", minimum=0, maximum=2**16)
    stack = attrs.evolve(
        read_stack(text),
        tied=not old and text.flag("tie_word_embeddings", default=False),
        num_experts=number,
        num_experts_per_token=read_experts(text, "num_experts_per_tok") if number else 0,
    )
    if not old:
        builder.mrope_factor = 1
    layers = stack.layers
    attention = full_layers(text, layers)
    linear = tuple(sorted(set(layers) - set(attention)))
    builder.embedding(f"{prefix}model.embed_tokens", stack.vocab_size, stack.hidden, stage="all", lora=not old)
    if stack.tied:
        builder.traits |= {"tied_embeddings", "lora_tied_head"}
    else:
        builder.lm_head(
            f"{prefix}lm_head", stack.vocab_size, stack.hidden,
            stage="all" if old else "last", quantized=not old, lora=not old,
        )  # fmt: skip
    builder.norm(f"{prefix}model.norm", stack.hidden, stage="last")
    layer = f"{prefix}model.layers.*"
    add_gated_attention(builder, f"{layer}.self_attn", stack, layers=attention)
    add_delta_net(builder, f"{layer}.linear_attn", stack, layers=linear, interleaved=old)
    _add_mlp(builder, layer, stack, layers=layers, sparse=sparse_layers(text, layers) if old else layers)
    _add_norms(builder, layer, stack, layers=layers)
    return stack


def full_layers(text: Config, layers: Layers) -> Layers:
    """
    Layers with full attention.
    """
    kinds = text.layer_types(len(layers))
    if kinds is not None:
        return tuple(layer for layer in layers if kinds[layer] == "full_attention")
    interval = text.required("full_attention_interval", maximum=2**10)
    return tuple(layer for layer in layers if (layer + 1) % interval == 0)


def add_gated_attention(builder: Builder, name: str, stack: Stack, *, layers: Layers) -> None:
    """
    Attention whose query projection brings a gate of the same width.
    """
    attention, text = stack.attention, stack.text
    heads, size = attention.num_heads, attention.head_size
    gates = 2 if text.flag("attn_output_gate", default=True) else 1
    builder.linear(
        f"{name}.qkv_proj", stack.hidden,
        (
            Part(gates * heads * size),
            Part(attention.num_kv_heads * size, attention.num_kv_heads),
            Part(attention.num_kv_heads * size, attention.num_kv_heads),
        ),
        layers=layers, bias=text.flag("qkv_bias", default=False), fused=("q_proj", "k_proj", "v_proj"),
    )  # fmt: skip
    builder.linear(f"{name}.o_proj", heads * size, stack.hidden, shard=ROW, layers=layers)
    builder.norm(f"{name}.q_norm", size, layers=layers)
    builder.norm(f"{name}.k_norm", size, layers=layers)
    builder.attention_caches(f"{name}.attn", layers, heads, attention.num_kv_heads, size)
    if layers:
        add_rope(builder, name, stack, partial=0.25, layers=layers)


def add_delta_net(builder: Builder, name: str, stack: Stack, *, layers: Layers, interleaved: bool) -> None:
    """
    A gated delta net and its state: a convolution window and a matrix per head.

    Args:
        interleaved: q, k, v and the gate are one tensor in the checkpoint.
    """
    if not layers:
        return
    text, hidden = stack.text, stack.hidden
    key_heads = text.required("linear_num_key_heads", maximum=2**16)
    value_heads = text.required("linear_num_value_heads", maximum=2**16)
    key_size = text.required("linear_key_head_dim", maximum=2**16)
    value_size = text.required("linear_value_head_dim", maximum=2**16)
    kernel = text.required("linear_conv_kernel_dim", maximum=2**10)
    key, value = key_heads * key_size, value_heads * value_size
    builder.linear(f"{name}.conv1d", kernel, 2 * key + value, layers=layers, quantized=False)
    widths = (2 * key + 2 * value,) if interleaved else (key, key, value, value)
    builder.linear(
        f"{name}.in_proj_qkvz", hidden, widths, layers=layers, fused=() if interleaved else ("in_proj_qkv", "in_proj_z")
    )
    # Marlin needs 64 rows on a rank, which the small projection of Qwen3.5 has not when it is divided.
    whole = not interleaved and builder.quantization.method in _MARLIN_METHODS
    builder.linear(
        f"{name}.in_proj_ba", hidden, (2 * value_heads,) if interleaved else (value_heads, value_heads),
        layers=layers, shard=REPLICATED if whole else COLUMN, fused=() if interleaved else ("in_proj_b", "in_proj_a"),
    )  # fmt: skip
    builder.parameter(f"{name}.dt_bias", value_heads, layers=layers, shard=COLUMN)
    builder.parameter(f"{name}.A_log", value_heads, layers=layers, shard=COLUMN, dtype="float32")
    builder.norm(f"{name}.norm", value_size, layers=layers)
    builder.linear(f"{name}.out_proj", value, hidden, shard=ROW, layers=layers)
    ssm_dtype = text.text("mamba_ssm_dtype", default="")
    if ssm_dtype not in ("", "float32", "float16", "bfloat16"):
        raise text.refuse("mamba_ssm_dtype", "float32, float16 or bfloat16")
    builder.cache_layers.append(
        RecurrentState(
            layers=layers,
            kind="gdn_attention",
            states=(
                StateTensor(columns=(Part(2 * key + value),), rows=kernel - 1, grows=True),
                StateTensor(columns=(Part(value_heads),), depth=value_size * key_size, dtype="ssm"),
            ),
            ssm_dtype=ssm_dtype,
            key_size=key_size,
        )
    )


def _add_mlp(builder: Builder, layer: str, stack: Stack, *, layers: Layers, sparse: Layers) -> None:
    """
    Experts with a gated shared one in sparse layers, a dense MLP in the others.
    """
    text, sparse = stack.text, sparse if stack.num_experts else ()
    if sparse:
        moe = Moe(
            layers=sparse, num_experts=stack.num_experts, top_k=stack.num_experts_per_token,
            intermediate=text.required("moe_intermediate_size"),
            shared_intermediate=text.integer("shared_expert_intermediate_size", default=0, minimum=0),
            shared="shared_expert", shared_gate="shared_expert_gate",
        )  # fmt: skip
        add_moe(builder, f"{layer}.mlp", stack.hidden, moe)
    dense = tuple(sorted(set(layers) - set(sparse)))
    if dense:
        builder.gated_mlp(f"{layer}.mlp", stack.hidden, text.required("intermediate_size"), layers=dense)


def _add_norms(builder: Builder, layer: str, stack: Stack, *, layers: Layers) -> None:
    add_norms(builder, layer, stack.hidden, *TWO_NORMS, layers=layers)
    if stack.text.flag("layer_scale", default=False):
        for scale in ("attn_layer_scale", "ffn_layer_scale"):
            builder.parameter(f"{layer}.{scale}", stack.hidden, layers=layers)


def add_draft(builder: Builder, stack: Stack, *, old: bool, sees: bool) -> None:
    """
    The MTP layers: a projection of hidden state and embedding, then decoder layers with full attention.

    Source: vLLM 0.33 ``qwen3_next_mtp.py``, ``qwen3_5_mtp.py``.
    """
    text = stack.text
    number = text.integer(
        "num_nextn_predict_layers" if old else "mtp_num_hidden_layers", default=1, minimum=0, maximum=64
    )
    extra = builder.beside()
    plain = builder.quantization.method == "modelopt_fp4"
    extra.linear("mtp.fc", 2 * stack.hidden, stack.hidden, quantized=not plain)
    for norm in ("norm", "pre_fc_norm_hidden", "pre_fc_norm_embedding"):
        extra.norm(f"mtp.{norm}", stack.hidden)
    for index in range(number):
        # Counted from 0 in the checkpoint, after the decoder's own in the cache.
        layer, layers = f"mtp.layers.{index}", (len(stack.layers) + index,)
        add_gated_attention(extra, f"{layer}.self_attn", stack, layers=layers)
        _add_mlp(extra, layer, stack, layers=layers, sparse=_sparse_drafts(text, index, layers) if old else layers)
        _add_norms(extra, layer, stack, layers=layers)
    add_speculator(extra, stack.hidden, embeds=sees)
    if number:
        builder.draft = finish_draft(extra, num_layers=number)


def _sparse_drafts(text: Config, index: int, layers: Layers) -> Layers:
    return layers if sparse_layers(text, (index,)) else ()


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Qwen3-Next or Qwen3.5, with its image encoder where it has one.
    """
    sees = checkpoint.architecture in _TEXT_CLASS
    architecture = _TEXT_CLASS.get(checkpoint.architecture, checkpoint.architecture)
    old = architecture == "Qwen3NextForCausalLM"
    if sees:
        checkpoint = attrs.evolve(checkpoint, quantization=checkpoint.quantization.with_prefixes(_PREFIXES))
    builder = checkpoint.builder()
    stack = add_language_model(
        builder, checkpoint.text, architecture=architecture, prefix="language_model." if sees else ""
    )
    if sees:
        add_qwen_vision(builder, checkpoint.config.section("vision_config") or Config({}), stack.hidden)
    add_draft(builder, stack, old=old, sees=sees)
    return finish(checkpoint, builder, stack)
