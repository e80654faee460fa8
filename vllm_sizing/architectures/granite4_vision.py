"""
Granite 4 Vision: SigLIP, a small Q-Former for each decoder layer that takes features, Granite.

Source: vLLM 0.33 ``model_executor/models/granite4_vision.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blip2 import add_qformer
from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.siglip import add_siglip
from vllm_sizing.architectures.towers import Vit, add_encoder, open_tower, square
from vllm_sizing.specs.model import ModelSpec

_PREFIXES = (
    ("model.language_model.", "language_model.model."),
    ("model.layerwise_projectors.", "layerwise_projectors."),
    ("model.spatial_projectors.", "spatial_projectors."),
    ("model.image_newline", "image_newline"),
    ("model.vision_tower.", "vision_tower."),
    ("lm_head.", "language_model.lm_head."),
)
_CORNERS, _QFORMER_HEAD, _QFORMER_INNER = 4, 64, 3072  # granite4_vision.py fixes them.
_SPATIAL_TARGETS = 4  # Where the config is silent.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Granite 4 that sees.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    stack = add_inner_model(
        builder, checkpoint, prefix="language_model.", architecture="GraniteForCausalLM", tied=False
    )  # fmt: skip
    levels = config.items("deepstack_layer_map")
    if levels is None:
        raise config.refuse("deepstack_layer_map", "a list of pairs of layers")
    asked, whole = _rate(config)
    vision = config.needed_section("vision_config")
    with open_tower(builder, "image", data_parallel=False) as tower:
        vit = add_siglip(tower, vision, post_norm=False)
        for name, number in (("layerwise_projectors", len(levels)), ("spatial_projectors", _CORNERS)):
            for at in range(number):
                _add_projector(tower, f"{name}.{at}", vit, stack.hidden, asked, whole)
    builder.parameter("image_newline", stack.hidden, stage="all")  # No module that a stage could leave out.
    targets = config.items("spatial_target_layers")
    buffers = len(levels) + (_SPATIAL_TARGETS if targets is None else len(targets))
    builder.parameter("ds_buffers", buffers, stack.hidden, role="buffer", stage="all", per_batched_token=True)
    tokens, tiles = _largest(config, vision, asked, whole)
    add_encoder(builder, "image", vit, stack.hidden, tokens=tokens, positions=tiles * vit.positions)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _rate(config: Config) -> tuple[int, int]:
    """
    Sides of the window that asks and of the one that answers, written as a fraction.
    """
    sides = config.text("downsample_rate").split("/")
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() and len(side) < 4 and int(side) for side in sides):
        raise config.refuse("downsample_rate", "a fraction like '4/8'")
    return int(sides[0]), int(sides[1])


def _add_projector(tower: Builder, name: str, vit: Vit, hidden: int, asked: int, whole: int) -> None:
    width = vit.hidden
    sizes = {
        "hidden_size": width, "num_attention_heads": max(1, width // _QFORMER_HEAD), "num_hidden_layers": 1,
        "intermediate_size": _QFORMER_INNER, "encoder_hidden_size": width, "cross_attention_frequency": 1,
    }  # fmt: skip
    add_qformer(tower, Config(sizes, "vision_config"), f"{name}.qformer")
    tower.norm(f"{name}.norm", width, bias=True)
    tower.parameter(f"{name}.query", asked**2, width)
    tower.parameter(f"{name}.image_positions", whole**2, width)
    tower.parameter(f"{name}.out_linear.weight", hidden, width)
    tower.parameter(f"{name}.out_linear.bias", hidden)


def _largest(config: Config, vision: Config, asked: int, whole: int) -> tuple[int, int]:
    """
    Embeddings and tiles of the largest image: rows of tiles with a separator each, and the whole.
    """
    vision = vision.over({"image_size": 224})
    side = square(vision, "image_size")
    grid = max(1, side // vision.integer("patch_size", default=16, maximum=2**20) * asked // whole)
    best = (2 * grid * grid + grid, 2)
    for pair in config.items("image_grid_pinpoints") or []:
        sizes = Config({"pair": pair}, "image_grid_pinpoints").integers("pair", minimum=1, maximum=2**20)
        if sizes is None or len(sizes) != 2:
            raise config.refuse("image_grid_pinpoints", "a list of [height, width]")
        high, wide = (max(1, size // side) for size in sizes)
        best = max(best, (high * wide * grid**2 + high * grid + grid**2, high * wide + 1))
    return best
