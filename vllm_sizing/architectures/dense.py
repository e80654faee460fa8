"""
Dense decoders that differ from Llama by more than a bias, one `Style` each.

Source: vLLM 0.33 ``model_executor/models``: ``apertus.py``, ``exaone.py``, ``exaone4.py``, ``glm4.py``,
``hyperclovax.py``, ``internlm2.py``, ``minicpm.py``, ``nemotron.py``, ``orion.py``, ``solar.py``,
``stablelm.py``, ``step1.py``, ``teleflm.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import TWO_NORMS, Stack, add_norms, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Names, Style, add_decoder
from vllm_sizing.specs.model import ModelSpec

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
_EXAONE4 = Style(
    defaults={"num_key_value_heads": 32, "max_position_embeddings": 2048, "sliding_window": 4096},
    head_norms=True,
    norms=("post_attention_layernorm", "post_feedforward_layernorm"),
    pattern=4,
)
_GLM4 = Style(
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
_STYLES = {
    "ApertusForCausalLM": _APERTUS,
    "Exaone4ForCausalLM": _EXAONE4,
    "ExaoneForCausalLM": _EXAONE,
    "Glm4ForCausalLM": _GLM4,
    "HyperCLOVAXForCausalLM": _HYPERCLOVAX,
    "InternLM2ForCausalLM": _INTERNLM2,
    "MiniCPMForCausalLM": _MINICPM,
    "NemotronForCausalLM": _NEMOTRON,
    "OrionForCausalLM": _ORION,
    "SolarForCausalLM": _SOLAR,
    "StableLmForCausalLM": _STABLELM,
    "Step1ForCausalLM": _STEP1,
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
    if architecture == "MiniCPMForCausalLM" and text.integer("num_experts", default=0, minimum=0) > 0:
        raise text.refuse("num_experts", "0: MiniCPM with experts is not modelled")
    stack = add_decoder(builder, text, style, prefix=prefix)
    if architecture == "HyperCLOVAXForCausalLM" and stack.text.flag("use_post_norm", default=True):
        add_norms(builder, f"{prefix}model.layers.*", stack.hidden, "post_norm1", "post_norm2", layers=stack.layers)
    return stack


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a dense decoder.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
