"""
Llama 4 with its image encoder.

Source: vLLM 0.33 ``model_executor/models/mllama4.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.towers import Vit, add_encoder, add_vit_layers, open_tower, read_vit, square
from vllm_sizing.specs.model import ROW, ModelSpec

_DEFAULTS = {
    "hidden_size": 768, "num_hidden_layers": 34, "num_attention_heads": 16, "num_channels": 3,
    "intermediate_size": 5632, "vision_output_dim": 7680, "image_size": 448, "patch_size": 14,
    "pixel_shuffle_ratio": 0.5, "projector_input_dim": 4096, "projector_output_dim": 4096,
}  # fmt: skip
_TILES = 16  # preprocessor_config.json of the released checkpoints: max_patches; one more shows the whole.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Llama 4 that sees.
    """
    builder = checkpoint.builder()
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture="Llama4ForCausalLM")
    vision = (checkpoint.config.section("vision_config") or Config({}, "vision_config")).over(_DEFAULTS)
    with open_tower(builder, "image") as tower:
        vit = _add_encoder(tower, vision)
    with open_tower(builder, "image", data_parallel=False) as projector:
        width = vision.required("vision_output_dim")
        projector.linear("multi_modal_projector.linear_1", width, stack.hidden, quantized=False)
    per_tile = max(1, vit.positions // round(1 / _ratio(vision) ** 2))
    tiles = _TILES + 1
    add_encoder(builder, "image", vit, stack.hidden, tokens=tiles * per_tile, positions=tiles * vit.positions)
    return finish(checkpoint, builder, stack)


def _ratio(vision: Config) -> float:
    """
    How far neighbouring patches move into the width, per side.
    """
    ratio = vision.number("pixel_shuffle_ratio", default=0.5)
    if not 2**-8 <= ratio <= 1:
        raise vision.refuse("pixel_shuffle_ratio", "from 1/256 to 1")
    return ratio


def _add_encoder(tower: Builder, vision: Config) -> Vit:
    """
    Patches, layers and the adapter; vLLM never quantizes them.
    """
    vit = read_vit(vision)
    hidden = vit.hidden
    side = square(vision, "image_size") // square(vision, "patch_size")
    pixels = vision.required("num_channels", maximum=2**10) * square(vision, "patch_size") ** 2
    name = "vision_model"
    tower.linear(f"{name}.patch_embedding.linear", pixels, hidden, quantized=False)
    tower.parameter(f"{name}.class_embedding", hidden)
    tower.parameter(f"{name}.positional_embedding_vlm", side**2 + 1, hidden)
    for norm in ("layernorm_pre", "layernorm_post"):
        tower.norm(f"{name}.{norm}", hidden, bias=True)
    add_vit_layers(
        tower, f"{name}.model.layers.*", vit,
        output="o_proj", norms=("input_layernorm", "post_attention_layernorm"), quantized=False,
    )  # fmt: skip
    # Half the elements, each a pair of float32.
    tower.parameter(
        f"{name}.model.layers.*.self_attn.rotary_emb.cos_sin_cache", side**2 + 1, vit.head_size,
        dtype="float32", role="buffer",
    )  # fmt: skip
    inputs, outputs = vision.required("projector_input_dim"), vision.required("projector_output_dim")
    bias = vision.flag("multi_modal_projector_bias", default=False)
    adapter = f"{name}.vision_adapter.mlp"
    tower.linear(f"{adapter}.fc1", vit.intermediate, inputs, bias=bias, quantized=False)
    tower.linear(f"{adapter}.fc2", inputs, outputs, shard=ROW, bias=bias, quantized=False)
    return attrs.evolve(vit, positions=side**2)
