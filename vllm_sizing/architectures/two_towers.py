"""
SigLIP and CLIP whole: a text and an image encoder with one space of embeddings.

Source: vLLM 0.33 ``model_executor/models/siglip.py:SiglipEmbeddingModel``, ``clip.py:CLIPEmbeddingModel``;
defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import MAX_POSITION, Attention, Stack, finish, read_stack
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.heads import add_head
from vllm_sizing.architectures.siglip import add_clip, add_siglip
from vllm_sizing.architectures.towers import add_encoder, add_vit_layers, open_tower, read_vit
from vllm_sizing.specs.model import ModelSpec

_SIGLIP = {
    "vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 64,
}  # fmt: skip
_CLIP = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77,
}  # fmt: skip


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a pair of encoders.
    """
    config, builder = checkpoint.config, checkpoint.builder()
    siglip = checkpoint.architecture == "SiglipModel"
    text = (config.section("text_config") or Config({}, "text_config")).over(_SIGLIP if siglip else _CLIP)
    vision = config.section("vision_config") or Config({}, "vision_config")
    stack = _add_text(builder, text, causal=not siglip)
    if siglip:
        width = text.integer("projection_size", default=stack.hidden)
        add_head(builder, "text_model.head", stack.hidden, width, dtype=None)
    with open_tower(builder, "image") as tower:
        if siglip:
            vit = add_siglip(tower, vision, "vision_model", head=vision.flag("vision_use_head", default=True))
        else:
            vit = add_clip(tower, vision, "vision_model")
    if not siglip:
        width = config.integer("projection_dim", default=512)
        add_head(builder, "text_projection", stack.hidden, width, dtype=None, bias=False)
        add_head(builder, "visual_projection", vit.hidden, width, dtype=None, bias=False)
    add_encoder(builder, "image", vit, stack.hidden, tokens=vit.positions)
    builder.traits |= {"no_pipeline", "no_lora"}
    return finish(checkpoint, builder, stack)


def _add_text(builder: Builder, text: Config, *, causal: bool) -> Stack:
    vit = read_vit(text)
    heads = vit.num_heads
    stack = read_stack(text, attention=Attention(num_heads=heads, num_kv_heads=heads, head_size=vit.head_size))
    positions = text.required("max_position_embeddings", maximum=MAX_POSITION)
    name, layer = "text_model.embeddings", "text_model.encoder.layers.*"
    builder.embedding(f"{name}.token_embedding", stack.vocab_size, vit.hidden, lora=False)
    builder.embedding(f"{name}.position_embedding", positions, vit.hidden, lora=False)
    if not causal:
        builder.parameter(f"{name}.position_ids", positions, dtype="int64", role="buffer")
    add_vit_layers(builder, layer, vit)
    builder.attention_caches(f"{layer}.self_attn.attn", stack.layers, heads, heads, vit.head_size, kept=causal)
    builder.norm("text_model.final_layer_norm", vit.hidden, bias=True)
    return stack
