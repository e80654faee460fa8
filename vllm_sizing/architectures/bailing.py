"""
Ling (Bailing MoE), Sarvam-30B, Param-2 and Hunyuan 3: experts after some dense layers, one bias per expert.

Source: vLLM 0.33 ``model_executor/models/bailing_moe.py``, ``sarvam.py``, ``param2moe.py``, ``hy_v3.py``; defaults
from transformers 5.20 and from the checkpoints' own code.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import Moe, Stack, finish, read_experts
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Names, Style, add_decoder
from vllm_sizing.specs.model import ModelSpec

_SHARED = "moe_shared_expert_intermediate_size"


def _read_bailing(text: Config, layers: Layers) -> Moe:
    number = text.integer("num_shared_experts", default=0, minimum=0, maximum=2**16)
    biased = text.flag("moe_router_enable_expert_bias", default=False)
    router = text.text("router_dtype")
    dtypes = {"": None, "fp32": "float32"}
    if text.flag("use_bias", default=False):
        raise text.refuse("use_bias", "false: experts with biases are not modelled")
    return Moe(
        layers=layers[text.integer("first_k_dense_replace", default=0, minimum=0) :],
        num_experts=read_experts(text, "num_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=text.required("moe_intermediate_size"),
        router_dtype=dtypes.get(router, "bfloat16"),
        correction_bias="gate.expert_bias" if biased else "",
        shared_intermediate=number * text.required(_SHARED, "moe_intermediate_size"),
    )


def _read_param2(text: Config, layers: Layers) -> Moe:
    number = text.integer("num_shared_experts", default=0, minimum=0, maximum=2**16)
    width = text.required("moe_intermediate_size")
    shared = text.integer(_SHARED, default=width * number) if number else 0
    biased = text.flag("moe_router_enable_expert_bias", default=True)
    return Moe(
        layers=layers[text.integer("first_k_dense_replace", default=1, minimum=0) :],
        num_experts=read_experts(text, "num_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=width,
        router_dtype="float32",
        correction_bias="gate.e_score_correction_bias" if biased else "",
        shared_intermediate=shared,
    )


def _read_hunyuan(text: Config, layers: Layers) -> Moe:
    width = text.required("expert_hidden_dim", "moe_intermediate_size")
    first = text.required("first_k_dense_replace", minimum=0)
    if first >= len(layers):
        raise text.refuse("first_k_dense_replace", f"below {len(layers)}: vLLM wants a layer with experts")
    return Moe(
        layers=layers[first:],
        num_experts=read_experts(text, "num_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=width,
        router_dtype="float32",
        correction_bias="expert_bias",
        shared_intermediate=width * text.integer("num_shared_experts", default=1, minimum=0, maximum=2**16),
        shared="shared_mlp",
    )


_BAILING = Style(
    names=Names(
        embed="model.word_embeddings", attention="attention", qkv="query_key_value", output="dense", qkv_parts=(),
    ),
    qkv_bias=("use_bias", "use_qkv_bias"), output_bias=("use_bias",), mlp_bias=("use_bias",), moe=_read_bailing,
    per_layer_windows=False, lora_ends=False,
)  # fmt: skip
_PARAM2 = Style(
    names=Names(qkv_parts=()),
    qkv_bias=("use_qkv_bias",), output_bias=("use_bias",), mlp_bias=False, moe=_read_param2, per_layer_windows=False,
)  # fmt: skip
_HUNYUAN = Style(
    defaults={
        "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072, "num_experts_per_tok": 8,
        "num_experts": 192, "moe_intermediate_size": 1536, "intermediate_size": 13312,
    },
    qkv_bias=False, output_bias=False, mlp_bias=False, moe=_read_hunyuan, per_layer_windows=False, everywhere=True,
    lora_ends=False,
)  # fmt: skip
_STYLES = {
    "BailingMoeForCausalLM": _BAILING,
    "BailingMoeV2ForCausalLM": _BAILING,
    "HYV3ForCausalLM": _HUNYUAN,
    "Param2MoEForCausalLM": _PARAM2,
    "SarvamMoEForCausalLM": _BAILING,
}


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    style = _STYLES[architecture]
    if style is _BAILING and text.has("rotary_dim"):
        size = text.integer("head_dim", default=None) or text.required("hidden_size") // text.required(
            "num_attention_heads"
        )
        text = text.changed(partial_rotary_factor=text.required("rotary_dim") / size)
    stack = add_decoder(builder, text, style, prefix=prefix)
    size, layer = stack.attention.head_size, f"{prefix}model.layers.*.{style.names.attention}"
    if style is _HUNYUAN:
        norms, bias = ("q_norm", "k_norm"), False
        wanted = text.flag("qk_norm", "use_qk_norm", default=False)
    elif style is _PARAM2:
        norms, bias = ("q_layernorm", "k_layernorm"), False
        wanted = text.flag("use_qk_norm", default=False)
    else:
        norms, bias = ("query_layernorm", "key_layernorm"), not text.flag("use_rmsnorm", default=False)
        wanted = text.flag("use_qk_norm", default=False)
    for norm in norms if wanted else ():
        builder.norm(f"{layer}.{norm}", size, layers=stack.layers, bias=bias)
    return stack


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a decoder with experts after some dense layers.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
