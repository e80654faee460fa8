"""
Idefics 3 and SmolVLM.

Source: vLLM 0.33 ``model_executor/models/idefics3.py``, ``smolvlm.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.idefics2 import add_idefics2
from vllm_sizing.architectures.inner import add_inner_model, without_lora_ends
from vllm_sizing.architectures.towers import add_encoder, open_tower
from vllm_sizing.specs.model import REPLICATED, ModelSpec

_VISION = {
    "hidden_size": 1152, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 16,
    "image_size": 224, "patch_size": 32,
}  # fmt: skip
_PREFIXES = (
    ("model.text_model.", "model."),
    ("model.vision_model.", "vision_model."),
    ("model.connector.", "connector."),
)
# preprocessor_config.json of the released checkpoints: size is four times max_image_size; one more shows the whole.
_TILES = 4 * 4 + 1


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an Idefics 3 or SmolVLM.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="", architecture="LlamaForCausalLM", tied=False)
    without_lora_ends(builder)
    vision = (config.section("vision_config") or Config({}, "vision_config")).over(_VISION)
    factor = config.integer("scale_factor", default=2, maximum=2**8)
    with open_tower(builder, "image") as tower:
        vit = add_idefics2(tower, vision, "vision_model")
        tower.linear(
            "connector.modality_projection.proj", vit.hidden * factor**2, stack.hidden, shard=REPLICATED
        )  # fmt: skip
    tokens = _TILES * max(1, vit.positions // factor**2)
    add_encoder(builder, "image", vit, stack.hidden, tokens=tokens, positions=_TILES * vit.positions)
    builder.traits |= {"no_pipeline", "no_encoder_data"}
    return finish(checkpoint, builder, stack)
