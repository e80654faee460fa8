"""
EmbeddingGemma 2: Gemma 4's layers looking both ways, for embeddings of text, images and sounds.

Source: vLLM 0.33 ``model_executor/models/embedding_gemma2.py``, ``config.py:EmbeddingGemma2ModelConfig``;
defaults from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import FOUR_NORMS, Attention, Stack, add_norms, finish, read_stack
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.gemma4 import Group, add_kind_rope, add_layer_inputs, read_groups
from vllm_sizing.architectures.gemma4_towers import add_gemma4_audio, add_gemma4_vision
from vllm_sizing.architectures.gemma4_vision import add_vision_items
from vllm_sizing.architectures.towers import add_encoder
from vllm_sizing.specs.model import REPLICATED, ROW, ModelSpec

_DEFAULTS = {
    "vocab_size": 262144, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 24,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 256, "max_position_embeddings": 262144,
    "sliding_window": 512, "hidden_size_per_layer_input": 512, "embedding_dim": 768, "global_head_dim": 512,
    "num_global_key_value_heads": 1,
}  # fmt: skip
_PREFIXES = (
    ("model.vision_tower.", "vision_tower."), ("model.embed_vision.", "embed_vision."),
    ("model.audio_tower.", "audio_tower."), ("model.embed_audio.", "embed_audio."),
    ("model.language_model.", "language_model."),
)  # fmt: skip
LONGEST = 8192  # The class's own limit unless the user gives another.
_AUDIO_TOKENS = 750


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an EmbeddingGemma 2.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    text = checkpoint.text.over(_DEFAULTS)
    layers = tuple(range(text.num_layers()))
    groups = read_groups(text, layers)
    stack = read_stack(text, attention=groups[0].attention)
    _add_text(builder, stack, groups)
    vision, audio = config.section("vision_config"), config.section("audio_config")
    if vision is not None:
        add_gemma4_vision(builder, vision, stack.hidden)
        add_vision_items(builder, vision, stack.hidden)
    if audio is not None:
        vit = add_gemma4_audio(builder, audio, stack.hidden)
        add_encoder(builder, "audio", vit, stack.hidden, tokens=_AUDIO_TOKENS, positions=_AUDIO_TOKENS)
    builder.traits |= {"no_lora", "no_pipeline", "no_encoder_data"}
    spec = finish(checkpoint, builder, stack)
    return attrs.evolve(spec, max_model_len=min(spec.max_model_len, LONGEST), runner="pooling")


def _add_text(builder: Builder, stack: Stack, groups: tuple[Group, ...]) -> None:
    text, hidden, layers = stack.text, stack.hidden, stack.layers
    name = "language_model"
    layer = f"{name}.layers.*"
    builder.embedding(f"{name}.embed_tokens", stack.vocab_size, hidden, lora=False)
    for group in groups:
        _add_attention(builder, f"{layer}.self_attn", stack, group)
    builder.gated_mlp(f"{layer}.mlp", hidden, text.required("intermediate_size"), layers=layers)
    add_norms(builder, layer, hidden, *FOUR_NORMS, layers=layers)
    builder.parameter(f"{layer}.layer_scalar", 1, layers=layers)
    width = text.required("hidden_size_per_layer_input", maximum=2**20)
    add_layer_inputs(builder, f"{layer}.ple_block", hidden, width, layers)
    builder.linear(f"{name}.ple.per_layer_model_projection", hidden, width * len(layers))
    builder.norm(f"{name}.ple.per_layer_projection_norm", width)
    builder.norm(f"{name}.norm", hidden, stage="last")
    builder.linear(
        f"{name}.embedding_projection", hidden, text.required("embedding_dim"), shard=REPLICATED, stage="last"
    )
    builder.parameter(f"{name}.embed_scale", 1, role="buffer")


def _add_attention(builder: Builder, name: str, stack: Stack, group: Group) -> None:
    attention: Attention = group.attention
    heads, size, layers = attention.num_heads, attention.head_size, group.layers
    bias = stack.text.flag("attention_bias", default=False)
    builder.qkv(f"{name}.qkv_proj", stack.hidden, heads, attention.num_kv_heads, size, layers=layers, bias=bias)
    builder.linear(f"{name}.o_proj", heads * size, stack.hidden, shard=ROW, layers=layers, bias=bias)
    for norm in ("q_norm", "k_norm", "v_norm"):
        builder.norm(f"{name}.{norm}", size, layers=layers)
    builder.attention_scales(f"{name}.attn", layers)
    text: Config = stack.text
    default = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
    }
    own = attrs.evolve(stack, text=text if text.has("rope_parameters") else text.changed(rope_parameters=default))
    add_kind_rope(builder, name, own, group.kind, size, max_position=min(stack.max_position, LONGEST))
