"""
Gemma 1 to 3, text part.

Source: vLLM 0.33 ``model_executor/models/gemma.py``, ``gemma2.py``, ``gemma3.py``; defaults from
transformers 5.20.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.blocks import (
    FOUR_NORMS,
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

# Checkpoints on the Hub leave most of these out.
_GEMMA1 = {
    "vocab_size": 256000, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256,
    "max_position_embeddings": 8192, "tie_word_embeddings": True,
}  # fmt: skip
_GEMMA2 = {
    **_GEMMA1, "num_attention_heads": 8, "num_key_value_heads": 4, "sliding_window": 4096
}  # fmt: skip
_GEMMA3 = {**_GEMMA2, "vocab_size": 262208, "max_position_embeddings": 131072, "intermediate_size": 9216}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "GemmaForCausalLM": _GEMMA1,
    "Gemma2ForCausalLM": _GEMMA2,
    "Gemma2Model": _GEMMA2,
    "Gemma3ForCausalLM": _GEMMA3,
    "Gemma3TextModel": _GEMMA3,
}


def add_language_model(
    builder: Builder, text: Config, *, architecture: str = "Gemma3ForCausalLM", prefix: str = ""
) -> Stack:
    """
    The decoder; both ends are on every pipeline stage.
    """
    text = text.over(_DEFAULTS[architecture])
    stack = read_stack(text)
    layer, layers = f"{prefix}model.layers.*", stack.layers
    generation = 1 if architecture == "GemmaForCausalLM" else int(architecture[5])
    add_ends(builder, stack, prefix, everywhere=True, lora=False)
    builder.parameter(f"{prefix}model.normalizer", 1, role="buffer", stage="all")
    kinds = _kinds(text, len(layers), generation)
    bias = generation > 1 and text.flag("attention_bias", default=False)
    add_self_attention(
        builder, f"{layer}.self_attn", stack,
        bias=bias, output_bias=bias, head_norms=generation == 3,
        windows=read_windows(text, layers, kinds=kinds),
        causal=_causal(text, architecture),
    )  # fmt: skip
    if generation == 3:
        nested = nested_rope(text)
        for kind in sorted(set(kinds or ())):
            users = tuple(at for at in layers if kinds and kinds[at] == kind)
            add_rope(builder, f"{layer}.self_attn", stack, text=nested, layer_type=kind, layers=users)
    else:
        add_rope(builder, f"{layer}.self_attn", stack)
    builder.gated_mlp(f"{layer}.mlp", stack.hidden, text.required("intermediate_size"), layers=layers)
    add_norms(builder, layer, stack.hidden, *(TWO_NORMS if generation == 1 else FOUR_NORMS), layers=layers)
    if architecture == "Gemma3TextModel":
        builder.traits.update(("no_lora", "no_pipeline"))  # vLLM pools the bare model, which has neither.
    return stack


def _kinds(text: Config, num_layers: int, generation: int) -> list[str] | None:
    """
    The kind of each layer: every second (sixth) one sees everything.
    """
    if generation == 1:
        return None
    given = text.layer_types(num_layers)
    if given is not None:
        return given
    pattern = 2 if generation == 2 else text.integer("sliding_window_pattern", default=6)
    return ["full_attention" if (layer + 1) % pattern == 0 else "sliding_attention" for layer in range(num_layers)]


def _causal(text: Config, architecture: str) -> bool:
    """
    Embedding models look both ways and keep no cache.
    """
    if architecture == "Gemma3TextModel":
        return not text.flag("use_bidirectional_attention", default=False)
    return text.flag("is_causal", default=True)


def nested_rope(text: Config) -> Config:
    """
    The config with its RoPE settings per layer type, whichever way it spells them.

    Source: transformers 5.20 ``Gemma3TextConfig.convert_rope_params_to_dict``.
    """
    given = text.section("rope_parameters") or Config({})
    scaling = text.section("rope_scaling") or Config({})
    full, sliding = given.section("full_attention"), given.section("sliding_attention")
    nested = {
        "full_attention": {
            "rope_theta": text.number("rope_theta", default=1e6),
            **(full.data if full else {}), **scaling.data,
        },
        "sliding_attention": {
            "rope_theta": text.number("rope_local_base_freq", default=1e4), **(sliding.data if sliding else {})
        },
    }  # fmt: skip
    return text.changed(rope_parameters=nested, rope_scaling=None)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Gemma.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
