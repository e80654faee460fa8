"""
Dense decoders that differ from Llama by more than a bias, one `Style` each.

Source: vLLM 0.33 ``model_executor/models``: ``apertus.py``, ``exaone.py``, ``exaone4.py``, ``glm4.py``,
``hyperclovax.py``, ``internlm2.py``, ``minicpm.py``, ``iquest_loopcoder.py``,
``nemotron.py``, ``orion.py``, ``plamo3.py``, ``rnj1.py``, ``solar.py``, ``stablelm.py``, ``step1.py``,
``teleflm.py``, ``telechat2.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.blocks import FOUR_NORMS, TWO_NORMS, Stack, add_norms, add_rope, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.classics import usual_names
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Names, Style, add_decoder
from vllm_sizing.architectures.rope import rope_parameters
from vllm_sizing.specs.model import ModelSpec, SlidingWindow
from vllm_sizing.units import round_up

_APERTUS = Style(
    defaults={
        "max_position_embeddings": 65536,
        "rope_parameters": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192},
    },
    head_norms=True,
    norms=("attention_layernorm", "feedforward_layernorm"),
    gated=False,
)
_EXAONE = Style(
    names=Names(
        embed="transformer.wte", layer="transformer.h.*", attention="attn.attention", output="out_proj",
        down="c_proj", norm="transformer.ln_f", mlp_parts=("c_fc_0", "c_fc_1"),
    ),
    defaults={"max_position_embeddings": 2048},
    norms=("ln_1", "ln_2"),
)  # fmt: skip
EXAONE4 = Style(
    defaults={"num_key_value_heads": 32, "max_position_embeddings": 2048, "sliding_window": 4096},
    head_norms=True,
    norms=("post_attention_layernorm", "post_feedforward_layernorm"),
    pattern=4,
)
GLM4 = Style(
    defaults={
        "num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072, "attention_bias": True
    },
    qkv_bias=("attention_bias",), output_bias=False, mlp_bias=False,
    norms=(*TWO_NORMS, "post_self_attn_layernorm", "post_mlp_layernorm"),
    partial=0.5, neox=False, per_layer_windows=False, lora_ends=False,
)  # fmt: skip
_HYPERCLOVAX = Style(
    defaults={"max_position_embeddings": 2048, "use_post_norm": True},
    qkv_bias=("attention_bias",), output_bias=("attention_bias",), per_layer_windows=False,
)  # fmt: skip
_INTERNLM2 = Style(
    names=Names(
        embed="model.tok_embeddings", attention="attention", qkv="wqkv", output="wo", mlp="feed_forward",
        down="w2", head="output", qkv_parts=(), mlp_parts=("w1", "w3"),
    ),
    qkv_bias=False, output_bias=False, mlp_bias=False, head_dim=False,
    norms=("attention_norm", "ffn_norm"), everywhere=True, per_layer_windows=False, lora_ends=False,
)  # fmt: skip
_PLAIN = Style(qkv_bias=False, output_bias=False, mlp_bias=False, head_dim=False, per_layer_windows=False)
_MINICPM = attrs.evolve(_PLAIN, everywhere=True)
_NEMOTRON = Style(
    defaults={"max_position_embeddings": 4096}, norm_bias=True, gated=False, partial=0.5, per_layer_windows=False
)
_ORION = attrs.evolve(_PLAIN, norm_bias=True, everywhere=True, lora=False)
_SOLAR = Style(per_layer_windows=False)
_STABLELM = attrs.evolve(
    _PLAIN,
    defaults={"num_key_value_heads": 32, "max_position_embeddings": 4096},
    qkv_bias=("use_qkv_bias",), norm_bias=True, partial=0.25, everywhere=True, lora=False,
)  # fmt: skip
_STEP1 = Style(
    qkv_bias=("attention_bias",), output_bias=("attention_bias",), head_dim=False,
    rotary=False, per_layer_windows=False, lora=False,
)  # fmt: skip
_RNJ1 = Style(
    defaults={"max_position_embeddings": 131072},
    qkv_bias=("attention_bias",), output_bias=("attention_bias",), mlp_bias=False, head_norms=True, norms=FOUR_NORMS,
    everywhere=True, rotary=False, lora_ends=False,
)  # fmt: skip
_PLAMO_STEP = 16
VOCAB_PADDING = 64
_PLAMO3 = Style(
    names=Names(layer="model.layers.layers.*", attention="mixer", qkv_parts=(), mlp_parts=()),
    qkv_bias=False, output_bias=False, mlp_bias=False, head_norms=True, rotary=False, everywhere=True,
    norms=("pre_mixer_norm", "post_mixer_norm", "pre_mlp_norm", "post_mlp_norm"), head_quantized=False, lora_ends=False,
)  # fmt: skip
# Only the projections back to the hidden state have biases.
_TELECHAT2 = Style(qkv_bias=False, output_bias=True, mlp_bias=False, head_dim=False)
_LOOP_CODER = Style(
    qkv_bias=False, output_bias=False, mlp_bias=False, head_dim=False, everywhere=True, lora=False, lora_ends=False
)
_STYLES = {
    "ApertusForCausalLM": _APERTUS,
    "Exaone4ForCausalLM": EXAONE4,
    "ExaoneForCausalLM": _EXAONE,
    "Glm4ForCausalLM": GLM4,
    "HyperCLOVAXForCausalLM": _HYPERCLOVAX,
    "IQuestLoopCoderForCausalLM": _LOOP_CODER,
    "InternLM2ForCausalLM": _INTERNLM2,
    "MiniCPMForCausalLM": _MINICPM,
    "NemotronForCausalLM": _NEMOTRON,
    "OrionForCausalLM": _ORION,
    "Plamo3ForCausalLM": _PLAMO3,
    "Rnj1ForCausalLM": _RNJ1,
    "SolarForCausalLM": _SOLAR,
    "StableLmForCausalLM": _STABLELM,
    "Step1ForCausalLM": _STEP1,
    "TeleChat2ForCausalLM": _TELECHAT2,
    "TeleFLMForCausalLM": Style(),
}


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    style = _STYLES[architecture]
    if architecture == "ExaoneForCausalLM":
        text = text.over({"num_hidden_layers": text.data.get("num_layers")})
    if architecture == "Step1ForCausalLM":
        groups = text.integer("num_attention_groups", "num_key_value_heads", default=1)
        text = text.changed(num_key_value_heads=groups)
        builder.traits.add("alibi_sqrt")
    if architecture == "MiniCPMForCausalLM" and text.integer("num_experts", default=0, minimum=0) > 0:
        raise text.refuse("num_experts", "0: MiniCPM with experts is not modelled")
    if architecture == "TeleChat2ForCausalLM":
        text = usual_names(text)
    if architecture == "Plamo3ForCausalLM":
        text = _plamo_windows(text)
    windowed = _chunks_as_windows(text) if architecture == "Rnj1ForCausalLM" else text
    stack = attrs.evolve(add_decoder(builder, windowed, style, prefix=prefix), text=text.over(style.defaults))
    if architecture in ("Plamo3ForCausalLM", "Rnj1ForCausalLM"):
        _add_typed_rope(builder, f"{prefix}{style.names.layer}.{style.names.attention}", stack)
    if architecture == "Plamo3ForCausalLM" and stack.vocab_size % _PLAMO_STEP:
        _pad_head(builder, stack)
    elif architecture == "Rnj1ForCausalLM":
        builder.parameter(f"{prefix}model.normalizer", 1, role="buffer", stage="all")
    elif architecture == "TeleChat2ForCausalLM":
        builder.parameter(f"{prefix}model.layers.*.mlp.down_proj.bias", stack.hidden, layers=stack.layers)
    elif architecture == "IQuestLoopCoderForCausalLM":
        _add_loops(builder, stack, f"{prefix}model")
    if architecture == "HyperCLOVAXForCausalLM" and stack.text.flag("use_post_norm", default=True):
        add_norms(builder, f"{prefix}model.layers.*", stack.hidden, "post_norm1", "post_norm2", layers=stack.layers)
    return stack


def _plamo_windows(text: Config) -> Config:
    """
    PLaMo 3 writes a window, or nothing, for each layer.
    """
    number = text.num_layers()
    windows = text.items("interleaved_sliding_window", "sliding_window")
    if windows is None or len(windows) < number:
        raise text.refuse("interleaved_sliding_window", f"a list with a window or null for each of {number} layers")
    kinds = ["full_attention" if window is None else "sliding_attention" for window in windows[:number]]
    found = {window for window in windows[:number] if window is not None}
    if len(found) > 1:
        raise text.refuse("interleaved_sliding_window", "a list with one window")
    return text.changed(sliding_window=found.pop() if found else None, layer_types=kinds)


def _chunks_as_windows(text: Config) -> Config:
    """
    Rnj-1 looks through a window in layers of type ``chunked_attention`` alone.
    """
    kinds = text.layer_types(text.num_layers()) or []
    chunked = ["sliding_attention" if kind == "chunked_attention" else "full_attention" for kind in kinds]
    return text.changed(layer_types=chunked) if kinds else text.changed(sliding_window=None)


def _pad_head(builder: Builder, stack: Stack) -> None:
    """
    Rows that PLaMo adds to its head are padded apart from the vocabulary's.
    """
    rows = round_up(stack.vocab_size, VOCAB_PADDING) + VOCAB_PADDING
    builder.tensors = [
        attrs.evolve(tensor, shape=(rows, stack.hidden)) if tensor.role == "lm_head" else tensor
        for tensor in builder.tensors
    ]


def _add_typed_rope(builder: Builder, name: str, stack: Stack) -> None:
    """
    Frequencies of their own for each type of layer, nested or in a key beside.
    """
    text, number = stack.text, len(stack.layers)
    kinds = text.layer_types(number) or ["full_attention"] * number
    for kind in sorted(set(kinds)):
        layers = tuple(at for at in stack.layers if kinds[at] == kind)
        chosen: dict[str, Any] = dict(rope_parameters(text, kind).data)
        if kind == "sliding_attention" and kind not in rope_parameters(text).data and text.has("rope_local_theta"):
            chosen = {"rope_type": "default", "rope_theta": text.number("rope_local_theta", default=1e4)}
        own = text.changed(rope_scaling=None, rope_parameters=chosen)
        add_rope(builder, name, stack, text=own, layers=layers)


def _add_loops(builder: Builder, stack: Stack, name: str) -> None:
    """
    IQuest's loops: the layers run again, each time with a windowed cache of their own and a gate.
    """
    text, layers, attention = stack.text, stack.layers, stack.attention
    loops = text.integer("loop_num", default=2, maximum=64)
    window = text.integer("loop_window_size", default=64)
    for loop in range(1, loops):
        again = tuple(at + loop * len(layers) for at in layers)
        builder.cache_layers.append(
            SlidingWindow(
                layers=again, window=window, num_heads=attention.num_heads, num_kv_heads=attention.num_kv_heads,
                head_size=attention.head_size, head_size_v=attention.head_size,
            )
        )  # fmt: skip
        builder.attention_scales(f"{name}.layers.*.self_attn.attn.{loop}", layers)
    gate = f"{name}.gate_projections.*.gate_proj"
    builder.linear(gate, attention.head_size, attention.num_heads, layers=layers, bias=True, lora=False)
    builder.traits.add("no_pipeline")


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a dense decoder.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
