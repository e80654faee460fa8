"""
C-RADIO, the image encoder of Nemotron's multimodal models: InternViT's layers under another embedding.

Source: vLLM 0.33 ``model_executor/models/radio.py``, ``transformers_utils/configs/radio.py``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.internvl import add_intern_layers
from vllm_sizing.architectures.towers import Vit

# Width, layers, heads and MLP by the name that the config gives: VIT_TIMM_DIM_BY_NAME.
_SIZES = {
    "vit_small_patch16_224": (384, 12, 6, 1536),
    "vit_base_patch16_224": (768, 12, 12, 3072),
    "vit_large_patch16_224": (1024, 24, 16, 4096),
    "vit_huge_patch16_224": (1280, 32, 16, 5120),
    "vit_so400m_patch16_224": (1152, 27, 16, 4304),
}
_DEFAULTS = {"qkv_bias": True, "qk_normalization": False, "norm_type": "layer_norm"}


def add_radio(builder: Builder, tower: Builder, vision: Config, name: str) -> Vit:
    """
    Patches, summary tokens and registers, positions for the largest image, and layers; never quantized.

    Args:
        vision: The whole section; the encoder's own sizes are in its ``args``.
    """
    args = vision.needed_section("args").over(_DEFAULTS)
    kind = args.text("model")
    if kind not in _SIZES:
        raise args.refuse("model", "one of " + ", ".join(_SIZES))
    hidden, layers, heads, inner = _SIZES[kind]
    patch = vision.integer("patch_size", default=16, maximum=2**12)
    side = round(args.integer("cpe_max_size", default=2048, maximum=2**16) / patch)
    vit = Vit(hidden=hidden, intermediate=inner, num_heads=heads, num_layers=layers, positions=side**2)
    patches = f"{name}.patch_generator"
    tower.parameter(f"{patches}.embedder.weight", hidden, 3 * patch**2)
    frames = vision.integer("video_temporal_patch_size", default=1, maximum=2**10)
    if frames > 1:
        tower.parameter(f"{patches}.video_embedder.weight", hidden, 3 * frames * patch**2)
    tower.parameter(f"{patches}.pos_embed", side**2, hidden)
    teachers = [Config(teacher, "teachers") for teacher in args.items("teachers") or []]
    tower.parameter(f"{patches}.cls_token.token", _summary_tokens(args, teachers), hidden)
    add_intern_layers(builder, tower, args, vit, f"{name}.encoder.layers.*", quantized=False)
    used = sum(teacher.flag("use_summary", default=True) for teacher in teachers)
    if used:
        tower.parameter("vision_model.summary_idxs", used, dtype="int64", role="buffer")
    return attrs.evolve(vit, positions=side**2)


def _summary_tokens(args: Config, teachers: list[Config]) -> int:
    """
    One for each teacher or one for all, and registers up to a multiple (a whole one where it is reached).
    """
    each = args.flag("cls_token_per_teacher", default=False)
    number = len({teacher.text("name") for teacher in teachers}) if each else 1
    multiple = args.integer("register_multiple", default=0, minimum=0, maximum=2**12)
    return number + (multiple - number % multiple if multiple else 0)
