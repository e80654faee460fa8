"""
ERNIE 4.5 with experts, and its MTP draft.

Source: vLLM 0.33 ``model_executor/models/ernie45_moe.py``, ``ernie_mtp.py``; defaults from
transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import Moe, Stack, finish, read_experts
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Style, add_decoder, dense_draft
from vllm_sizing.specs.model import ModelSpec


def _read_moe(text: Config, layers: Layers) -> Moe | None:
    experts = text.integer("moe_num_experts", "num_experts", default=0, minimum=0, maximum=2**16)
    if not experts or not text.flag("use_moe", default=True):
        return None
    first = text.integer("moe_layer_start_index", default=0, minimum=0)
    last = text.integer("moe_layer_end_index", default=-1, minimum=-1)
    every = text.integer("moe_layer_interval", default=1)
    end = len(layers) - 1 if last == -1 else last
    width = text.required("moe_intermediate_size")
    return Moe(
        layers=tuple(at for at in layers if first <= at <= end and (at + 1) % every == 0),
        num_experts=experts,
        top_k=read_experts(text, "moe_k", "num_experts_per_tok"),
        intermediate=width,
        router_dtype="float32",
        correction_bias="gate.e_score_correction_bias",
        shared_intermediate=width * text.integer("moe_num_shared_experts", default=0, minimum=0, maximum=2**16),
    )


_STYLE = Style(
    defaults={
        "num_key_value_heads": 4, "max_position_embeddings": 131072, "tie_word_embeddings": True,
        "moe_layer_start_index": 1, "moe_intermediate_size": 1536, "moe_num_shared_experts": 2,
    },
    qkv_bias=("use_bias",), output_bias=False, mlp_bias=("use_bias",), moe=_read_moe, neox=False,
    per_layer_windows=False, lora_ends=False,
)  # fmt: skip
# The draft's layer is Llama's, which reads other keys.
_DRAFT = attrs.evolve(
    _STYLE, moe=None, qkv_bias=("attention_bias", "bias"), output_bias=("attention_bias", "bias"),
    mlp_bias=("mlp_bias",), neox=True,
)  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder and its draft, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    stack = add_decoder(builder, text, _STYLE, prefix=prefix)
    builder.draft = dense_draft(
        builder, stack, _DRAFT, f"{prefix}model.layers.*",
        number=text.integer("num_nextn_predict_layers", default=0, minimum=0, maximum=64),
        projection="mtp_linear_proj",
        norms=("mtp_emb_norm", "mtp_hidden_norm"),
    )  # fmt: skip
    return stack


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an ERNIE 4.5 with experts.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
