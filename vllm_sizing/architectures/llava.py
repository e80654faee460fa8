"""
LLaVA and its relatives: an image encoder up to the wanted layer, a projector, any decoder.

Source: vLLM 0.33 ``model_executor/models/llava.py``, ``llava_next.py``, ``llava_next_video.py``,
``llava_onevision.py``, ``mistral3.py``, ``lightonocr.py``, ``pixtral.py``, ``paligemma.py``; defaults from
transformers 5.20.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.pixtral import add_pixtral, merged_tokens
from vllm_sizing.architectures.siglip import add_clip, add_siglip
from vllm_sizing.architectures.towers import Vit, add_encoder, feature_layers, open_tower
from vllm_sizing.specs.model import REPLICATED, ROW, ModelSpec
from vllm_sizing.specs.value import Value

_PREFIXES = (
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("model.vision_encoder.", "vision_tower."),
    ("model.vision_projection.", "multi_modal_projector."),
    ("model.image_newline", "image_newline"),
    ("lm_head.", "language_model.lm_head."),
)
_CLIP_LARGE = {
    "model_type": "clip_vision_model", "intermediate_size": 4096, "hidden_size": 1024, "patch_size": 14,
    "image_size": 336, "num_hidden_layers": 24, "num_attention_heads": 16,
}  # fmt: skip
_SIGLIP_LARGE = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304, "patch_size": 14,
    "image_size": 384, "num_hidden_layers": 26, "num_attention_heads": 16,
}  # fmt: skip
_PIXTRAL = {
    "model_type": "pixtral", "intermediate_size": 4096, "hidden_size": 1024, "patch_size": 14, "image_size": 1540
}  # fmt: skip
_ANYRES_TILES = 9  # vision_aspect_ratio anyres_max_9; one more shows the whole image.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Style(Value):
    """
    One model class.

    Attributes:
        vision: The encoder where the config has none.

        layer: ``vision_feature_layer`` where the config is silent.

        modality: Of the tower.

        bias: Of the projector, where the config is silent.

        divided: The projector is divided and quantized; else it is a plain torch layer.

        stacked: Several feature layers lie side by side before the projector.

        newline: There is an embedding for the end of a row of tiles.

        merged: Squares of patches are merged before the projector.

        tied: What the config class says.

        text: ``model_type`` of a silent text section.
    """

    vision: dict[str, Any]
    layer: int = -2
    modality: str = "image"
    bias: bool = True
    divided: bool = True
    stacked: bool = False
    newline: bool = False
    merged: bool = False
    tied: bool | None = False
    text: str = "llama"
    lora: bool = True


_STYLES = {
    "LlavaForConditionalGeneration": Style(vision=_CLIP_LARGE),
    "LlavaNextForConditionalGeneration": Style(vision=_CLIP_LARGE, stacked=True, newline=True),
    "LlavaNextVideoForConditionalGeneration": Style(vision=_CLIP_LARGE, modality="video", divided=False),
    "LlavaOnevisionForConditionalGeneration": Style(
        vision=_SIGLIP_LARGE, layer=-1, modality="vision", divided=False, newline=True, text="qwen2", lora=False
    ),
    "Mistral3ForConditionalGeneration": Style(
        vision=_PIXTRAL, layer=-1, bias=False, merged=True, tied=True, text="mistral"
    ),
    "LightOnOCRForConditionalGeneration": Style(
        vision=_PIXTRAL, layer=-1, bias=False, merged=True, tied=True, text="qwen3"
    ),
}


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a LLaVA or a relative.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    style = _STYLES[checkpoint.architecture]
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", tied=style.tied, default_type=style.text)
    vision = config.section("vision_config") or Config(style.vision, "vision_config")
    with open_tower(builder, style.modality) as tower:
        config = config.changed(vision_feature_layer=config.data.get("vision_feature_layer", style.layer))
        vit = _add_vision(tower, config, vision, style)
        if style.newline:
            tower.parameter("image_newline", stack.hidden)
        _add_projector(tower, config, vit, stack, style)
    _add_items(builder, config, vision, vit, stack, style)
    builder.traits.add("no_encoder_data")
    if not style.lora:
        builder.traits.add("no_lora")
    return finish(checkpoint, builder, stack)


def _add_vision(tower: Builder, config: Config, vision: Config, style: Style) -> Vit:
    """
    The encoder up to the deepest layer whose features are wanted.
    """
    kind = vision.text("model_type", default=style.vision["model_type"])
    number = vision.integer("num_hidden_layers", default=24 if kind == "pixtral" else 12, maximum=1024)
    built = feature_layers(config, "vision_feature_layer", number)
    if kind == "pixtral":
        return add_pixtral(tower, vision, num_layers=built)
    if kind not in ("clip_vision_model", "siglip_vision_model"):
        raise vision.refuse("model_type", "clip_vision_model, siglip_vision_model or pixtral")
    add = add_clip if kind == "clip_vision_model" else add_siglip
    return add(tower, vision, num_layers=built, post_norm=False)


def _add_projector(tower: Builder, config: Config, vit: Vit, stack: Stack, style: Style) -> None:
    name, hidden = "multi_modal_projector", stack.hidden
    bias = config.flag("multimodal_projector_bias", default=style.bias)
    inputs = vit.hidden
    layers = config.data.get("vision_feature_layer")
    if style.stacked and isinstance(layers, list):
        inputs *= len(layers)
    if style.merged:
        merge = config.integer("spatial_merge_size", default=2, maximum=2**8)
        tower.norm(f"{name}.norm", inputs)
        tower.parameter(f"{name}.patch_merger.merging_layer.weight", inputs, inputs * merge**2)
    if style.divided:
        tower.linear(f"{name}.linear_1", inputs, hidden, bias=bias)
        tower.linear(f"{name}.linear_2", hidden, hidden, shard=ROW, bias=bias)
    else:
        for at, width in ((1, inputs), (2, hidden)):
            tower.linear(f"{name}.linear_{at}", width, hidden, shard=REPLICATED, bias=bias, quantized=False)


def _add_items(builder: Builder, config: Config, vision: Config, vit: Vit, stack: Stack, style: Style) -> None:
    """
    The largest image: one tile, or as many as the tiling allows.
    """
    if style.merged:
        merge = config.integer("spatial_merge_size", default=2, maximum=2**8)
        add_encoder(builder, "image", vit, stack.hidden, tokens=merged_tokens(vision.over(style.vision), merge))
        return
    tiles = _ANYRES_TILES + 1 if style.newline else 1
    tokens = tiles * max(1, vit.positions)
    for modality in ("image", "video"):
        if style.modality in (modality, "vision"):
            add_encoder(builder, modality, vit, stack.hidden, tokens=tokens, positions=tokens)
