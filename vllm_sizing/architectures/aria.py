"""
Aria: an encoder for images of any shape, questions that attend to its patches, and a mixture of experts.

Source: vLLM 0.33 ``model_executor/models/aria.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import Moe, finish, read_experts
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Style, add_decoder
from vllm_sizing.architectures.idefics2 import add_idefics2
from vllm_sizing.architectures.towers import add_encoder, open_tower
from vllm_sizing.specs.model import ROW, ModelSpec

_TEXT = {
    "hidden_size": 4096, "intermediate_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "vocab_size": 32000, "max_position_embeddings": 2048, "moe_num_experts": 8, "moe_topk": 2,
    "moe_num_shared_experts": 2,
}  # fmt: skip
_VISION = {
    "hidden_size": 1152, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 16,
    "image_size": 224, "patch_size": 32,
}  # fmt: skip
_PREFIXES = (
    ("model.language_model.", "model."),
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
)
_QUERIES = {"1225": 128, "4900": 256}  # By the number of patches, where the config is silent.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an Aria.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    stack = add_decoder(builder, checkpoint.text, _STYLE)
    table = config.section("projector_patch_to_query_dict") or Config(_QUERIES, "projector_patch_to_query_dict")
    queries = max((table.required(str(key), maximum=2**20) for key in table.data), default=0)
    if not queries:
        raise config.refuse("projector_patch_to_query_dict", "an object from patches to queries")
    vision = (config.section("vision_config") or Config({}, "vision_config")).over(_VISION)
    with open_tower(builder, "image", data_parallel=False) as tower:
        vit = add_idefics2(tower, vision, "vision_tower", post_norm=False)
        _add_projector(tower, "multi_modal_projector", vit.hidden, stack.hidden, queries)
    add_encoder(builder, "image", vit, stack.hidden, tokens=queries)
    builder.traits |= {"no_lora", "no_pipeline", "no_encoder_data"}
    return finish(checkpoint, builder, stack)


def _read_moe(text: Config, layers: Layers) -> Moe:
    width = text.required("intermediate_size")
    return Moe(
        layers=layers,
        num_experts=read_experts(text, "moe_num_experts"),
        top_k=read_experts(text, "moe_topk"),
        intermediate=width,
        router="router",
        shared_intermediate=width * text.integer("moe_num_shared_experts", default=2, minimum=0, maximum=2**16),
    )


_STYLE = Style(defaults=_TEXT, moe=_read_moe, tied=False, per_layer_windows=False, lora=False)


def _add_projector(tower: Builder, name: str, width: int, hidden: int, queries: int) -> None:
    """
    A fixed number of questions attends to all patches; only the MLP after it is divided.
    """
    tower.parameter(f"{name}.query", queries, width)
    attention = f"{name}.cross_attn"
    for part in ("q_proj", "k_proj", "v_proj"):
        tower.parameter(f"{attention}.{part}.weight", width, width)
    tower.parameter(f"{attention}.multihead_attn.in_proj_weight", 3 * width, width)
    tower.parameter(f"{attention}.multihead_attn.in_proj_bias", 3 * width)
    for part in ("multihead_attn.out_proj", "linear"):
        tower.parameter(f"{attention}.{part}.weight", width, width)
        tower.parameter(f"{attention}.{part}.bias", width)
    for norm in ("cross_attn.layer_norm", "cross_attn.layer_norm_kv", "layer_norm"):
        tower.norm(f"{name}.{norm}", width, bias=True)
    tower.linear(f"{name}.feed_forward.linear_in", width, hidden, quantized=False)
    tower.linear(f"{name}.feed_forward.linear_out", hidden, hidden, shard=ROW, quantized=False)
