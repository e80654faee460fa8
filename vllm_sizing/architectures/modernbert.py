"""
ModernBERT, alone, with ColBERT's projection, and under SigLIP's image encoder (ModernVBERT).

Source: vLLM 0.33 ``model_executor/models/modernbert.py``, ``colbert.py``, ``colmodernvbert.py``; defaults
from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.bert import add_colbert, read_encoder
from vllm_sizing.architectures.blocks import Stack, add_norms, add_rope, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.heads import add_head, read_head_dtype, read_num_labels
from vllm_sizing.architectures.rope import rope_parameters
from vllm_sizing.architectures.siglip import add_siglip
from vllm_sizing.architectures.towers import add_encoder, open_tower
from vllm_sizing.specs.model import REPLICATED, ROW, ModelSpec

_DEFAULTS = {
    "vocab_size": 50368, "hidden_size": 768, "intermediate_size": 1152, "num_hidden_layers": 22,
    "num_attention_heads": 12, "max_position_embeddings": 8192,
}  # fmt: skip
_THETAS = {"full_attention": ("global_rope_theta", 160000.0), "sliding_attention": ("local_rope_theta", 10000.0)}
_RETRIEVAL = ("ColModernVBertForRetrieval", "ModernVBertModel")


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a ModernBERT.
    """
    name, builder = checkpoint.architecture, checkpoint.builder()
    stack = read_encoder(checkpoint.text.over(_DEFAULTS))
    dtype = read_head_dtype(checkpoint.config)
    # ModernVBERT hands its text layers no quant_config.
    _add_text(builder, stack, quantized=name not in _RETRIEVAL)
    if name in _RETRIEVAL:
        _add_vision(builder, checkpoint.config, stack)
        width = checkpoint.config.integer("embedding_dim", default=128, maximum=2**20)
        add_head(builder, "custom_text_proj", stack.hidden, width, dtype=dtype)
    elif name == "ColBERTModernBertModel":
        add_colbert(builder, stack.text, stack.hidden, dtype)
    elif name != "ModernBertModel":
        _add_classifier(builder, stack, dtype, tokens=name.endswith("ForTokenClassification"))
    builder.traits.add("no_pipeline")
    if name != "ModernBertModel":
        builder.traits.add("no_lora")
    return finish(checkpoint, builder, stack)


def _add_text(builder: Builder, stack: Stack, *, quantized: bool) -> None:
    text, hidden, layers = stack.text, stack.hidden, stack.layers
    heads, intermediate = stack.attention.num_heads, text.required("intermediate_size")
    bias = text.flag("attention_bias", default=False)
    mlp_bias, norm_bias = text.flag("mlp_bias", default=False), text.flag("norm_bias", default=False)
    builder.embedding("embeddings.tok_embeddings", stack.vocab_size, hidden, lora=False)
    builder.norm("embeddings.norm", hidden, bias=norm_bias)
    layer = "encoder_layer.layers.*"
    builder.qkv(
        f"{layer}.attn.Wqkv", hidden, heads, heads, stack.attention.head_size,
        layers=layers, bias=bias, fused=(), adapters=1, quantized=quantized,
    )  # fmt: skip
    builder.linear(f"{layer}.attn.Wo", hidden, hidden, shard=ROW, layers=layers, bias=bias, quantized=quantized)
    builder.attention_scales(f"{layer}.attn.attn", layers, quantized=False)
    builder.gated_mlp(
        f"{layer}.mlp", hidden, intermediate,
        layers=layers, bias=mlp_bias, gate_up="Wi", down="Wo", fused=(), adapters=1, quantized=quantized,
    )  # fmt: skip
    add_norms(builder, layer, hidden, "attn_norm", layers=layers[1:], bias=norm_bias)
    add_norms(builder, layer, hidden, "mlp_norm", layers=layers, bias=norm_bias)
    builder.norm("final_norm", hidden, bias=norm_bias)
    for kind in sorted(set(_layer_types(text, len(layers)))):
        add_rope(builder, f"{layer}.attn", stack, text=_with_rope(text, kind))


def _layer_types(text: Config, number: int) -> list[str]:
    every = text.integer("global_attn_every_n_layers", default=3)
    types = text.layer_types(number)
    return types or ["sliding_attention" if at % every else "full_attention" for at in range(number)]


def _with_rope(text: Config, kind: str) -> Config:
    """
    The text section with the frequencies of one kind of layer, old spelling or new.
    """
    if kind not in _THETAS:
        raise text.refuse("layer_types", "a list of full_attention and sliding_attention")
    key, theta = _THETAS[kind]
    given = {name: value for name, value in rope_parameters(text, kind).data.items() if name not in _THETAS}
    inner = {"rope_type": "default", "rope_theta": text.number(key, default=theta), **given}
    return text.changed(rope_scaling=None, rope_parameters=inner, rope_theta=None)


def _add_classifier(builder: Builder, stack: Stack, dtype: str | None, *, tokens: bool) -> None:
    text, hidden = stack.text, stack.hidden
    inner = None if tokens else dtype
    name = "head" if tokens else "pooling"
    add_head(builder, f"{name}.dense", hidden, hidden, dtype=inner, bias=text.flag("classifier_bias", default=False))
    builder.norm(f"{name}.norm", hidden, bias=text.flag("norm_bias", default=False), dtype=inner)
    add_head(builder, "classifier", hidden, read_num_labels(text), dtype=dtype)


def _add_vision(builder: Builder, config: Config, stack: Stack) -> None:
    factor = config.integer("pixel_shuffle_factor", default=4, maximum=2**10)
    with open_tower(builder, "image", stage="all") as tower:
        vit = add_siglip(tower, config.section("vision_config") or Config({}, "vision_config"), "vision_model")
        tower.linear("connector.proj", vit.hidden * factor**2, stack.hidden, shard=REPLICATED, quantized=False)
    add_encoder(builder, "image", vit, stack.hidden, tokens=max(vit.positions // factor**2, 1))
