"""
BLIP-2: an image encoder, a Q-Former that asks it a fixed number of questions, any decoder.

Source: vLLM 0.33 ``model_executor/models/blip2.py``, ``blip.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.towers import Vit, add_encoder, add_patches, add_vit_layers, open_tower, read_vit
from vllm_sizing.specs.model import ModelSpec

_VISION = {
    "hidden_size": 1408, "intermediate_size": 6144, "num_hidden_layers": 39, "num_attention_heads": 16,
    "image_size": 224, "patch_size": 14, "qkv_bias": True,
}  # fmt: skip
_QFORMER = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "cross_attention_frequency": 2, "encoder_hidden_size": 1408,
}  # fmt: skip


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a BLIP-2.
    """
    config, builder = checkpoint.config, checkpoint.builder()
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", default_type="opt")
    queries = config.integer("num_query_tokens", default=32, maximum=2**20)
    with open_tower(builder, "image", data_parallel=False) as tower:
        vit = _add_vision(tower, config.section("vision_config") or Config({}, "vision_config"))
        qformer = config.section("qformer_config") or Config({}, "qformer_config")
        width = add_qformer(tower, qformer, "qformer")
        tower.parameter("language_projection.weight", stack.hidden, width)
        tower.parameter("language_projection.bias", stack.hidden)
    builder.parameter("query_tokens", queries, width, stage="all")  # No module that a stage could leave out.
    add_encoder(builder, "image", vit, stack.hidden, tokens=queries)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _add_vision(tower: Builder, vision: Config) -> Vit:
    vision = vision.over(_VISION)
    vit = read_vit(vision)
    name = "vision_model"
    side, _ = add_patches(tower, f"{name}.embeddings.patch_embedding", vision, vit.hidden)
    tower.parameter(f"{name}.embeddings.class_embedding", vit.hidden)
    tower.parameter(f"{name}.embeddings.position_embedding", side**2 + 1, vit.hidden)
    add_vit_layers(
        tower, f"{name}.encoder.layers.*", vit,
        qkv="qkv", output="projection", qkv_bias=vision.flag("qkv_bias", default=True),
    )  # fmt: skip
    tower.norm(f"{name}.post_layernorm", vit.hidden, bias=True)
    return attrs.evolve(vit, positions=side**2 + 1)


def add_qformer(tower: Builder, section: Config, name: str) -> int:
    """
    A Q-Former of plain torch layers; returns its width.
    """
    section = section.over(_QFORMER)
    vit = read_vit(section)
    hidden, layers = vit.hidden, tuple(range(vit.num_layers))
    every = section.required("cross_attention_frequency", maximum=2**10)
    tower.norm(f"{name}.layernorm", hidden, bias=True)
    layer = f"{name}.encoder.layer.*"
    _add_attention(tower, f"{layer}.attention", hidden, hidden, layers=layers)
    _add_attention(
        tower, f"{layer}.crossattention", hidden, section.required("encoder_hidden_size"), layers=layers[::every]
    )
    _add_dense(tower, f"{layer}.intermediate_query.dense", hidden, vit.intermediate, layers=layers)
    _add_dense(tower, f"{layer}.output_query.dense", vit.intermediate, hidden, layers=layers)
    tower.norm(f"{layer}.output_query.LayerNorm", hidden, layers=layers, bias=True)
    return hidden


def _add_attention(tower: Builder, name: str, hidden: int, inputs: int, *, layers: Layers) -> None:
    _add_dense(tower, f"{name}.attention.query", hidden, hidden, layers=layers)
    for part in ("key", "value"):
        _add_dense(tower, f"{name}.attention.{part}", inputs, hidden, layers=layers)
    _add_dense(tower, f"{name}.output.dense", hidden, hidden, layers=layers)
    tower.norm(f"{name}.output.LayerNorm", hidden, layers=layers, bias=True)


def _add_dense(tower: Builder, name: str, inputs: int, outputs: int, *, layers: Layers) -> None:
    tower.parameter(f"{name}.weight", outputs, inputs, layers=layers)
    tower.parameter(f"{name}.bias", outputs, layers=layers)
