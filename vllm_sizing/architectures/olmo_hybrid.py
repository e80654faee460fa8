"""
OLMo Hybrid: three layers of gated delta net, then one of full attention.

Source: vLLM 0.33 ``model_executor/models/olmo_hybrid.py``, ``layers/mamba/gdn/olmo_gdn_linear_attn.py``;
defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.blocks import (
    Stack,
    add_ends,
    add_norms,
    add_rope,
    add_self_attention,
    finish,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers, without
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.rope import rope_parameters
from vllm_sizing.specs.model import COLUMN, ROW, ModelSpec, Part, RecurrentState, StateTensor

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 100352, "hidden_size": 3840, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 30, "max_position_embeddings": 65536, "linear_conv_kernel_dim": 4,
}  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder; both ends are on every pipeline stage.
    """
    text = text.over(_DEFAULTS).changed(head_dim=None)
    stack = read_stack(text)
    layer, layers, hidden = f"{prefix}model.layers.*", stack.layers, stack.hidden
    attending = _full_layers(text, layers)
    add_ends(builder, stack, prefix, everywhere=True, lora=False)
    add_self_attention(builder, f"{layer}.self_attn", stack, layers=attending)
    keys = stack.attention.num_kv_heads * stack.attention.head_size
    for norm, size in (("q_norm", hidden), ("k_norm", keys)):
        builder.norm(f"{layer}.self_attn.{norm}", size, layers=attending)
    # An explicit null switches positions off; silence means the default base.
    if attending and rope_parameters(text).data.get("rope_theta", 0) is not None:
        add_rope(builder, f"{layer}.self_attn", stack, layers=attending)
    _add_delta_net(builder, f"{layer}.linear_attn", stack, layers=without(layers, attending))
    builder.gated_mlp(f"{layer}.mlp", hidden, text.required("intermediate_size"), layers=layers)
    add_norms(builder, layer, hidden, "first_layernorm", "second_layernorm", layers=layers)
    return stack


def _full_layers(text: Config, layers: Layers) -> Layers:
    kinds = text.layer_types(len(layers))
    if kinds is not None:
        return tuple(at for at in layers if kinds[at] != "linear_attention")
    return tuple(at for at in layers if at % 4 == 3) or layers[-1:]


def _add_delta_net(builder: Builder, name: str, stack: Stack, *, layers: Layers) -> None:
    if not layers:
        return
    text, hidden, heads = stack.text, stack.hidden, stack.attention.num_heads
    key_heads = text.integer("linear_num_key_heads", default=heads, maximum=2**16)
    value_heads = text.integer("linear_num_value_heads", default=heads, maximum=2**16)
    key_size = text.integer("linear_key_head_dim", default=int(0.75 * hidden / key_heads), maximum=2**16)
    value_size = text.integer("linear_value_head_dim", default=2 * key_size, maximum=2**16)
    kernel = text.required("linear_conv_kernel_dim", maximum=2**10)
    key, value = key_heads * key_size, value_heads * value_size
    builder.linear(
        f"{name}.in_proj_qkvg", hidden, (key, key, value, value),
        layers=layers, fused=("q_proj", "k_proj", "v_proj", "g_proj"),
    )  # fmt: skip
    for last in ("b_proj", "a_proj"):
        builder.linear(f"{name}.{last}", hidden, value_heads, layers=layers)
    builder.linear(f"{name}.conv1d", kernel, 2 * key + value, layers=layers, quantized=False)
    for vector in ("dt_bias", "A_log"):
        builder.parameter(f"{name}.{vector}", value_heads, layers=layers, shard=COLUMN)
    builder.norm(f"{name}.o_norm", value_size, layers=layers)
    builder.linear(f"{name}.o_proj", value, hidden, shard=ROW, layers=layers)
    states = (
        StateTensor(columns=(Part(2 * key + value),), rows=kernel - 1, grows=True),
        StateTensor(columns=(Part(value_heads),), depth=value_size * key_size, dtype="ssm"),
    )
    builder.cache_layers.append(RecurrentState(layers=layers, kind="delta_net", states=states))


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an OLMo Hybrid.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
