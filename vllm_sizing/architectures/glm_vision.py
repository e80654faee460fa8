"""
GLM-4.1V, GLM-4.5V, GLM-4.6V and GLM-OCR.

Source: vLLM 0.33 ``model_executor/models/glm4_1v.py``, ``glm_ocr.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from vllm_sizing.architectures.blocks import Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import dense_draft
from vllm_sizing.architectures.dense import GLM4
from vllm_sizing.architectures.inner import add_inner_model, with_whole_adapters
from vllm_sizing.architectures.qwen2_vl import either_tied
from vllm_sizing.architectures.qwen_vision import add_patch_embed, add_vision_rope
from vllm_sizing.architectures.towers import Vit, add_encoder, add_vit_layers, open_tower, read_vit, square
from vllm_sizing.specs.model import ROW, Draft, ModelSpec

_PREFIXES = (
    ("lm_head.", "language_model.lm_head."),
    ("model.language_model.", "language_model.model."),
    ("model.visual.", "visual."),
)
_COMMON = {
    "depth": 24, "in_channels": 3, "image_size": 336, "patch_size": 14, "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}  # fmt: skip
_VISION = {**_COMMON, "hidden_size": 1536, "num_heads": 12, "out_hidden_size": 4096, "intermediate_size": 13_696}
_OCR_VISION = {**_COMMON, "hidden_size": 1024, "num_heads": 16, "out_hidden_size": 1536, "intermediate_size": 4096}
_TEXT = {
    "vocab_size": 151_552, "hidden_size": 4096, "intermediate_size": 13_696, "num_hidden_layers": 40,
    "num_attention_heads": 32, "num_key_value_heads": 2, "max_position_embeddings": 32_768, "head_dim": None,
    "attention_bias": False,
}  # fmt: skip
_MOE_TEXT = {
    "vocab_size": 151_424, "hidden_size": 4096, "intermediate_size": 10_944, "num_hidden_layers": 46,
    "num_attention_heads": 96, "num_key_value_heads": 8, "max_position_embeddings": 65_536, "attention_bias": True,
    "n_routed_experts": 128,
}  # fmt: skip
_OCR_TEXT = {
    "vocab_size": 59_392, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 16,
    "num_attention_heads": 16, "num_key_value_heads": 8, "max_position_embeddings": 131_072, "head_dim": None,
    "attention_bias": False,
}  # fmt: skip
_TEXT_OF: dict[str, tuple[str, dict[str, Any]]] = {
    "Glm4vForConditionalGeneration": ("Glm4ForCausalLM", _TEXT),
    "Glm4vMoeForConditionalGeneration": ("Glm4MoeForCausalLM", _MOE_TEXT),
    "GlmOcrForConditionalGeneration": ("Glm4ForCausalLM", _OCR_TEXT),
}
# Pixels of all frames that the processors of the released checkpoints let through: size.longest_edge of
# preprocessor_config.json and video_preprocessor_config.json.
_IMAGE_PIXELS, _VIDEO_PIXELS = 9_633_792, 47_040_000
_FRAMES = 64  # Rounding favours short videos; none beyond has more embeddings.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a GLM that sees.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    architecture, defaults = _TEXT_OF[checkpoint.architecture]
    checkpoint = attrs.evolve(checkpoint, config=either_tied(config, checkpoint.text))
    text = checkpoint.text.over(defaults)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture=architecture, text=text)
    ocr = checkpoint.architecture == "GlmOcrForConditionalGeneration"
    builder.draft = _draft(builder, stack) if ocr else None
    vision = (config.section("vision_config") or Config({}, "vision_config")).over(_OCR_VISION if ocr else _VISION)
    merger = text.required("intermediate_size") if ocr else vision.required("intermediate_size")
    vit = read_vit(
        vision, heads="num_heads", layers="depth", intermediate="intermediate_size" if ocr else "out_hidden_size"
    )
    parts: tuple[str, ...] = ("gate_proj", "up_proj")
    if architecture == "Glm4ForCausalLM":  # packed_modules_mapping of its class lists no parts of an MLP.
        parts = ()
        with_whole_adapters(builder, ".mlp.gate_up_proj.")
    with open_tower(builder) as tower:
        _add_tower(tower, vision, vit, merger, ocr=ocr, parts=parts)
    _add_items(builder, vision, vit, stack.hidden)
    return finish(checkpoint, builder, stack)


def _draft(builder: Builder, stack: Stack) -> Draft | None:
    """
    More layers of the decoder, each behind a projection of its own.

    Source: vLLM 0.33 ``glm_ocr_mtp.py``.
    """
    return dense_draft(
        builder, stack, GLM4, "language_model.model.layers.*",
        number=stack.text.integer("num_nextn_predict_layers", default=0, minimum=0, maximum=64),
        projection="eh_proj", norms=("enorm", "hnorm", "shared_head.norm"),
    )  # fmt: skip


def _add_tower(tower: Builder, vision: Config, vit: Vit, merger: int, *, ocr: bool, parts: tuple[str, ...]) -> None:
    patch, hidden = square(vision, "patch_size"), vit.hidden
    merge, out = vision.required("spatial_merge_size", maximum=2**8), vision.required("out_hidden_size")
    method = tower.quantization.method
    split = method is not None if ocr else method == "compressed-tensors"
    add_patch_embed(tower, "visual.patch_embed.proj", vision, hidden, patch)
    add_vision_rope(tower, "visual.rotary_pos_emb", vit)
    add_vit_layers(
        tower, "visual.blocks.*", vit,
        bias=ocr, attention="attn", qkv="qkv_proj" if split else "qkv",
        fused=("q_proj", "k_proj", "v_proj") if split else (), output="proj",
        up="gate_up_proj", down="down_proj", gated=True, gate_parts=parts, norms=("norm1", "norm2"), norm_bias=False,
    )  # fmt: skip
    if ocr:
        for norm in ("q_norm", "k_norm"):
            tower.norm(f"visual.blocks.*.attn.{norm}", vit.head_size, layers=tuple(range(vit.num_layers)))
    else:
        positions = max(1, (square(vision, "image_size") // patch) ** 2)
        tower.parameter("visual.embeddings.position_embedding.weight", positions, hidden)
        tower.parameter("visual.embeddings.position_ids", positions, dtype="int64", role="buffer")
        tower.norm("visual.post_conv_layernorm", hidden)
    tower.norm("visual.post_layernorm", hidden)
    tower.parameter("visual.downsample.weight", out, hidden, merge, merge)
    tower.parameter("visual.downsample.bias", out)
    tower.linear("visual.merger.proj", out, out)
    tower.norm("visual.merger.post_projection_norm", out, bias=True)
    tower.linear("visual.merger.gate_up_proj", out, (merger, merger), fused=parts)
    tower.linear("visual.merger.down_proj", merger, out, shard=ROW)


def _add_items(builder: Builder, vision: Config, vit: Vit, hidden: int) -> None:
    """
    The largest image, and of the videos of such images the one with the most embeddings.
    """
    merge, depth = vision.required("spatial_merge_size"), vision.required("temporal_patch_size", maximum=2**10)
    unit = square(vision, "patch_size") * merge
    largest = max(1, math.isqrt(_IMAGE_PIXELS // depth) // unit)
    sizes: list[int] = []
    for frames in range(1, _FRAMES + 1):
        side = min(largest, max(1, math.isqrt(_VIDEO_PIXELS // max(frames, depth)) // unit))
        if round(max(frames, depth) / depth) * depth * (largest * unit) ** 2 <= _VIDEO_PIXELS:
            side = largest
        sizes.append(-(-frames // depth) * side**2)
    for modality, tokens, step in (("image", largest**2, 0), ("video", max(sizes), largest**2)):
        facts: dict[str, Any] = {"tokens": tokens, "positions": tokens * merge**2, "step": step}
        add_encoder(builder, modality, vit, hidden, **facts)
