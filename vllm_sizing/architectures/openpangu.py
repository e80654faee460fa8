"""
openPangu: dense (Embedded) and with experts over latent attention (Ultra MoE).

Source: vLLM 0.33 ``model_executor/models/openpangu.py``.
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
    finish,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Style, add_decoder
from vllm_sizing.architectures.mla import add_latent_attention, read_latent
from vllm_sizing.specs.model import ModelSpec

_SANDWICH = ("pre_mlp_layernorm", "post_mlp_layernorm")
_EMBEDDED = Style(output_bias=("attention_bias", "bias"), lora_ends=False)


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    if text.integer("param_sink_number", default=0, minimum=0):
        raise text.refuse("param_sink_number", "0: learned sinks are not modelled")
    if text.has("interleaved_sliding_window"):
        raise text.refuse("interleaved_sliding_window", "left out: its windows are not modelled")
    norms = TWO_NORMS + (_SANDWICH if text.flag("sandwich_norm", default=False) else ())
    if architecture == "PanguEmbeddedForCausalLM":
        biased = ("qkv_bias",) if text.has("qkv_bias") else ("attention_bias", "bias")
        return add_decoder(builder, text, attrs.evolve(_EMBEDDED, norms=norms, qkv_bias=biased), prefix=prefix)
    return _add_ultra(builder, text, norms, prefix)


def _add_ultra(builder: Builder, text: Config, norms: tuple[str, ...], prefix: str) -> Stack:
    latent = read_latent(text)
    stack = read_stack(text, attention=latent.attention)
    hidden, layer = stack.hidden, f"{prefix}model.layers.*"
    add_ends(builder, stack, prefix, lora=False)
    add_latent_attention(builder, f"{layer}.self_attn", hidden, latent, layers=stack.layers)
    plain = text.changed(rope_scaling=None, rope_parameters={"rope_type": "default"})
    add_rope(builder, f"{layer}.self_attn", stack, text=plain, head_size=latent.rope, neox=False)
    moe = _read_moe(text, stack.layers)
    dense = tuple(at for at in stack.layers if at not in set(moe.layers))
    builder.gated_mlp(
        f"{layer}.mlp", hidden, text.required("intermediate_size"),
        layers=dense, bias=text.flag("mlp_bias", default=False),
    )  # fmt: skip
    add_moe(builder, f"{layer}.mlp", hidden, moe)
    add_norms(builder, layer, hidden, *norms, layers=stack.layers)
    return stack.with_experts(moe)


def _read_moe(text: Config, layers: Layers) -> Moe:
    first = text.required("first_k_dense_replace", minimum=0)
    if first >= len(layers):
        raise text.refuse("first_k_dense_replace", f"below {len(layers)}: vLLM wants a layer with experts")
    width = text.required("moe_intermediate_size")
    biased = text.flag("router_enable_expert_bias", default=False)
    return Moe(
        layers=layers[first:],
        num_experts=read_experts(text, "n_routed_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=width,
        correction_bias="gate.e_score_correction_bias" if biased else "",
        shared_intermediate=width * text.integer("n_shared_experts", default=0, minimum=0, maximum=2**16),
    )


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an openPangu.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
