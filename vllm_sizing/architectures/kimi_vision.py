"""
Kimi-VL, Kimi-K2.5 and Kimi-K3: MoonViT, which takes images as they are, before a DeepSeek-V3 or a Kimi-Linear.

Source: vLLM 0.33 ``model_executor/models/kimi_vl.py``, ``moonvit.py``, ``kimi_k25.py``, ``kimi_k25_vit.py``;
defaults from transformers 5.20 ``Kimi_K25VisionConfig`` and vLLM's ``MoonViTConfig``.
"""

from __future__ import annotations

import math

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.towers import Vit, add_encoder, add_vit_layers, open_tower, read_vit, square
from vllm_sizing.specs.model import REPLICATED, ModelSpec

_PREFIXES = (
    ("language_model.layers.", "language_model.model.layers."),
    ("mm_projector.proj.0", "mm_projector.linear_1"),
    ("mm_projector.proj.2", "mm_projector.linear_2"),
)
_DEFAULTS = {
    "patch_size": 14, "num_attention_heads": 16, "num_hidden_layers": 27, "hidden_size": 1152,
    "intermediate_size": 4304, "merge_kernel_size": (2, 2),
}  # fmt: skip
_VIT_KEYS = ("num_attention_heads", "num_hidden_layers", "hidden_size", "intermediate_size")
_K3_DEFAULTS = {
    "patch_size": 14, "vt_num_attention_heads": 12, "vt_num_hidden_layers": 27, "vt_hidden_size": 1024,
    "vt_intermediate_size": 4096, "merge_kernel_size": (2, 2), "qkv_hidden_size": 1536, "norm_type": "rmsnorm",
    "attn_bias": False, "patch_embed_proj_bias": False, "linear_bias": False, "mm_projector_type": "patchmergerv2",
}  # fmt: skip
_GRID = {"height": 64, "width": 64, "time": 4}  # init_pos_emb_* counts before pos_emb_*.
# Side of the image that profiling shows, and how many patches the processors of the released checkpoints
# let through (preprocessor_config.json: in_token_limit, media_proc_cfg.in_patch_limit).
_VL_SIDE, _VL_PATCHES = 1024, 4096
_K25_SIDE, _K25_PATCHES = 3000, 16_384


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Kimi that sees.
    """
    old = checkpoint.architecture == "KimiVLForConditionalGeneration"
    third = checkpoint.architecture == "KimiK3ForConditionalGeneration"
    builder = checkpoint.builder() if old else checkpoint.builder(prefixes=_PREFIXES)
    stack = add_inner_model(
        builder, checkpoint, prefix="language_model.", tied=False,
        architecture="KimiLinearForCausalLM" if third else "DeepseekV2ForCausalLM",
    )  # fmt: skip
    vision = checkpoint.config.section("vision_config") or Config({}, "vision_config")
    vision = _renamed(vision.over(_K3_DEFAULTS)) if third else vision.over(_DEFAULTS)
    # A compressed-tensors checkpoint leaves all of it alone; Kimi-VL hands it no quant_config at all.
    quantized = not old and builder.quantization.method != "compressed-tensors"
    vit, merge = read_vit(vision, attention="" if old else "qkv_hidden_size"), _merge(vision)
    modality = "image" if old or third else "vision_chunk"
    with open_tower(builder, modality, heads=0 if old else vit.num_heads) as tower:
        _add_tower(tower, vision, vit, old=old, quantized=quantized)
        _add_projector(tower, vision, vit.hidden * merge**2, stack.hidden, old=old, quantized=quantized)
    side, limit = (_VL_SIDE, _VL_PATCHES) if old else (_K25_SIDE, _K25_PATCHES)
    tokens = _largest_side(side, square(vision, "patch_size"), merge, limit) ** 2
    add_encoder(builder, modality, vit, stack.hidden, tokens=tokens, positions=tokens * merge**2)
    builder.traits.add("no_lora")
    return finish(checkpoint, builder, stack)


def _renamed(vision: Config) -> Config:
    """
    Kimi-K3's spelling in that of its predecessors.
    """
    return vision.changed(**{key: vision.data.get(f"vt_{key}") for key in _VIT_KEYS})


def _merge(vision: Config) -> int:
    """
    Patches along a side that become one embedding.
    """
    sides = vision.integers("merge_kernel_size", minimum=1, maximum=2**8) or ()
    if len(sides) != 2 or sides[0] != sides[1]:
        raise vision.refuse("merge_kernel_size", "two equal numbers")
    return sides[0]


def _largest_side(side: int, patch: int, merge: int, limit: int) -> int:
    """
    Embeddings along a side of a square image, shrunk to the limit of patches and padded to whole embeddings.
    """
    patches = max(1, side // patch)
    if patches**2 > limit:
        side = max(1, int(side * math.sqrt(limit) / patches))
    return math.ceil(side / (patch * merge))


def _grid(vision: Config, axis: str) -> int:
    return vision.integer(f"init_pos_emb_{axis}", f"pos_emb_{axis}", default=_GRID[axis], maximum=2**16)


def _add_tower(tower: Builder, vision: Config, vit: Vit, *, old: bool, quantized: bool) -> None:
    name, patch = "vision_tower", square(vision, "patch_size")
    hidden = vit.hidden
    layered = old or vision.text("norm_type", default="layernorm") == "layernorm"
    tower.parameter(f"{name}.patch_embed.proj.weight", hidden, 3, patch, patch)
    if old or vision.flag("patch_embed_proj_bias", default=True):
        tower.parameter(f"{name}.patch_embed.proj.bias", hidden)
    tower.parameter(f"{name}.patch_embed.pos_emb.weight", _grid(vision, "height"), _grid(vision, "width"), hidden)
    if not old:
        # In float32, unless the tower is converted as a whole, which a quantized one is not.
        kept = quantized and tower.quantization.method is not None
        tower.parameter(
            f"{name}.patch_embed.pos_emb.time_weight", _grid(vision, "time"), hidden,
            role="buffer", dtype="float32" if kept else None,
        )  # fmt: skip
    add_vit_layers(
        tower, f"{name}.encoder.blocks.*", vit,
        bias=old or vision.flag("attn_bias", default=True), mlp_bias=old or vision.flag("linear_bias", default=True),
        attention="", qkv="wqkv", fused=(), output="wo", up="fc0", down="fc1", norms=("norm0", "norm1"),
        norm_bias=layered, quantized=quantized,
    )  # fmt: skip
    tower.norm(f"{name}.encoder.final_layernorm", hidden, bias=layered)


def _add_projector(tower: Builder, vision: Config, width: int, out: int, *, old: bool, quantized: bool) -> None:
    """
    Merged patches to the decoder's width; every rank holds all of it.
    """
    name = "multi_modal_projector" if old else "mm_projector"
    second = not old and vision.text("mm_projector_type") == "patchmergerv2"
    for at, outputs in ((1, width), (2, out)):
        tower.linear(f"{name}.linear_{at}", width, outputs, shard=REPLICATED, bias=not second, quantized=quantized)
    if second:
        tower.norm(f"{name}.post_norm", out)
    else:
        tower.norm(f"{name}.pre_norm", vision.required("hidden_size"), bias=True)
