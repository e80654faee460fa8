"""
GLM-4.5 to 4.7 with experts, and their MTP draft.

Source: vLLM 0.33 ``model_executor/models/glm4_moe.py``, ``glm4_moe_mtp.py``; defaults from
transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import (
    Moe,
    Stack,
    add_norms,
    add_speculator,
    finish,
    finish_draft,
    read_experts,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Style, add_decoder, add_decoder_layers
from vllm_sizing.specs.model import REPLICATED, Draft, ModelSpec


def _read_moe(text: Config, layers: Layers) -> Moe:
    first = text.integer("first_k_dense_replace", default=1, minimum=0)
    width = text.required("moe_intermediate_size")
    return Moe(
        layers=tuple(at for at in layers if at >= first),
        num_experts=read_experts(text, "n_routed_experts", "num_local_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=width,
        router_dtype="float32",
        correction_bias="gate.e_score_correction_bias",
        shared_intermediate=width * text.integer("n_shared_experts", default=0, minimum=0, maximum=2**16),
    )


_STYLE = Style(
    defaults={
        "num_key_value_heads": 8, "max_position_embeddings": 131072, "num_experts_per_tok": 8,
        "n_shared_experts": 1, "moe_intermediate_size": 1408,
    },
    qkv_bias=("attention_bias",), output_bias=False, mlp_bias=False, moe=_read_moe, partial=0.5, tied=False,
    per_layer_windows=False, lora_ends=False,
)  # fmt: skip


def add_language_model(
    builder: Builder, text: Config, *, architecture: str = "Glm4MoeForCausalLM", prefix: str = ""
) -> Stack:
    """
    The decoder and its draft, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    style = attrs.evolve(_STYLE, head_norms=text.flag("use_qk_norm", default=False))
    stack = add_decoder(builder, text, style, prefix=prefix)
    builder.draft = _draft(builder, stack, style, f"{prefix}model.layers.*")
    return stack


def _draft(builder: Builder, stack: Stack, style: Style, layer: str) -> Draft | None:
    """
    More layers of the same kind, each behind a projection of its own.
    """
    text, hidden = stack.text, stack.hidden
    number = text.integer("num_nextn_predict_layers", default=0, minimum=0, maximum=64)
    if not number:
        return None
    layers = tuple(range(len(stack.layers), len(stack.layers) + number))
    extra = builder.beside()
    add_norms(extra, layer, hidden, "enorm", "hnorm", "shared_head.norm", layers=layers)
    # A plain torch layer: neither divided nor quantized.
    extra.linear(f"{layer}.eh_proj", 2 * hidden, hidden, shard=REPLICATED, layers=layers, quantized=False)
    add_decoder_layers(extra, stack, style, layer, layers=layers, windows={}, moe=_read_moe(text, layers))
    add_speculator(extra, hidden)
    return finish_draft(extra, num_layers=number)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a GLM with experts.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
