"""
Qwen2-MoE and Qwen3-MoE: experts in most layers, with or without shared ones.

Source: vLLM 0.33 ``model_executor/models/qwen2_moe.py``, ``qwen3_moe.py``; defaults from
transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import Moe, Stack, finish, read_experts
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Style, add_decoder
from vllm_sizing.specs.model import ModelSpec


def sparse_layers(text: Config, layers: Layers) -> Layers:
    """
    Layers that have experts.
    """
    step = text.integer("decoder_sparse_step", default=1)
    dense = set(text.integers("mlp_only_layers") or ())
    return tuple(layer for layer in layers if layer not in dense and (layer + 1) % step == 0)


def _read_moe(text: Config, layers: Layers, *, quantized: bool, experts: int) -> Moe:
    shared = text.integer("shared_expert_intermediate_size", default=0, minimum=0)
    return Moe(
        layers=sparse_layers(text, layers),
        num_experts=text.integer("num_experts", "num_local_experts", default=experts, maximum=2**16),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=text.required("moe_intermediate_size"),
        router_quantized=quantized,
        shared_intermediate=shared,
        shared="shared_expert",
        shared_gate="shared_expert_gate" if shared or not quantized else "",
    )


def _read_qwen2(text: Config, layers: Layers) -> Moe:
    return _read_moe(text, layers, quantized=False, experts=60)


def _read_qwen3(text: Config, layers: Layers) -> Moe:
    return _read_moe(text, layers, quantized=True, experts=128)


_QWEN2 = Style(
    defaults={
        "num_key_value_heads": 16, "max_position_embeddings": 32768, "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "intermediate_size": 5632,
    },
    qkv_bias=True, output_bias=False, mlp_bias=False, moe=_read_qwen2, head_dim=False, everywhere=True, lora_ends=False,
    per_layer_windows=False,
)  # fmt: skip
_QWEN3 = Style(
    defaults={
        "num_key_value_heads": 4, "max_position_embeddings": 32768, "sliding_window": 4096,
        "num_experts_per_tok": 8, "moe_intermediate_size": 768, "intermediate_size": 6144,
    },
    qkv_bias=("attention_bias",), output_bias=False, mlp_bias=False, head_norms=True, moe=_read_qwen3,
    everywhere=True, switched_windows=True, per_layer_windows=False,
)  # fmt: skip
_STYLES = {"Qwen2MoeForCausalLM": _QWEN2, "Qwen3MoeForCausalLM": _QWEN3}


def add_language_model(
    builder: Builder, text: Config, *, architecture: str = "Qwen3MoeForCausalLM", prefix: str = ""
) -> Stack:
    """
    The decoder; both ends are on every pipeline stage.
    """
    if architecture == "Qwen2MoeForCausalLM":
        text = text.changed(sliding_window=None)  # Its config class lets no window reach all layers.
    else:
        text = text.changed(max_window_layers=0)  # Its config class knows no such key.
    return add_decoder(builder, text, _STYLES[architecture], prefix=prefix)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Qwen mixture of experts.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
