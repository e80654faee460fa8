"""
Whisper: an audio encoder, and a decoder that looks at its output through a cache of its own.

Source: vLLM 0.33 ``model_executor/models/whisper.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import MAX_POSITION, Attention, Stack, add_norms, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.towers import add_encoder, open_tower
from vllm_sizing.architectures.whisper_encoder import add_whisper_encoder, whisper_sizes
from vllm_sizing.specs.model import ROW, CrossAttention, ModelSpec

_DEFAULTS = {
    "vocab_size": 51865, "num_mel_bins": 80, "encoder_layers": 4, "encoder_attention_heads": 6, "decoder_layers": 4,
    "decoder_attention_heads": 6, "decoder_ffn_dim": 1536, "encoder_ffn_dim": 1536, "d_model": 384,
    "max_source_positions": 1500, "max_target_positions": 448,
}  # fmt: skip


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Whisper.
    """
    text, builder = checkpoint.config.over(_DEFAULTS), checkpoint.builder()
    stack = _read_decoder(text)
    # vLLM does not mark the encoder as a tower: it is there whatever the limits, and LoRA wraps it.
    with open_tower(builder, "audio", stage="all", lora=True) as tower:
        vit = add_whisper_encoder(tower, whisper_sizes(text), "model.encoder")
    _add_decoder(builder, stack)
    add_encoder(builder, "audio", vit, stack.hidden, tokens=vit.positions)
    builder.traits |= {"no_pipeline", "encoder_decoder", "no_encoder_data", "tied_embeddings"}
    return finish(checkpoint, builder, stack)


def _read_decoder(text: Config) -> Stack:
    hidden, heads = text.required("d_model"), text.required("decoder_attention_heads", maximum=2**16)
    if hidden % heads:
        raise text.refuse("decoder_attention_heads", f"a divisor of d_model ({hidden})")
    return Stack(
        text=text,
        hidden=hidden,
        vocab_size=text.required("vocab_size"),
        layers=tuple(range(text.num_layers("decoder_layers"))),
        attention=Attention(num_heads=heads, num_kv_heads=heads, head_size=hidden // heads),
        max_position=text.required("max_target_positions", maximum=MAX_POSITION),
        tied=True,
    )


def _add_decoder(builder: Builder, stack: Stack) -> None:
    hidden, layers, attention = stack.hidden, stack.layers, stack.attention
    name, layer = "model.decoder", "model.decoder.layers.*"
    heads, size = attention.num_heads, attention.head_size
    builder.add(f"{name}.embed_tokens.weight", (stack.vocab_size, hidden), role="embedding")
    builder.parameter(f"{name}.embed_positions.weight", stack.max_position, hidden)
    builder.qkv(f"{layer}.self_attn.qkv_proj", hidden, heads, heads, size, layers=layers, bias=True)
    builder.linear(f"{layer}.encoder_attn.q_proj", hidden, hidden, layers=layers, bias=True)
    builder.linear(
        f"{layer}.encoder_attn.kv_proj", hidden, (hidden, hidden), layers=layers, bias=True, fused=("k_proj", "v_proj")
    )
    for kind in ("self_attn", "encoder_attn"):
        builder.linear(f"{layer}.{kind}.out_proj", hidden, hidden, shard=ROW, layers=layers, bias=True)
    inner = stack.text.required("decoder_ffn_dim")
    builder.linear(f"{layer}.mlp.fc1", hidden, inner, layers=layers, bias=True)
    builder.linear(f"{layer}.mlp.fc2", inner, hidden, shard=ROW, layers=layers, bias=True)
    norms = ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")
    add_norms(builder, layer, hidden, *norms, layers=layers, bias=True)
    builder.norm(f"{name}.layer_norm", hidden, bias=True)
    builder.attention_caches(f"{layer}.self_attn.attn", layers, heads, heads, size)
    cross = CrossAttention(layers=layers, num_kv_heads=heads, head_size=size, head_size_v=size, num_heads=heads)
    builder.cache(cross, f"{layer}.encoder_attn.attn")
