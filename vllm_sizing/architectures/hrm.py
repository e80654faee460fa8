"""
HRM-Text: two small stacks that are run again and again, each time with a cache of its own.

Source: vLLM 0.33 ``model_executor/models/hrm_text.py``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import Stack, add_rope, finish, read_stack
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import MAX_LAYERS
from vllm_sizing.errors import ConfigError
from vllm_sizing.specs.model import ROW, FullAttention, ModelSpec


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an HRM-Text.
    """
    builder, text = checkpoint.builder(), checkpoint.text
    cycles, inner = text.required("H_cycles", maximum=64), text.required("L_cycles", maximum=64)
    per_stack = text.num_layers("num_layers_per_stack")
    total = cycles * (inner + 1) * per_stack
    if total > MAX_LAYERS:
        message = (
            f"config.json: H_cycles, L_cycles and num_layers_per_stack give {total:,} layers; at most {MAX_LAYERS}"
        )
        raise ConfigError(message, field="H_cycles", value=cycles)
    # Heads are never grouped, whatever the config says.
    stack = attrs.evolve(
        read_stack(text.changed(num_hidden_layers=total, num_key_value_heads=None)), layers=tuple(range(total))
    )
    builder.embed_and_head("model.embed_tokens", "lm_head", stack.vocab_size, stack.hidden, tied=stack.tied, lora=False)
    builder.parameter("model.z_L_init", stack.hidden)
    for kind, uses in (("L", cycles * inner), ("H", cycles)):
        _add_stack(builder, stack, kind, uses, tuple(range(per_stack)))
        # The norms scale by nothing, but vLLM keeps a tensor of ones after the last.
        builder.norm(f"model.{kind}_module.final_norm", stack.hidden)
    steps = [step * per_stack + at for step in range(cycles * (inner + 1)) for at in range(per_stack)]
    attention = stack.attention
    builder.cache_layers.append(
        FullAttention(
            layers=tuple(steps), num_heads=attention.num_heads, num_kv_heads=attention.num_kv_heads,
            head_size=attention.head_size, head_size_v=attention.head_size,
        )
    )  # fmt: skip
    add_rope(builder, "model.L_module.layers.*.self_attn", stack)
    builder.traits.update(("no_lora", "no_pipeline"))
    return finish(checkpoint, builder, stack)


def _add_stack(builder: Builder, stack: Stack, kind: str, uses: int, layers: Layers) -> None:
    """
    One of the two stacks; its attention has scales for every use.
    """
    text, name = stack.text, f"model.{kind}_module.layers.*"
    attention = stack.attention
    width = attention.num_heads * attention.head_size
    bias = text.flag("attention_bias", default=False)
    builder.linear(f"{name}.self_attn.gqkv_proj", stack.hidden, (width,) * 4, layers=layers, bias=bias)
    builder.linear(f"{name}.self_attn.o_proj", width, stack.hidden, shard=ROW, layers=layers, bias=bias)
    builder.gated_mlp(
        f"{name}.mlp", stack.hidden, text.required("intermediate_size"),
        layers=layers, bias=text.flag("mlp_bias", default=False),
    )  # fmt: skip
    for norm in ("input_layernorm", "post_attention_layernorm"):
        builder.norm(f"{name}.{norm}", stack.hidden, layers=layers)
    for _ in range(uses):
        builder.attention_scales(f"{name}.self_attn.attn_per_step", layers)
