"""
Zamba2: Mamba 2 in every layer; some of them also pass one of a few shared transformer blocks.

Source: vLLM 0.33 ``model_executor/models/zamba2.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.blocks import MAX_HEADS, Attention, Stack, add_ends, add_rope, finish, read_stack
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.recurrent import Mamba2, add_mamba2
from vllm_sizing.specs.model import REPLICATED, ROW, ModelSpec

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000, "max_position_embeddings": 4096, "hidden_size": 2560, "num_hidden_layers": 54,
    "mamba_d_state": 64, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_ngroups": 1, "n_mamba_heads": 8,
    "num_attention_heads": 32, "num_mem_blocks": 1, "adapter_rank": 128, "tie_word_embeddings": True,
}  # fmt: skip
_LONG_CONTEXT = 16384
_PATTERN = (0,) + (0, 0, 0, 0, 0, 1) * 7 + (0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0)


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder.
    """
    text = text.over(_DEFAULTS)
    if text.flag("use_long_context", default=False):
        text = text.changed(max_position_embeddings=_LONG_CONTEXT)
    hidden, heads = text.required("hidden_size"), text.required("num_attention_heads", maximum=MAX_HEADS)
    if 2 * hidden % heads:
        raise text.refuse("num_attention_heads", f"a divisor of 2 x hidden_size ({2 * hidden})")
    stack = read_stack(text, attention=Attention(num_heads=heads, num_kv_heads=heads, head_size=2 * hidden // heads))
    layer = f"{prefix}model.layers.*"
    hybrid = _hybrid_layers(text, stack.layers)
    add_ends(builder, stack, prefix, everywhere=True, norm="model.final_layernorm", head_quantized=False)
    builder.norm(f"{layer}.input_layernorm", hidden, layers=stack.layers)
    add_mamba2(builder, f"{layer}.mixer", hidden, _read_mixer(text, hidden), layers=stack.layers)
    if hybrid:
        _add_blocks(builder, f"{prefix}model.shared_transformer", stack, hybrid)
        builder.linear(f"{layer}.linear", hidden, hidden, shard=REPLICATED, layers=hybrid)
    builder.traits |= {"no_lora", "no_pipeline"}
    return stack


def _hybrid_layers(text: Config, layers: Layers) -> Layers:
    key = "layers_block_type" if text.has("layers_block_type") else "layer_types"
    kinds = text.layer_types(len(layers), key)
    if kinds is None:
        kinds = ["hybrid" if at < len(_PATTERN) and _PATTERN[at] else "mamba" for at in layers]
    return tuple(at for at in layers if kinds[at] == "hybrid")


def _read_mixer(text: Config, hidden: int) -> Mamba2:
    heads, inner = text.required("n_mamba_heads", maximum=2**16), text.required("mamba_expand", maximum=2**10) * hidden
    if inner % heads:
        raise text.refuse("n_mamba_heads", f"a divisor of mamba_expand x hidden_size ({inner})")
    return Mamba2(
        heads=heads,
        head_size=inner // heads,
        state_size=text.required("mamba_d_state", maximum=2**16),
        groups=text.required("mamba_ngroups", maximum=2**16),
        kernel=text.required("mamba_d_conv", maximum=2**10),
        conv_bias=text.flag("use_conv_bias", default=True),
        bias=text.flag("add_bias_linear", default=False),
    )


def _add_blocks(builder: Builder, name: str, stack: Stack, hybrid: Layers) -> None:
    """
    The shared blocks, which see the embeddings beside the hidden state; each visit has its own adapters and cache.
    """
    text, hidden, heads, size = stack.text, stack.hidden, stack.attention.num_heads, stack.attention.head_size
    inner = text.integer("intermediate_size", default=0, minimum=0) or 4 * hidden
    shared: dict[str, Any] = {"count": text.required("num_mem_blocks", maximum=2**10)}
    biased = {**shared, "bias": text.flag("add_bias_linear", default=False)}
    builder.linear(f"{name}.qkv_proj", 2 * hidden, (heads * size,) * 3, fused=("q_proj", "k_proj", "v_proj"), **shared)
    builder.linear(f"{name}.o_proj", heads * size, hidden, shard=ROW, **shared)
    builder.linear(f"{name}.feed_forward.gate_up_proj", hidden, (inner, inner), **biased)
    builder.linear(f"{name}.feed_forward.down_proj", inner, hidden, shard=ROW, **biased)
    builder.norm(f"{name}.input_layernorm", 2 * hidden, **shared)
    builder.norm(f"{name}.pre_ff_layernorm", hidden, **shared)
    rank = text.required("adapter_rank", maximum=2**20)
    _add_adapter(builder, f"{name}.feed_forward.gate_up_proj_adapter", hidden, rank, (inner, inner), hybrid)
    if text.flag("use_shared_attention_adapter", default=False):
        for last in "qkv":
            _add_adapter(builder, f"{name}.linear_{last}_adapter", 2 * hidden, rank, (2 * hidden,), hybrid)
    builder.attention_caches(f"{name}.attn.*", hybrid, heads, heads, size)
    if text.flag("use_mem_rope", default=False):
        add_rope(builder, name, stack)


def _add_adapter(builder: Builder, name: str, inputs: int, rank: int, outputs: tuple[int, ...], layers: Layers) -> None:
    builder.linear(f"{name}.A", inputs, rank, layers=layers)
    builder.linear(f"{name}.B", rank, outputs, layers=layers)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Zamba2.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
