"""
AFMoE (Arcee's Trinity): gated attention, most layers windowed and only those rotated, shared experts.

Source: vLLM 0.33 ``model_executor/models/afmoe.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import Moe, Stack, add_rope, finish, read_experts
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Style, add_decoder, repeated_kinds
from vllm_sizing.specs.model import ModelSpec


def _read_moe(text: Config, layers: Layers) -> Moe:
    width = text.required("moe_intermediate_size")
    return Moe(
        layers=layers[text.integer("num_dense_layers", default=1, minimum=0) :],
        num_experts=read_experts(text, "num_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=width,
        router_dtype="float32",
        correction_bias="expert_bias",
        shared_intermediate=width * text.integer("num_shared_experts", default=0, minimum=0, maximum=2**16),
    )


_STYLE = Style(
    defaults={
        "head_dim": 128, "max_position_embeddings": 16384, "num_experts": 64, "num_experts_per_tok": 6,
        "num_shared_experts": 2, "num_dense_layers": 1, "sliding_window": 1024, "moe_intermediate_size": 1408,
        "intermediate_size": 6144,
    },
    qkv_bias=False, output_bias=False, mlp_bias=False, head_norms=True, moe=_read_moe, rotary=False, tied=False,
    norms=("input_layernorm", "post_attention_layernorm", "pre_mlp_layernorm", "post_mlp_layernorm"), lora_ends=False,
)  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    del architecture
    number = text.num_layers()
    kinds = text.layer_types(number) or repeated_kinds(number, text.integer("global_attn_every_n_layers", default=4))
    stack = add_decoder(builder, text.changed(layer_types=kinds), _STYLE, prefix=prefix)
    attention, layer = stack.attention, f"{prefix}model.layers.*.self_attn"
    builder.linear(f"{layer}.gate_proj", stack.hidden, attention.num_heads * attention.head_size, layers=stack.layers)
    local = tuple(at for at in stack.layers if kinds[at] == "sliding_attention")
    if local:
        add_rope(builder, layer, stack, layers=local)
    return stack


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an AFMoE.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
