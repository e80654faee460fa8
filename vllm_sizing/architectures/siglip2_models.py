"""
LFM2-VL and Phi-4 with SigLIP 2: images of any shape, an MLP, a decoder.

Source: vLLM 0.33 ``model_executor/models/lfm2_vl.py``, ``phi4siglip.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.siglip import add_siglip2
from vllm_sizing.architectures.towers import add_encoder, feature_layers, open_tower
from vllm_sizing.specs.model import REPLICATED, ROW, ModelSpec

_LFM_PREFIXES = (
    ("lm_head.", "language_model.lm_head."),
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
)
_PHI_PREFIXES = (
    ("model.vision_tower.vision_tower.", "vision_tower."),
    ("model.mm_projector.0.", "multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "multi_modal_projector.linear_2."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
)
# transformers' image processor of LFM2-VL: max_tiles tiles of 512 pixels, and the whole.
_LFM_TILES, _LFM_TILE = 10, 512
_PHI_PATCHES = 3600  # preprocessor_config.json of the released checkpoint: max_num_patches.
_PHI_LAYER = -2  # phi4siglip.py fixes it.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an LFM2-VL or a Phi-4 that sees.
    """
    return _build_lfm(checkpoint) if checkpoint.architecture.startswith("Lfm2") else _build_phi(checkpoint)


def _build_lfm(checkpoint: Checkpoint) -> ModelSpec:
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_LFM_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", tied=True, default_type="lfm2")
    factor = config.integer("downsample_factor", default=2, maximum=2**8)
    inner, bias = config.integer("projector_hidden_size", default=2560), config.flag("projector_bias", default=True)
    vision = config.section("vision_config") or Config({}, "vision_config")
    with open_tower(builder, "image") as tower:
        vit = add_siglip2(tower, vision)
        name, inputs = "multi_modal_projector", vit.hidden * factor**2
        if config.flag("projector_use_layernorm", default=True):
            tower.norm(f"{name}.layer_norm", inputs, bias=True)
        for at, before, after in ((1, inputs, inner), (2, inner, stack.hidden)):
            tower.linear(f"{name}.linear_{at}", before, after, shard=REPLICATED, bias=bias, quantized=False)
    patches = max(1, _LFM_TILE // vision.integer("patch_size", default=16, maximum=2**12)) ** 2
    tokens = _LFM_TILES * max(1, patches // factor**2) + max(1, vit.positions // factor**2)
    add_encoder(builder, "image", vit, stack.hidden, tokens=tokens, positions=_LFM_TILES * patches + vit.positions)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _build_phi(checkpoint: Checkpoint) -> ModelSpec:
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PHI_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture="Phi3ForCausalLM")
    vision = (config.section("vision_config") or Config({}, "vision_config")).over({"num_hidden_layers": 12})
    built = feature_layers(Config({"layer": _PHI_LAYER}), "layer", vision.num_layers())
    with open_tower(builder, "image") as tower:
        vit = add_siglip2(tower, vision, num_layers=built)
        inputs = config.integer("mm_hidden_size", default=vit.hidden)
        tower.linear("multi_modal_projector.linear_1", inputs, stack.hidden, bias=True)
        tower.linear("multi_modal_projector.linear_2", stack.hidden, stack.hidden, shard=ROW, bias=True)
    tokens = config.integer("max_num_patches", default=_PHI_PATCHES, maximum=2**24)
    add_encoder(builder, "image", vit, stack.hidden, tokens=tokens, positions=tokens)
    builder.traits |= {"no_lora", "no_encoder_data"}
    return finish(checkpoint, builder, stack)
