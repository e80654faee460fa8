"""
Llama, Mistral, Qwen, Phi-3 and the models that differ from them by a bias, a norm or a window.

Source: vLLM 0.33 ``model_executor/models/llama.py``, ``qwen2.py``, ``qwen3.py``, ``mistral.py``,
``mimo.py``, ``mimo_mtp.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Names, Style, add_decoder, dense_draft
from vllm_sizing.specs.model import ModelSpec

LLAMA = Style(defaults={"max_position_embeddings": 2048})
_MISTRAL = Style(
    defaults={"num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096}, lora_ends=False
)
_MINISTRAL3 = Style(
    defaults={
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262144,
        "rope_parameters": {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 16384},
    },
    lora_ends=False,
)
_QWEN2 = Style(
    defaults={"num_key_value_heads": 32, "max_position_embeddings": 32768, "sliding_window": 4096},
    qkv_bias=True, output_bias=False, mlp_bias=False, head_dim=False, switched_windows=True, per_layer_windows=False,
    lora_ends=False,
)  # fmt: skip
QWEN3 = attrs.evolve(
    _QWEN2,
    defaults={**_QWEN2.defaults, "head_dim": 128}, head_dim=True,
    qkv_bias=("attention_bias",), head_norms=True, lora_ends=True,
)  # fmt: skip
_MIMO = attrs.evolve(_QWEN2, defaults={"max_position_embeddings": 32768, "sliding_window": 4096})
_PHI3 = Style(
    defaults={"max_position_embeddings": 4096, "original_max_position_embeddings": 4096},
    names=Names(qkv_parts=(), mlp_parts=()),
)
_ERNIE = Style(
    defaults={
        "num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072, "tie_word_embeddings": True
    }
)  # fmt: skip
_STYLES = {
    "Ernie4_5ForCausalLM": _ERNIE,
    "IQuestCoderForCausalLM": LLAMA,
    "InternLM3ForCausalLM": LLAMA,
    "LLaMAForCausalLM": LLAMA,
    "LlamaForCausalLM": LLAMA,
    "LlamaModel": LLAMA,
    "MiMoForCausalLM": _MIMO,
    "Ministral3ForCausalLM": _MINISTRAL3,
    "MistralForCausalLM": _MISTRAL,
    "MistralModel": attrs.evolve(_MISTRAL, lora_ends=True),
    "Phi3ForCausalLM": _PHI3,
    "Qwen2ForCausalLM": _QWEN2,
    "Qwen2Model": _QWEN2,
    "Qwen3ForCausalLM": QWEN3,
    "TeleChat3ForCausalLM": LLAMA,
}
_READS_QKV_BIAS = frozenset(_STYLES) - {"MiMoForCausalLM", "Qwen2ForCausalLM", "Qwen2Model", "Qwen3ForCausalLM"}


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    A dense decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    style = _STYLES[architecture]
    if architecture in _READS_QKV_BIAS and text.has("qkv_bias"):
        style = attrs.evolve(style, qkv_bias=("qkv_bias",))  # It alone counts where a config has it.
    stack = add_decoder(builder, text, style, prefix=prefix)
    if architecture == "MiMoForCausalLM":
        builder.draft = dense_draft(
            builder, stack, style, f"{prefix}model.layers.*",
            number=text.integer("num_nextn_predict_layers", default=0, minimum=0, maximum=64),
            projection="input_proj",
            norms=("token_layernorm", "hidden_layernorm", "final_layernorm"),
        )  # fmt: skip
    return stack


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a dense decoder.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
