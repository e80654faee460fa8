"""
Nemotron-H and Nemotron 3: each layer is one mixer (Mamba 2, attention, experts or an MLP).

Source: vLLM 0.33 ``model_executor/models/nemotron_h.py``, ``nemotron_h_mtp.py``; defaults from
transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import (
    Stack,
    add_ends,
    add_mlp,
    add_self_attention,
    add_speculator,
    finish,
    finish_draft,
    read_attention,
    read_experts,
    read_windows,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import MAX_LAYERS, Config
from vllm_sizing.architectures.recurrent import Mamba2, add_mamba2, read_state_dtype
from vllm_sizing.specs.model import REPLICATED, ModelSpec

_DEFAULTS = {
    "vocab_size": 131072, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 4096, "intermediate_size": 21504, "ssm_state_size": 128, "mamba_num_heads": 128,
    "mamba_head_dim": 64, "n_groups": 8, "conv_kernel": 4, "n_routed_experts": 8, "n_shared_experts": 1,
    "moe_intermediate_size": 7688, "moe_shared_expert_intermediate_size": 7688, "num_experts_per_tok": 2,
    "mamba_ssm_cache_dtype": "float32",
}  # fmt: skip
_KINDS = {
    "M": "M", "mamba": "M", "linear_attention": "M",
    "*": "*", "attention": "*", "full_attention": "*",
    "E": "E", "moe": "E",
    "-": "-", "mlp": "-",
}  # fmt: skip
# hf_to_vllm_mapper of the class.
_PREFIXES = (("backbone.embeddings", "model.embed_tokens"), ("backbone.", "model."))


def read_pattern(text: Config, kinds_key: str, pattern_key: str, default: str) -> str:
    """
    One letter for each layer: M, attention ``*``, experts E or an MLP ``-``.
    """
    kinds = text.words(kinds_key)
    if kinds is None:
        pattern = text.text(pattern_key, default=default)
        kinds, kinds_key = list(pattern), pattern_key
    if not 0 < len(kinds) <= MAX_LAYERS or any(kind not in _KINDS for kind in kinds):
        raise text.refuse(kinds_key, f"1 to {MAX_LAYERS} layers of mamba, attention, moe or mlp")
    return "".join(_KINDS[kind] for kind in kinds)


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder; both ends are on every pipeline stage and never tied.
    """
    text = text.over(_DEFAULTS)
    pattern = read_pattern(text, "layers_block_type", "hybrid_override_pattern", "ME*-")
    number = read_experts(text, "n_routed_experts", "num_local_experts") if "E" in pattern else 0
    stack = Stack(
        text=text, hidden=text.required("hidden_size"), vocab_size=text.required("vocab_size"),
        layers=tuple(range(len(pattern))), attention=read_attention(text),
        max_position=text.required("max_position_embeddings"), tied=False, num_experts=number,
        num_experts_per_token=read_experts(text, "num_experts_per_tok") if number else 0,
    )  # fmt: skip
    add_ends(builder, stack, prefix, everywhere=True, norm="model.norm_f")
    builder.norm(f"{prefix}model.layers.*.norm", stack.hidden, layers=stack.layers)
    mixer = f"{prefix}model.layers.*.mixer"
    layers = {kind: tuple(at for at in stack.layers if pattern[at] == kind) for kind in "M*E-"}
    add_mamba2(builder, mixer, stack.hidden, read_mixer(text), layers=layers["M"])
    _add_attention(builder, mixer, stack, layers=layers["*"])
    _add_experts(builder, mixer, stack, layers=layers["E"])
    _add_mlps(builder, mixer, stack, layers=layers["-"])
    return stack


def read_mixer(text: Config) -> Mamba2:
    """
    Sizes of the Mamba 2 layers.
    """
    return Mamba2(
        heads=text.required("mamba_num_heads", maximum=2**16),
        head_size=text.required("mamba_head_dim", maximum=2**16),
        state_size=text.required("ssm_state_size", maximum=2**16),
        groups=text.required("mamba_n_groups", "n_groups", maximum=2**16),
        kernel=text.required("mamba_d_conv", "conv_kernel", maximum=2**10),
        conv_bias=text.flag("mamba_conv_bias", "use_conv_bias", default=True),
        bias=text.flag("use_bias", default=False),
        ssm_dtype=read_state_dtype(text, "mamba_ssm_cache_dtype"),
    )


def _add_attention(builder: Builder, mixer: str, stack: Stack, *, layers: Layers) -> None:
    add_self_attention(
        builder, mixer, stack, layers=layers, windows=read_windows(stack.text, stack.layers, per_layer=False)
    )


def _add_experts(builder: Builder, mixer: str, stack: Stack, *, layers: Layers) -> None:
    """
    Experts without a gate, in a narrower space where the config has a latent size.
    """
    if not layers:
        return
    text, hidden = stack.text, stack.hidden
    latent = text.integer("moe_latent_size", default=0)
    bias = text.flag("mlp_bias", default=False)
    # lora/model_manager.py: no adapters on the router of experts without a gate.
    builder.linear(
        f"{mixer}.gate", hidden, stack.num_experts,
        shard=REPLICATED, layers=layers, quantized=False, dtype="router", lora=False,
    )  # fmt: skip
    builder.parameter(f"{mixer}.gate.e_score_correction_bias", stack.num_experts, layers=layers, dtype="float32")
    builder.experts(
        f"{mixer}.experts", stack.num_experts, latent or hidden, text.required("moe_intermediate_size"),
        layers=layers, gated=False,
    )  # fmt: skip
    shared = text.integer("n_shared_experts", default=0, minimum=0, maximum=2**16)
    if shared:
        width = shared * text.required("moe_shared_expert_intermediate_size")
        add_mlp(builder, f"{mixer}.shared_experts", hidden, width, layers=layers)
    if latent:
        for name, inputs, outputs in (("fc1_latent_proj", hidden, latent), ("fc2_latent_proj", latent, hidden)):
            builder.linear(f"{mixer}.{name}", inputs, outputs, shard=REPLICATED, layers=layers, bias=bias)
    builder.traits.add("experts_not_silu")


def _add_mlps(builder: Builder, mixer: str, stack: Stack, *, layers: Layers) -> None:
    if layers:
        width, bias = stack.text.required("intermediate_size"), stack.text.flag("mlp_bias", default=False)
        add_mlp(builder, mixer, stack.hidden, width, layers=layers, bias=bias)


def add_draft(builder: Builder, stack: Stack) -> None:
    """
    One MTP step: attention and experts, with a projection of hidden state and embedding before them.
    """
    text, hidden = stack.text, stack.hidden
    if text.integer("num_nextn_predict_layers", default=0, minimum=0, maximum=64) != 1:
        return
    pattern = read_pattern(text, "mtp_layers_block_type", "mtp_hybrid_override_pattern", "*E")
    if set(pattern) - set("*E"):
        raise text.refuse("mtp_layers_block_type", "attention and moe layers")
    extra = builder.beside()
    extra.linear("mtp.layers.0.eh_proj", 2 * hidden, hidden)
    for norm in ("layers.0.enorm", "layers.0.hnorm", "final_layernorm"):
        extra.norm(f"mtp.{norm}", hidden)
    for index, kind in enumerate(pattern):
        layers = (len(stack.layers) + index,)
        extra.norm(f"mtp.layers.{index}.norm", hidden, layers=layers)
        add = _add_attention if kind == "*" else _add_experts
        add(extra, f"mtp.layers.{index}.mixer", stack, layers=layers)
    add_speculator(extra, hidden)
    builder.draft = finish_draft(extra, embeds=False)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Nemotron-H.
    """
    checkpoint = attrs.evolve(checkpoint, quantization=checkpoint.quantization.with_prefixes(_PREFIXES))
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text)
    add_draft(builder, stack)
    return finish(checkpoint, builder, stack)
