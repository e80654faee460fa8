"""
Qwen2-MoE and Qwen3-MoE: experts in most layers, with or without shared ones.

Source: vLLM 0.33 ``model_executor/models/qwen2_moe.py``, ``qwen3_moe.py``; defaults from
transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Moe,
    Stack,
    add_ends,
    add_moe,
    add_norms,
    add_rope,
    add_self_attention,
    finish,
    read_experts,
    read_stack,
    read_windows,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import ModelSpec

_QWEN2 = {
    "num_key_value_heads": 16, "max_position_embeddings": 32768, "sliding_window": 4096, "num_experts_per_tok": 4,
    "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "intermediate_size": 5632,
    "decoder_sparse_step": 1,
}  # fmt: skip
_QWEN3 = {
    "num_key_value_heads": 4, "max_position_embeddings": 32768, "sliding_window": 4096, "num_experts_per_tok": 8,
    "moe_intermediate_size": 768, "shared_expert_intermediate_size": 0, "intermediate_size": 6144,
    "decoder_sparse_step": 1,
}  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    The decoder; both ends are on every pipeline stage.
    """
    old = architecture == "Qwen2MoeForCausalLM"
    text = text.over(_QWEN2 if old else _QWEN3)
    stack = attrs.evolve(
        read_stack(text),
        num_experts=text.integer("num_experts", "num_local_experts", default=60 if old else 128, maximum=2**16),
        num_experts_per_token=read_experts(text, "num_experts_per_tok"),
    )
    layer, layers = f"{prefix}model.layers.*", stack.layers
    add_ends(builder, stack, prefix, everywhere=True, lora=not old)
    add_self_attention(
        builder, f"{layer}.self_attn", stack,
        bias=old or text.flag("attention_bias", default=False),
        head_norms=not old,
        windows=_windows(text, layers),
    )  # fmt: skip
    add_rope(builder, f"{layer}.self_attn", stack)
    sparse = sparse_layers(text, layers)
    shared = text.integer("shared_expert_intermediate_size", default=0, minimum=0)
    moe = Moe(
        layers=sparse, num_experts=stack.num_experts, top_k=stack.num_experts_per_token,
        intermediate=text.required("moe_intermediate_size"),
        router_quantized=not old,
        shared_intermediate=shared, shared="shared_expert",
        shared_gate="shared_expert_gate" if old or shared else "",
    )  # fmt: skip
    add_moe(builder, f"{layer}.mlp", stack.hidden, moe)
    dense = tuple(sorted(set(layers) - set(sparse)))
    builder.gated_mlp(f"{layer}.mlp", stack.hidden, text.required("intermediate_size"), layers=dense)
    add_norms(builder, layer, stack.hidden, *TWO_NORMS, layers=layers)
    return stack


def sparse_layers(text: Config, layers: Layers) -> Layers:
    """
    Layers that have experts.
    """
    step = text.integer("decoder_sparse_step", default=1)
    dense = set(text.integers("mlp_only_layers") or ())
    return tuple(layer for layer in layers if layer not in dense and (layer + 1) % step == 0)


def _windows(text: Config, layers: Layers) -> dict[int, int]:
    """
    A window only when all layers have one: the class looks at none of them.
    """
    if not text.flag("use_sliding_window", default=False):
        return {}
    return read_windows(text, layers, per_layer=False)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Qwen mixture of experts.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
