"""
Step 3 and its successors with their image encoders.

Source: vLLM 0.33 ``model_executor/models/step3_vl.py``, ``step_vl.py``, ``step3p7.py``; defaults from vLLM's
``configs/step3_vl.py``.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.towers import Vit, add_encoder, add_patches, add_vit_layers, open_tower, read_vit
from vllm_sizing.specs.model import REPLICATED, ModelSpec

_PREFIXES = (("model.", "language_model.model."), ("lm_head.", "language_model.lm_head."))
_STEP37_PREFIXES = (
    ("model.vision_model.", "vision_model."),
    ("model.vit_large_projector", "vit_large_projector"),
    ("model.language_model.", "language_model.model."),
    *_PREFIXES,
)
_VISION: dict[str, Any] = {
    "hidden_size": 1792, "intermediate_size": 3072, "output_hidden_size": 4096, "num_hidden_layers": 63,
    "num_attention_heads": 16, "image_size": 728, "patch_size": 14,
}  # fmt: skip
_TEXT_OF = {
    "Step3VLForConditionalGeneration": "Step3TextForCausalLM",
    "Step3p7ForConditionalGeneration": "Step3p5ForCausalLM",
}
# processors/step3_vl.py: the largest image is the whole of it, and windows of 504 pixels over its 3024.
_WINDOWS, _WINDOW_SIDE = (3024 // 504) ** 2, 504
_WINDOW_TOKENS, _WHOLE_TOKENS = 81, 169


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Step that sees.
    """
    config, name = checkpoint.config, checkpoint.architecture
    builder = checkpoint.builder(prefixes=_STEP37_PREFIXES if name.startswith("Step3p7") else _PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture=_TEXT_OF.get(name))
    if name == "Step3VLForConditionalGeneration":
        builder.draft = None
    vision = config.section("vision_config") or Config({}, "vision_config")
    bias = config.flag("projector_bias", default=name == "Step3VLForConditionalGeneration")
    with open_tower(builder, "image") as tower:
        if name == "Step3VLForConditionalGeneration":
            vit, patch = _add_step3(tower, config, vision.over(_VISION), stack, bias=bias)
        else:
            vit, patch = _add_perception(tower, vision, stack, bias=bias)
    _add_image(builder, vit, stack, patch)
    builder.traits.add("no_lora")
    return finish(checkpoint, builder, stack)


def _add_step3(tower: Builder, config: Config, vision: Config, stack: Stack, *, bias: bool) -> tuple[Vit, int]:
    """
    Step 3's own: vLLM hands the encoder no quant_config; two convolutions shrink what it gives.
    """
    name, vit = "vision_model", read_vit(vision)
    side, patch = add_patches(tower, f"{name}.embeddings.patch_embedding", vision, vit.hidden)
    tower.parameter(f"{name}.embeddings.class_embedding", 1, vit.hidden)
    tower.parameter(f"{name}.embeddings.position_embedding.weight", side**2 + 1, vit.hidden)
    tower.parameter(f"{name}.embeddings.position_ids", side**2 + 1, dtype="int64", role="buffer")
    add_vit_layers(tower, f"{name}.transformer.layers.*", vit, quantized=False)
    out = vision.required("output_hidden_size")
    _add_convolution(tower, "vit_downsampler", vit.hidden, out, 2)
    _add_convolution(tower, "vit_downsampler2", out, 2 * out, 3)
    tower.linear("vit_large_projector", 2 * out, stack.hidden, shard=REPLICATED, bias=bias, quantized=False)
    return attrs.evolve(vit, positions=side**2), patch


def _add_perception(tower: Builder, vision: Config, stack: Stack, *, bias: bool) -> tuple[Vit, int]:
    """
    Meta's Perception Encoder, as Step3-VL and Step 3.7 have it: rotary tables in every layer.
    """
    name = "vision_model"
    vit = read_vit(vision, hidden="width", heads="heads", layers="layers", ratio="mlp_ratio")
    width, block = vit.hidden, f"{name}.transformer.resblocks.*"
    side, patch = add_patches(tower, f"{name}.conv1", vision, width, bias=False)
    layers = tuple(range(vit.num_layers))
    token = int(vision.flag("use_cls_token", default=False))
    add_vit_layers(tower, block, vit, attention="attn", norms=("ln_1", "ln_2"))
    if vision.has("ls_init_value"):
        for scale in ("ls_1", "ls_2"):
            tower.parameter(f"{block}.{scale}.gamma", width, layers=layers)
    tower.parameter(
        f"{block}.attn.rope.freqs_cache", side**2 + token, 4 * ((vit.head_size // 2 + 1) // 2),
        layers=layers, dtype="float32", role="buffer",
    )  # fmt: skip
    for norm in ("ln_pre", "ln_post"):
        if vision.flag(f"use_{norm}", default=False):
            tower.norm(f"{name}.{norm}", width, bias=True)
    if token:
        tower.parameter(f"{name}.class_embedding", width)
    if vision.flag("use_abs_posemb", default=False):
        tower.parameter(f"{name}.positional_embedding", side**2 + token, width)
    for at in (1, 2):
        _add_convolution(tower, f"{name}.vit_downsampler{at}", at * width, 2 * at * width, 3)
    tower.linear("vit_large_projector", 4 * width, stack.hidden, bias=bias)
    return attrs.evolve(vit, positions=side**2), patch


def _add_convolution(tower: Builder, name: str, inputs: int, outputs: int, kernel: int) -> None:
    tower.parameter(f"{name}.weight", outputs, inputs, kernel, kernel)
    tower.parameter(f"{name}.bias", outputs)


def _add_image(builder: Builder, vit: Vit, stack: Stack, patch: int) -> None:
    """
    The whole of the largest image, and its windows.
    """
    tokens = _WINDOWS * _WINDOW_TOKENS + _WHOLE_TOKENS
    positions = _WINDOWS * max(1, _WINDOW_SIDE // patch) ** 2 + vit.positions
    add_encoder(builder, "image", vit, stack.hidden, tokens=tokens, positions=positions)
