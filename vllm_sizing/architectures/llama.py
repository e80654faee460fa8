"""
Llama and the models that differ from it by a bias, a norm or a window.

Source: vLLM 0.33 ``model_executor/models/llama.py``, ``qwen2.py``, ``qwen3.py``, ``mistral.py``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint, derived_max_model_len
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.rope import rope_parameters, rope_table
from vllm_sizing.specs.model import ROW, ModelSpec


@attrs.frozen(kw_only=True)
class Defaults:
    """
    What transformers fills in where a config.json is silent, and the switches of the class.

    Attributes:
        qkv_bias: Bias of q, k and v where the config does not say.

        qk_norm: Norms of one head's width on q and k.

        windows: The model class honours ``sliding_window``.
    """

    qkv_bias: bool = False
    qk_norm: bool = False
    head_dim: int | None = None
    tied: bool = False
    num_kv_heads: int | None = None
    max_position: int = 2048
    windows: bool = False


_DEFAULTS = {
    "LlamaForCausalLM": Defaults(),
    "MistralForCausalLM": Defaults(num_kv_heads=8, max_position=131072, windows=True),
    "Qwen2ForCausalLM": Defaults(qkv_bias=True, num_kv_heads=32, max_position=32768),
    "Qwen3ForCausalLM": Defaults(qk_norm=True, head_dim=128, num_kv_heads=32, max_position=32768),
}


@attrs.frozen(kw_only=True)
class Attention:
    """
    Sizes of grouped-query attention, read and checked.
    """

    num_heads: int
    num_kv_heads: int
    head_size: int


def read_attention(text: Config, *, head_dim: int | None = None, num_kv_heads: int | None = None) -> Attention:
    """
    Heads of a config in the usual spelling.
    """
    heads = text.required("num_attention_heads", maximum=2**16)
    fallback = min(num_kv_heads, heads) if num_kv_heads else heads
    kv_heads = text.integer("num_key_value_heads", default=fallback, maximum=2**16)
    if heads % kv_heads:
        raise text.refuse("num_key_value_heads", f"a divisor of num_attention_heads ({heads})")
    size = text.integer("head_dim", default=head_dim, maximum=2**16)
    if size is None:
        hidden = text.required("hidden_size")
        if hidden % heads:
            raise text.refuse("num_attention_heads", f"a divisor of hidden_size ({hidden})")
        size = hidden // heads
    return Attention(num_heads=heads, num_kv_heads=kv_heads, head_size=size)


def read_windows(text: Config, layers: Layers) -> dict[int, int]:
    """
    Layers with a sliding window, from ``layer_types`` or for all layers.
    """
    window = text.integer("sliding_window", default=None)
    if window is None or text.flag("use_sliding_window", default=True) is False:
        return {}
    kinds = text.layer_types(len(layers))
    if kinds is None:
        return dict.fromkeys(layers, window)
    return {layer: window for layer in layers if kinds[layer] == "sliding_attention"}


def add_self_attention(
    builder: Builder,
    prefix: str,
    hidden: int,
    attention: Attention,
    *,
    layers: Layers,
    bias: bool = False,
    output_bias: bool = False,
    qk_norm: bool = False,
    windows: dict[int, int] | None = None,
) -> None:
    """
    qkv_proj, o_proj, optional norms of q and k, and the cache.
    """
    width = attention.num_heads * attention.head_size
    builder.qkv(
        f"{prefix}.qkv_proj", hidden, attention.num_heads, attention.num_kv_heads, attention.head_size,
        layers=layers, bias=bias,
    )  # fmt: skip
    builder.linear(f"{prefix}.o_proj", width, hidden, shard=ROW, layers=layers, bias=output_bias)
    if qk_norm:
        builder.norm(f"{prefix}.q_norm", attention.head_size, layers=layers)
        builder.norm(f"{prefix}.k_norm", attention.head_size, layers=layers)
    builder.attention_caches(
        f"{prefix}.attn", layers, attention.num_heads, attention.num_kv_heads, attention.head_size, windows=windows
    )


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a dense decoder.
    """
    text, defaults = checkpoint.text, _DEFAULTS[checkpoint.architecture]
    builder = checkpoint.builder()
    hidden = text.required("hidden_size")
    layers = tuple(range(text.num_layers()))
    attention = read_attention(text, head_dim=defaults.head_dim, num_kv_heads=defaults.num_kv_heads)
    position = text.integer("max_position_embeddings", default=defaults.max_position, maximum=2**30)
    vocab_size = text.required("vocab_size")
    prefix = "model.layers.*"
    builder.embed_and_head(
        "model.embed_tokens", "lm_head", vocab_size, hidden,
        tied=text.flag("tie_word_embeddings", default=defaults.tied),
    )  # fmt: skip
    bias = text.flag("attention_bias", "bias", default=defaults.qkv_bias)
    add_self_attention(
        builder, f"{prefix}.self_attn", hidden, attention,
        layers=layers,
        bias=bias,
        output_bias=bias and not defaults.qkv_bias,
        qk_norm=defaults.qk_norm,
        windows=read_windows(text, layers) if defaults.windows else None,
    )  # fmt: skip
    builder.rope(
        "model.layers.*.self_attn.rotary_emb",
        rope_table(
            rope_parameters(text), head_size=attention.head_size, max_position=position,
            partial_rotary_factor=text.number("partial_rotary_factor", default=1.0),
            original_max_position=text.integer("original_max_position_embeddings", default=None),
        ),
    )  # fmt: skip
    builder.gated_mlp(
        f"{prefix}.mlp", hidden, text.required("intermediate_size"),
        layers=layers, bias=text.flag("mlp_bias", default=False),
    )  # fmt: skip
    builder.norm(f"{prefix}.input_layernorm", hidden, layers=layers)
    builder.norm(f"{prefix}.post_attention_layernorm", hidden, layers=layers)
    builder.norm("model.norm", hidden, stage="last")
    return builder.build(
        name=checkpoint.name,
        architecture=checkpoint.architecture,
        dtype=checkpoint.dtype,
        num_layers=len(layers),
        hidden_size=hidden,
        vocab_size=vocab_size,
        max_model_len=derived_max_model_len(text, default=defaults.max_position),
        num_attention_heads=attention.num_heads,
    )
