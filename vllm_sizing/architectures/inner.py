"""
The language model inside a multimodal one: a decoder of any family under a prefix.

Source: vLLM 0.33 ``model_executor/models/utils.py:init_vllm_registered_model``,
``config/vllm.py:with_hf_config``.
"""

from __future__ import annotations

import importlib

import attrs

from vllm_sizing.architectures.blocks import Stack
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.errors import UnknownArchitectureError

# The class of a text section that names none; transformers 5.20 modeling_auto.py.
_CLASSES = {
    "cohere2": "Cohere2ForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "ernie4_5": "Ernie4_5ForCausalLM",
    "exaone4": "Exaone4ForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "glm4": "Glm4ForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
    "granite": "GraniteForCausalLM",
    "internlm2": "InternLM2ForCausalLM",
    "lfm2": "Lfm2ForCausalLM",
    "lfm2_moe": "Lfm2MoeForCausalLM",
    "llama": "LlamaForCausalLM",
    "ministral3": "Ministral3ForCausalLM",
    "mistral": "MistralForCausalLM",
    "mistral4": "Mistral4ForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "opt": "OPTForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}


def add_inner_model(
    builder: Builder,
    checkpoint: Checkpoint,
    *,
    prefix: str,
    architecture: str | None = None,
    text: Config | None = None,
    tied: bool | None = None,
    default_type: str = "",
) -> Stack:
    """
    The decoder of a text section.

    Args:
        prefix: With its dot.

        architecture: Where the class fixes it; else the text section names it.

        text: The text section, if it is not where most configs have it.

        tied: What the whole config's class says where the config is silent; None: nothing.

        default_type: ``model_type`` of a text section that is silent.
    """
    from vllm_sizing.architectures.registry import FAMILIES

    text = with_outer_tying(checkpoint, checkpoint.text if text is None else text, default=tied)
    name = architecture or inner_architecture(text, default_type)
    module = importlib.import_module(f"vllm_sizing.architectures.{FAMILIES[name]}")
    if not hasattr(module, "add_language_model"):
        message = f"architectures: {name} inside another model is not known; give the language model's own config.json"
        raise UnknownArchitectureError(message, architecture=name)
    stack: Stack = module.add_language_model(builder, text, architecture=name, prefix=prefix)
    return stack


def without_lora_ends(builder: Builder) -> None:
    """
    A class that builds the bare decoder and its own head: LoRA wraps neither table nor head.
    """
    builder.tensors = [
        attrs.evolve(tensor, lora=False) if tensor.role in ("embedding", "lm_head") else tensor
        for tensor in builder.tensors
    ]
    builder.traits.discard("lora_tied_head")


def with_outer_tying(checkpoint: Checkpoint, text: Config, *, default: bool | None = None) -> Config:
    """
    A text section as the whole config ties its ends, whatever the section says.

    Args:
        default: What the whole config's class says where the config is silent; None: nothing.
    """
    shared = checkpoint.config.data.get("tie_word_embeddings", default)
    return text if shared is None else text.changed(tie_word_embeddings=shared)


def with_whole_adapters(builder: Builder, *names: str) -> None:
    """
    Merged layers of the decoder whose parts the whole's class does not list: LoRA has one A for all of them.
    """
    builder.tensors = [
        attrs.evolve(tensor, adapters=1) if any(name in tensor.name for name in names) else tensor
        for tensor in builder.tensors
    ]


def inner_architecture(text: Config, default_type: str = "") -> str:
    """
    The class of a text section.
    """
    from vllm_sizing.architectures.registry import FAMILIES

    names = text.words("architectures") or [_CLASSES.get(text.text("model_type", default=default_type), "")]
    for name in names:
        if name in FAMILIES:
            return name
    shown = names[0] if names and names[0] else text.text("model_type", default=default_type) or "nothing"
    message = (
        f"the language model inside is {shown[:100]!r}, which is not modelled; give params_b for a rough plan, "
        "or add it: docs/how-to/add-an-architecture.md"
    )
    raise UnknownArchitectureError(message, architecture=shown)
