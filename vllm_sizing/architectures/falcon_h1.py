"""
Falcon-H1: attention and Mamba 2 side by side in every layer.

Source: vLLM 0.33 ``model_executor/models/falcon_h1.py``; defaults from transformers 5.20.
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
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.recurrent import Mamba2, add_mamba2
from vllm_sizing.specs.model import ModelSpec, Shard

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 128000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192, "mamba_d_ssm": 1024,
    "mamba_n_heads": 128, "mamba_n_groups": 1, "mamba_d_state": 256, "mamba_d_conv": 4, "mamba_expand": 2,
}  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder; a mixer's modules are named as if its layers came after the others.
    """
    text = text.over(_DEFAULTS)
    stack = read_stack(text)
    layer, layers, hidden = f"{prefix}model.layers.*", stack.layers, stack.hidden
    add_ends(builder, stack, prefix, norm="model.final_layernorm", head_quantized=False)
    add_self_attention(builder, layer, stack, layers=layers)
    rotated = text.integer("attn_rotary_emb", default=stack.attention.head_size, maximum=stack.attention.head_size)
    add_rope(builder, layer, stack, text=text.changed(partial_rotary_factor=rotated / stack.attention.head_size))
    mixer = _read_mixer(text, hidden)
    add_mamba2(builder, f"{prefix}model.*.mixer", hidden, mixer, layers=layers)
    if stack.tied:
        builder.traits.add("no_pipeline")  # The class looks for the embeddings on the last stage.
    parts = mixer.projected
    builder.parameter(
        f"{layer}.mamba.mup_vector", sum(part.size for part in parts),
        layers=layers, shard=Shard(axis=0, parts=parts), role="buffer",
    )  # fmt: skip
    builder.gated_mlp(f"{layer}.feed_forward", hidden, text.required("intermediate_size"), layers=layers)
    add_norms(builder, layer, hidden, "input_layernorm", "pre_ff_layernorm", layers=layers)
    return stack


def _read_mixer(text: Config, hidden: int) -> Mamba2:
    heads = text.required("mamba_n_heads", maximum=2**16)
    inner = text.integer("mamba_d_ssm", default=0) or text.required("mamba_expand", maximum=2**10) * hidden
    if heads * (text.automatic("mamba_d_head") or inner // heads) != inner:
        raise text.refuse("mamba_n_heads", f"a divisor of mamba_d_ssm ({inner}), by mamba_d_head")
    return Mamba2(
        heads=heads,
        head_size=inner // heads,
        state_size=text.required("mamba_d_state", maximum=2**16),
        groups=text.required("mamba_n_groups", maximum=2**16),
        kernel=text.required("mamba_d_conv", maximum=2**10),
        conv_bias=text.flag("mamba_conv_bias", default=True),
        bias=text.flag("mamba_proj_bias", default=False),
        norm=text.flag("mamba_rms_norm", default=False),
    )


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Falcon-H1.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
