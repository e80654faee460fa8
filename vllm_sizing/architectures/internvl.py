"""
InternVL and Intern-S1: InternViT, pixel shuffle, an MLP, any decoder.

Source: vLLM 0.33 ``model_executor/models/internvl.py``, ``intern_vit.py``, ``interns1.py``, ``interns1_vit.py``,
``skyworkr1v.py``, ``h2ovl.py``, ``nvlm_d.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.towers import MAX_SIDE, Vit, add_encoder, add_patches, open_tower, read_vit, square
from vllm_sizing.specs.model import REPLICATED, ROW, ModelSpec, Part

# configuration_intern_vit.py of the checkpoints.
_CHAT_VISION = {
    "hidden_size": 3200, "intermediate_size": 12800, "num_hidden_layers": 48, "num_attention_heads": 25,
    "image_size": 224, "patch_size": 14, "qkv_bias": False, "qk_normalization": True, "norm_type": "rms_norm",
}  # fmt: skip
_HF_VISION = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "image_size": 448, "patch_size": 14, "norm_type": "layer_norm",
}  # fmt: skip
_HF_PREFIXES = (
    ("lm_head.", "language_model.lm_head."),
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
)
_VIDEO_TEXT = ("gpt_oss", "qwen2", "qwen3", "qwen3_moe")
_NVLM_DUMMY_HEADS = 7  # nvlm_d.py: 25 heads become 32.
_TILES = 12  # max_dynamic_patch where the config is silent.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an InternVL.
    """
    if checkpoint.architecture in ("InternVLForConditionalGeneration", "InternS1ForConditionalGeneration"):
        return _build_hf(checkpoint)
    config, builder, kind = checkpoint.config, checkpoint.builder(), checkpoint.architecture
    stack = add_inner_model(builder, checkpoint, prefix="language_model.")
    vision = _in_one_spelling(config.needed_section("vision_config"))
    ratio, skywork, nvlm = read_ratio(config), kind == "SkyworkR1VChatModel", kind == "NVLM_D"
    with open_tower(builder, "image" if skywork else "vision") as tower:
        vit = add_intern_vit(
            builder, tower, vision, "vision_model",
            num_layers=selected_layers(config, vision.num_layers()), dummy_heads=_NVLM_DUMMY_HEADS if nvlm else 0,
        )  # fmt: skip
        add_shuffled_mlp(
            tower, "mlp1", vit.hidden * ratio**2, stack.hidden,
            inner=stack.text.required("intermediate_size") if nvlm else 0, bias=not nvlm, quantized=skywork,
        )  # fmt: skip
    if skywork:
        builder.traits |= {"no_lora", "no_encoder_data"}
    # The side that images are cut to; the encoder's own only says how many positions it learnt.
    side = config.integer("force_image_size", default=square(vision, "image_size"), maximum=MAX_SIDE)
    vit = attrs.evolve(vit, positions=(side // square(vision, "patch_size")) ** 2 + 1)
    video = kind == "InternVLChatModel" and stack.text.text("model_type") in _VIDEO_TEXT
    _add_items(builder, config, vit, stack, ratio, video=video)
    return finish(checkpoint, builder, stack)


def _in_one_spelling(vision: Config) -> Config:
    """
    A vision section as InternViT reads it, also from transformers' own keys (Qianfan-OCR).
    """
    if not vision.has("attention_bias"):
        return vision.over(_CHAT_VISION)
    return vision.over(_HF_VISION).changed(
        qkv_bias=vision.data.get("qkv_bias", vision.data.get("attention_bias")),
        qk_normalization=vision.data.get("qk_normalization", vision.data.get("use_qk_norm")),
    )


def selected_layers(config: Config, number: int) -> int:
    """
    Layers up to the one whose output is taken.
    """
    layer = config.integer("select_layer", default=-1, minimum=-number, maximum=number - 1)
    return number + layer + 1 if layer < 0 else layer + 1


def read_ratio(config: Config) -> int:
    """
    How many neighbouring patches per side become one.
    """
    ratio = config.number("downsample_ratio", default=0.5)
    if not 2**-8 <= ratio <= 1:
        raise config.refuse("downsample_ratio", "from 1/256 to 1")
    return int(1 / ratio)


def add_intern_vit(
    builder: Builder, tower: Builder, vision: Config, name: str, *, num_layers: int, dummy_heads: int = 0
) -> Vit:
    """
    InternViT: patches, positions and layers.

    Args:
        dummy_heads: Added so that they divide.
    """
    vit = read_vit(vision)
    side, _ = add_patches(tower, f"{name}.embeddings.patch_embedding", vision.changed(num_channels=3), vit.hidden)
    tower.parameter(f"{name}.embeddings.class_embedding", vit.hidden)
    tower.parameter(f"{name}.embeddings.position_embedding", side**2 + 1, vit.hidden)
    add_intern_layers(
        builder, tower, vision, attrs.evolve(vit, num_layers=num_layers), f"{name}.encoder.layers.*",
        dummy_heads=dummy_heads,
    )  # fmt: skip
    return attrs.evolve(vit, positions=side**2 + 1)


def add_intern_layers(
    builder: Builder,
    tower: Builder,
    vision: Config,
    vit: Vit,
    layer: str,
    *,
    dummy_heads: int = 0,
    quantized: bool = True,
) -> None:
    """
    InternViT's layers; attention is whole on every rank where its heads do not divide.
    """
    hidden, layers, heads = vit.hidden, tuple(range(vit.num_layers)), vit.num_heads + dummy_heads
    width = heads * vit.head_size
    common: dict[str, Any] = {"layers": layers, "quantized": quantized}
    with open_tower(builder, tower.tower, heads=heads) as attention:
        attention.linear(
            f"{layer}.attn.qkv", hidden, (Part(width, heads),) * 3,
            bias=vision.flag("qkv_bias", default=False), fused=("qkv",), **common,
        )  # fmt: skip
        attention.linear(f"{layer}.attn.proj", width, hidden, shard=ROW, bias=True, **common)
    if vision.flag("qk_normalization", default=False):
        for norm in ("q_norm", "k_norm"):
            tower.norm(f"{layer}.attn.{norm}", width, layers=layers)
    tower.linear(f"{layer}.mlp.fc1", hidden, vit.intermediate, bias=True, **common)
    tower.linear(f"{layer}.mlp.fc2", vit.intermediate, hidden, shard=ROW, bias=True, **common)
    _add_layer_ends(tower, layer, vision, hidden, layers, norms=("norm1", "norm2"), scales=("ls1", "ls2"))


def _add_layer_ends(
    tower: Builder,
    layer: str,
    vision: Config,
    hidden: int,
    layers: tuple[int, ...],
    *,
    norms: tuple[str, str],
    scales: tuple[str, str],
) -> None:
    kind = vision.text("norm_type")
    if kind not in ("rms_norm", "layer_norm"):
        raise vision.refuse("norm_type", "rms_norm or layer_norm")
    for norm in norms:
        tower.norm(f"{layer}.{norm}", hidden, layers=layers, bias=kind == "layer_norm")
    for scale in scales:
        tower.parameter(f"{layer}.{scale}", hidden, layers=layers)


def add_shuffled_mlp(
    tower: Builder, name: str, inputs: int, out: int, *, inner: int = 0, bias: bool = True, quantized: bool = False
) -> None:
    """
    Norm and two layers, whole on every rank.

    Args:
        inner: Between them; 0: as wide as the decoder.
    """
    inner = inner or out
    tower.norm(f"{name}.0", inputs, bias=True)
    for at, before, after in ((1, inputs, inner), (3, inner, out)):
        tower.linear(f"{name}.{at}", before, after, shard=REPLICATED, bias=bias, quantized=quantized, lora=False)


def _add_items(builder: Builder, config: Config, vit: Vit, stack: Stack, ratio: int, *, video: bool) -> None:
    """
    The largest image: as many tiles as allowed, and the whole; a video is frames of one tile each.

    Frames fill what the context leaves, which no config says: a video counts as one image.
    Source: ``InternVLProcessingInfo.ctx_video_token`` names the decoders that see videos.
    """
    most = config.integer("max_dynamic_patch", default=_TILES, maximum=2**16)
    tiles = most + 1 if most > 1 and config.flag("use_thumbnail", default=True) else most
    per_tile = max(1, (vit.positions - 1) // ratio**2)
    tokens = tiles * per_tile
    for modality in ("image", "video") if video else ("image",):
        add_encoder(builder, modality, vit, stack.hidden, tokens=tokens, positions=tiles * vit.positions)


def _build_hf(checkpoint: Checkpoint) -> ModelSpec:
    """
    The spelling of transformers: another attention, whole on every rank, and a last norm.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_HF_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", tied=True, default_type="qwen2")
    vision = (config.section("vision_config") or Config({}, "vision_config")).over(_HF_VISION)
    ratio = read_ratio(config)
    with open_tower(builder, "vision", data_parallel=False) as tower:
        vit = _add_hf_vit(tower, vision, "vision_tower")
        add_shuffled_mlp(tower, "multi_modal_projector", vit.hidden * ratio**2, stack.hidden)
    _add_items(builder, config, vit, stack, ratio, video=True)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _add_hf_vit(tower: Builder, vision: Config, name: str) -> Vit:
    vit = read_vit(vision)
    hidden, layers = vit.hidden, tuple(range(vit.num_layers))
    embeddings = f"{name}.embeddings"
    side, _ = add_patches(tower, f"{embeddings}.patch_embeddings.projection", vision, hidden)
    tower.parameter(f"{embeddings}.cls_token", hidden)
    if vision.flag("use_mask_token", default=False):
        tower.parameter(f"{embeddings}.mask_token", hidden)
    if vision.flag("use_absolute_position_embeddings", default=True):
        tower.parameter(f"{embeddings}.position_embeddings", side**2 + 1, hidden)
    layer = f"{name}.encoder.layer.*"
    bias = vision.flag("attention_bias", default=False)
    for part in ("q_proj", "k_proj", "v_proj", "projection_layer"):
        tower.parameter(f"{layer}.attention.{part}.weight", hidden, hidden, layers=layers)
        if bias or part == "projection_layer":
            tower.parameter(f"{layer}.attention.{part}.bias", hidden, layers=layers)
    if vision.flag("use_qk_norm", default=False):
        for norm in ("q_norm", "k_norm"):
            tower.norm(f"{layer}.attention.{norm}", hidden, layers=layers)
    # The encoder is not handed the quant_config.
    tower.linear(f"{layer}.mlp.fc1", hidden, vit.intermediate, layers=layers, bias=True, quantized=False)
    tower.linear(f"{layer}.mlp.fc2", vit.intermediate, hidden, shard=ROW, layers=layers, bias=True, quantized=False)
    ends = ("layernorm_before", "layernorm_after")
    _add_layer_ends(tower, layer, vision, hidden, layers, norms=ends, scales=("lambda_1", "lambda_2"))
    if not vision.flag("use_mean_pooling", default=True):
        tower.norm(f"{name}.layernorm", hidden, bias=True)
    return attrs.evolve(vit, positions=side**2 + 1)
