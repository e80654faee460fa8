"""
Gemma 3n, text part: several copies of the hidden state, inputs per layer, low-rank detours, shared caches.

Source: vLLM 0.33 ``model_executor/models/gemma3n.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.blocks import FOUR_NORMS, Stack, add_norms, add_rope, finish, read_stack
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.gemma import nested_rope
from vllm_sizing.architectures.gemma4 import add_layer_inputs
from vllm_sizing.specs.model import REPLICATED, ROW, ModelSpec

DEFAULTS: dict[str, Any] = {
    "vocab_size": 262400, "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 35,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256, "max_position_embeddings": 32768,
    "sliding_window": 512, "vocab_size_per_layer_input": 262144, "hidden_size_per_layer_input": 256,
    "altup_num_inputs": 4, "num_kv_shared_layers": 15, "laurel_rank": 64, "tie_word_embeddings": True,
}  # fmt: skip
_SLIDING = "sliding_attention"
_PATTERN = 5  # Every so many layers one sees everything, where the config names no kinds.


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder; its table of embeddings is the LM head.
    """
    text = text.over(DEFAULTS)
    stack = read_stack(text)
    layer, layers, hidden = f"{prefix}model.layers.*", stack.layers, stack.hidden
    builder.traits |= {"tied_embeddings", "no_pipeline", "no_lora"}
    builder.embedding(f"{prefix}model.self_decoder.embed_tokens", stack.vocab_size, hidden, lora=False)
    builder.norm(f"{prefix}model.norm", hidden)
    kinds = text.layer_types(len(layers)) or [
        "full_attention" if (at + 1) % _PATTERN == 0 else _SLIDING for at in layers
    ]
    for kind in sorted(set(kinds)):
        _add_attention(builder, f"{layer}.self_attn", stack, kind, tuple(at for at in layers if kinds[at] == kind))
    for inner, owners in _widths(text, layers).items():
        builder.gated_mlp(f"{layer}.mlp", hidden, inner, layers=owners)
    _add_copies(builder, prefix, stack)
    rank = text.required("laurel_rank", maximum=2**20)
    builder.linear(f"{layer}.laurel.linear_left", hidden, rank, layers=layers)
    builder.linear(f"{layer}.laurel.linear_right", rank, hidden, shard=ROW, layers=layers)
    add_norms(builder, layer, hidden, "laurel.post_laurel_norm", *FOUR_NORMS, layers=layers)
    _add_inputs_per_layer(builder, prefix, stack)
    return stack


def _widths(text: Config, layers: Layers) -> dict[int, Layers]:
    """
    Layers by the width of their MLP, which is one number or one for each.
    """
    if not isinstance(text.data.get("intermediate_size"), (list, tuple)):
        return {text.required("intermediate_size"): layers}
    widths = text.integers("intermediate_size", minimum=1) or []
    if len(widths) != len(layers):
        raise text.refuse("intermediate_size", f"an integer or a list of {len(layers)}, one for each layer")
    found: dict[int, list[int]] = {}
    for at, width in zip(layers, widths, strict=True):
        found.setdefault(width, []).append(at)
    return {width: tuple(owners) for width, owners in found.items()}


def _add_attention(builder: Builder, name: str, stack: Stack, kind: str, owners: Layers) -> None:
    """
    Attention of one kind; the last layers read the cache of an earlier one.
    """
    text, attention, hidden = stack.text, stack.attention, stack.hidden
    heads, kv_heads, size = attention.num_heads, attention.num_kv_heads, attention.head_size
    bias = text.flag("attention_bias", default=False)
    num_shared = text.integer("num_kv_shared_layers", default=0, minimum=0)
    first_shared = len(stack.layers) - num_shared
    if num_shared and first_shared < 2:  # The last two own layers are the ones that are read.
        raise text.refuse("num_kv_shared_layers", f"at most {max(0, len(stack.layers) - 2)}")
    own = tuple(at for at in owners if at < first_shared)
    shared = tuple(at for at in owners if at >= first_shared)
    builder.qkv(f"{name}.qkv_proj", hidden, heads, kv_heads, size, layers=own, bias=bias)
    builder.linear(f"{name}.q_proj", hidden, heads * size, layers=shared, bias=bias)
    for norm in ("k_norm", "v_norm"):  # The latter scales nothing but is there.
        builder.norm(f"{name}.{norm}", size, layers=own)
    builder.linear(f"{name}.o_proj", heads * size, hidden, shard=ROW, layers=owners, bias=bias)
    builder.norm(f"{name}.q_norm", size, layers=owners)
    windows = dict.fromkeys(owners, text.required("sliding_window", maximum=2**30)) if kind == _SLIDING else {}
    builder.attention_caches(f"{name}.attn", own, heads, kv_heads, size, windows=windows)
    builder.attention_caches(f"{name}.attn", shared, heads, kv_heads, size, kept=False)
    add_rope(builder, name, stack, text=nested_rope(text), layer_type=kind, layers=owners)


def _add_copies(builder: Builder, prefix: str, stack: Stack) -> None:
    """
    AltUp: every layer works on one copy of the hidden state and predicts and corrects the others.
    """
    copies, hidden, layers = stack.text.required("altup_num_inputs", maximum=2**10), stack.hidden, stack.layers
    for name in ("self_decoder.altup_projections", "altup_unembed_projections"):
        if copies > 1:
            builder.linear(f"{prefix}model.{name}.*", hidden, hidden, count=copies - 1)
    name = f"{prefix}model.layers.*.altup"
    builder.linear(f"{name}.correction_coefs", copies, copies, shard=REPLICATED, layers=layers)
    builder.linear(f"{name}.prediction_coefs", copies, copies**2, shard=REPLICATED, layers=layers)
    builder.linear(f"{name}.modality_router", hidden, copies, shard=REPLICATED, layers=layers)
    builder.norm(f"{name}.router_norm", hidden, layers=layers)
    builder.parameter(f"{name}.router_input_scale", 1, layers=layers, role="buffer")
    builder.parameter(f"{name}.correct_output_scale", hidden, layers=layers, dtype="float32")


def _add_inputs_per_layer(builder: Builder, prefix: str, stack: Stack) -> None:
    """
    A second, wide table of embeddings whose row is split over the layers.
    """
    text, layers = stack.text, stack.layers
    name, width = f"{prefix}model.self_decoder", text.required("hidden_size_per_layer_input", maximum=2**20)
    whole = width * len(layers)
    rows = text.required("vocab_size_per_layer_input")
    builder.embedding(f"{name}.embed_tokens_per_layer", rows, whole, lora=False)
    builder.linear(f"{name}.per_layer_model_projection", stack.hidden, whole)
    builder.norm(f"{name}.per_layer_projection_norm", width)
    for scale in ("embed_scale", "embed_scale_per_layer", "per_layer_input_scale", "per_layer_projection_scale"):
        builder.parameter(f"{name}.{scale}", 1, role="buffer")
    add_layer_inputs(builder, f"{prefix}model.layers.*", stack.hidden, width, layers)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Gemma 3n that reads only text.
    """
    builder = checkpoint.builder(prefixes=(("model.language_model.", "model."),))
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
