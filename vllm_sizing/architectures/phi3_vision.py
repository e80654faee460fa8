"""
Phi-3 and Phi-3.5 Vision: CLIP in tiles, an MLP over joined neighbours, Phi-3.

Source: vLLM 0.33 ``model_executor/models/phi3v.py``, which fixes the encoder's sizes.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.siglip import add_clip
from vllm_sizing.architectures.towers import add_encoder, feature_layers, open_tower
from vllm_sizing.specs.model import ModelSpec

_CLIP = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "image_size": 336, "patch_size": 14,
}  # fmt: skip
_PREFIXES = (
    ("model.vision_embed_tokens.wte", "embed_tokens"),
    ("model.vision_embed_tokens.", "vision_embed_tokens."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", "language_model.model."),
)
_JOINED = 4  # Neighbours that become one.
# preprocessor_config.json of the released checkpoints: num_crops.  The largest image is a column of tiles; every
# row ends in a separator.
_TILES, _SIDE = 16, 12


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Phi-3 that sees.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture="Phi3ForCausalLM")
    section = config.needed_section("img_processor").over({"layer_idx": -2})
    built = feature_layers(section, "layer_idx", _CLIP["num_hidden_layers"])
    joined = section.required("image_dim_out") * _JOINED
    with open_tower(builder, "image", data_parallel=False) as tower:
        # A second table of embeddings beside the decoder's.
        tower.embedding("embed_tokens", stack.vocab_size, stack.hidden, lora=False)
        name = "vision_embed_tokens"
        vit = add_clip(tower, Config(_CLIP), f"{name}.img_processor.vision_model", num_layers=built, post_norm=False)
        for at, inputs in ((0, joined), (2, stack.hidden)):
            tower.parameter(f"{name}.img_projection.{at}.weight", stack.hidden, inputs)
            tower.parameter(f"{name}.img_projection.{at}.bias", stack.hidden)
        for separator in ("glb_GN", "sub_GN"):
            tower.parameter(f"{name}.{separator}", joined)
    tokens = (_TILES + 1) * _SIDE**2 + 1 + (_TILES + 1) * _SIDE
    add_encoder(builder, "image", vit, stack.hidden, tokens=tokens, positions=(_TILES + 1) * vit.positions)
    builder.traits |= {"no_lora", "no_encoder_data"}
    return finish(checkpoint, builder, stack)
