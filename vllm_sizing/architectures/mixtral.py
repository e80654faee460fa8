"""
Mixtral, Phi-3.5-MoE, OLMoE and MiniMax-M2: experts in every layer.

Source: vLLM 0.33 ``model_executor/models/mixtral.py``, ``phimoe.py``, ``olmoe.py``,
``minimax_m2.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import Moe, Stack, finish, read_experts
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Names, Style, add_decoder
from vllm_sizing.specs.model import COLUMN, ModelSpec, Part, Shard


def _read_moe(text: Config, layers: Layers) -> Moe:
    return Moe(
        layers=layers,
        num_experts=read_experts(text, "num_local_experts", "num_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=text.required("intermediate_size"),
    )


def _read_minimax_moe(text: Config, layers: Layers) -> Moe:
    biased = text.flag("use_routing_bias", default=False)
    return Moe(
        layers=layers,
        num_experts=read_experts(text, "num_local_experts", "num_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=text.required("intermediate_size"),
        router_dtype="float32",
        correction_bias="e_score_correction_bias" if biased else "",
    )


_MIXTRAL = Style(
    defaults={"num_key_value_heads": 8, "num_experts_per_tok": 2, "max_position_embeddings": 131072},
    names=Names(moe="block_sparse_moe"),
    qkv_bias=False, output_bias=False, moe=_read_moe, everywhere=True, per_layer_windows=False,
)  # fmt: skip
_PHIMOE = Style(
    defaults=_MIXTRAL.defaults,
    names=_MIXTRAL.names,
    qkv_bias=True, output_bias=True, moe=_read_moe, norm_bias=True, head_bias=True, head_quantized=False,
    everywhere=True, tied=False, per_layer_windows=False,
)  # fmt: skip
_OLMOE = Style(
    defaults={"max_position_embeddings": 4096, "num_experts_per_tok": 8},
    qkv_bias=False, output_bias=False, moe=_read_moe, head_dim=False, everywhere=True, tied=False,
    per_layer_windows=False, lora_ends=False,
)  # fmt: skip
# The class is called block_sparse_moe, but its layers look themselves up as mlp.
_MINIMAX = Style(
    defaults={
        "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 196608, "num_experts_per_tok": 8
    },
    qkv_bias=("attention_bias",), output_bias=False, moe=_read_minimax_moe, tied=False,
    per_layer_windows=False, lora_ends=False,
)  # fmt: skip
_STYLES = {
    "MiniMaxM2ForCausalLM": _MINIMAX,
    "MixtralForCausalLM": _MIXTRAL,
    "OlmoeForCausalLM": _OLMOE,
    "PhiMoEForCausalLM": _PHIMOE,
}


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    if architecture == "MiniMaxM2ForCausalLM" and text.has("rotary_dim"):
        share = text.required("rotary_dim") / text.integer("head_dim", default=128)
        text = text.over({"partial_rotary_factor": share})
    stack = add_decoder(builder, text, _STYLES[architecture], prefix=prefix)
    name = f"{prefix}model.layers.*.self_attn"
    attention, layers = stack.attention, stack.layers
    queries = attention.num_heads * attention.head_size
    keys = attention.num_kv_heads * attention.head_size
    if architecture == "OlmoeForCausalLM":
        builder.norm(f"{name}.q_norm", queries, layers=layers)
        builder.norm(f"{name}.k_norm", keys, layers=layers)
    elif architecture == "MiniMaxM2ForCausalLM":
        whole_heads = Shard(axis=0, parts=(Part(keys, attention.num_kv_heads),))
        builder.norm(f"{name}.q_norm", queries, layers=layers, shard=COLUMN)
        builder.norm(f"{name}.k_norm", keys, layers=layers, shard=whole_heads)
    return stack


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a decoder with experts in every layer.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
