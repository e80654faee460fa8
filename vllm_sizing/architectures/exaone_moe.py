"""
EXAONE with experts (K-EXAONE), and its MTP draft.

Source: vLLM 0.33 ``model_executor/models/exaone_moe.py``, ``exaone_moe_mtp.py``; defaults from
transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import (
    Moe,
    Stack,
    add_speculator,
    finish,
    finish_draft,
    read_experts,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Style, add_decoder, add_decoder_layers, repeated_kinds
from vllm_sizing.specs.model import COLUMN, Draft, ModelSpec


def _read_moe(text: Config, layers: Layers) -> Moe:
    kinds = text.layer_types(len(layers), "mlp_layer_types")
    first = text.integer("first_k_dense_replace", default=1, minimum=0)
    width = text.required("moe_intermediate_size")
    return Moe(
        layers=tuple(at for at in layers if (kinds[at] == "sparse" if kinds else at >= first)),
        num_experts=read_experts(text, "num_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=width,
        correction_bias="e_score_correction_bias",
        shared_intermediate=width * text.integer("num_shared_experts", default=0, minimum=0, maximum=2**16),
    )


_STYLE = Style(
    defaults={
        "num_key_value_heads": 32, "max_position_embeddings": 2048, "sliding_window": 4096,
        "moe_intermediate_size": 1024, "num_experts": 64, "num_experts_per_tok": 8, "num_shared_experts": 1,
    },
    head_norms=True, moe=_read_moe, pattern=4,
)  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, prefix: str = "") -> Stack:
    """
    The decoder and its draft, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    stack = add_decoder(builder, text, _STYLE, prefix=prefix)
    builder.draft = _draft(builder, stack)
    return stack


def _draft(builder: Builder, stack: Stack) -> Draft | None:
    """
    Dense layers behind one projection, numbered from 0.
    """
    text, hidden = stack.text, stack.hidden
    number = text.integer("num_nextn_predict_layers", default=1, minimum=0, maximum=64)
    if not number:
        return None
    layers = tuple(range(number))
    extra = builder.beside()
    extra.linear("mtp.fc", 2 * hidden, hidden, shard=COLUMN)
    for norm in ("norm", "pre_fc_norm_hidden", "pre_fc_norm_embedding"):
        extra.norm(f"mtp.{norm}", hidden)
    dense = attrs.evolve(_STYLE, moe=None)
    add_decoder_layers(extra, stack, dense, "mtp.layers.*", layers=layers, windows=_windows(text, stack, number))
    add_speculator(extra, hidden)
    return finish_draft(extra, num_layers=number)


def _windows(text: Config, stack: Stack, number: int) -> dict[int, int]:
    """
    The draft's layers take the types of the first layers, unless the config names their own.
    """
    window = text.integer("sliding_window", default=0, minimum=0)
    kinds = text.words("mtp_layer_types") or text.words("layer_types")
    kinds = kinds or repeated_kinds(len(stack.layers), text.integer("sliding_window_pattern", default=4))
    return {at: window for at in range(number) if window and kinds[at : at + 1] != ["full_attention"]}


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an EXAONE with experts.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
