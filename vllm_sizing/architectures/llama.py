"""
Llama and the models that differ from it by a bias, a norm or a window.

Source: vLLM 0.33 ``model_executor/models/llama.py``, ``qwen2.py``, ``qwen3.py``, ``mistral.py``,
``phi3.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import (
    TWO_NORMS,
    Stack,
    add_ends,
    add_norms,
    add_rope,
    add_self_attention,
    finish,
    read_stack,
    read_windows,
)
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import ModelSpec


@attrs.frozen(kw_only=True)
class Style:
    """
    One model class.

    Attributes:
        defaults: What its config class fills in where a config.json is silent.

        qkv_bias: ``config``: as the config says; ``always``.

        output_bias: o_proj follows the config's bias.

        head_norms: Norms of one head's width on q and k.

        switched_windows: ``use_sliding_window`` and ``max_window_layers`` count.

        packed: The checkpoint stores qkv_proj and gate_up_proj as such.

        lora_ends: LoRA may target embeddings and LM head.
    """

    defaults: dict[str, Any]
    qkv_bias: str = "config"
    output_bias: bool = True
    head_norms: bool = False
    switched_windows: bool = False
    packed: bool = False
    lora_ends: bool = True


_LLAMA = Style(defaults={"max_position_embeddings": 2048})
_MISTRAL = Style(
    defaults={"num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096}
)
_QWEN2 = Style(
    defaults={"num_key_value_heads": 32, "max_position_embeddings": 32768, "sliding_window": 4096},
    qkv_bias="always", output_bias=False, switched_windows=True, lora_ends=False,
)  # fmt: skip
_QWEN3 = Style(
    defaults={
        "num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 32768, "sliding_window": 4096
    },
    output_bias=False, head_norms=True, switched_windows=True,
)  # fmt: skip
_PHI3 = Style(
    defaults={"max_position_embeddings": 4096, "original_max_position_embeddings": 4096}, packed=True
)  # fmt: skip
_MINISTRAL3 = Style(
    defaults={
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262144,
        "rope_parameters": {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 16384},
    }
)
_STYLES = {
    "LlamaForCausalLM": _LLAMA,
    "LLaMAForCausalLM": _LLAMA,
    "LlamaModel": _LLAMA,
    "InternLM3ForCausalLM": _LLAMA,
    "IQuestCoderForCausalLM": _LLAMA,
    "TeleChat3ForCausalLM": _LLAMA,
    "MistralForCausalLM": _MISTRAL,
    "MistralModel": _MISTRAL,
    "Ministral3ForCausalLM": _MINISTRAL3,
    "Qwen2ForCausalLM": _QWEN2,
    "Qwen2Model": _QWEN2,
    "Qwen3ForCausalLM": _QWEN3,
    "Phi3ForCausalLM": _PHI3,
}


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    A dense decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    style = _STYLES[architecture]
    text = text.over(style.defaults)
    stack = read_stack(text)
    layer, layers = f"{prefix}model.layers.*", stack.layers
    add_ends(builder, stack, prefix, lora=style.lora_ends)
    bias = text.flag("attention_bias", default=False) or text.flag("bias", default=False)
    add_self_attention(
        builder, f"{layer}.self_attn", stack,
        bias=style.qkv_bias == "always" or text.flag("qkv_bias", default=bias),
        output_bias=bias and style.output_bias,
        head_norms=style.head_norms,
        windows=_windows(text, stack, switched=style.switched_windows),
        causal=text.flag("is_causal", default=True),
        fused=() if style.packed else ("q_proj", "k_proj", "v_proj"),
    )  # fmt: skip
    add_rope(builder, f"{layer}.self_attn", stack)
    builder.gated_mlp(
        f"{layer}.mlp", stack.hidden, text.required("intermediate_size"),
        layers=layers, bias=text.flag("mlp_bias", default=False),
        fused=() if style.packed else ("gate_proj", "up_proj"),
    )  # fmt: skip
    add_norms(builder, layer, stack.hidden, *TWO_NORMS, layers=layers)
    return stack


def _windows(text: Config, stack: Stack, *, switched: bool) -> dict[int, int]:
    if not switched:
        return read_windows(text, stack.layers)
    if not text.flag("use_sliding_window", default=False):
        return {}
    first = text.integer("max_window_layers", default=28, minimum=0)
    kinds = ["sliding_attention" if layer >= first else "full_attention" for layer in stack.layers]
    return read_windows(text, stack.layers, kinds=kinds, per_layer=False)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a dense decoder.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
