"""
Architectures without a class of their own in vLLM: it runs the one of Transformers with its layers replaced.

Linear layers, norms, experts and the vocabulary become vLLM's; q, k and v and the halves of a gated
MLP are merged where the code lets it; what is left, such as the rotary frequencies, stays as it is.
Source: vLLM 0.33 ``model_executor/models/transformers``; models and defaults from transformers 5.20.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from vllm_sizing.architectures.blocks import MAX_POSITION, Moe, Stack, finish, read_attention, read_experts
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.classics import usual_names
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Names, Style, add_decoder, repeated_kinds
from vllm_sizing.architectures.rope import partial_rotary, rope_parameters
from vllm_sizing.specs.model import FullAttention, ModelSpec

_POST_NORMS = ("post_attention_layernorm", "post_feedforward_layernorm")


def _read_moe(text: Config, layers: Layers) -> Moe:
    kinds = text.layer_types(len(layers), "mlp_layer_types")
    return Moe(
        layers=tuple(at for at in layers if kinds is None or kinds[at] == "sparse"),
        num_experts=read_experts(text, "num_experts", "n_routed_experts", "num_local_experts"),
        top_k=read_experts(text, "num_experts_per_tok", "moe_topk"),
        intermediate=text.required("moe_intermediate_size", "intermediate_size"),
    )


def _read_hunyuan(text: Config, layers: Layers) -> Moe:
    """
    Hunyuan writes its sizes as one number or as one for each layer.
    """
    dense = text.required("intermediate_size")
    widths = _per_layer(text, "moe_intermediate_size", dense)
    if len(set(widths)) > 1:
        raise text.refuse("moe_intermediate_size", "the same for every layer")
    return Moe(
        layers=layers,
        num_experts=read_experts(text, "num_experts", "num_local_experts"),
        top_k=max(_per_layer(text, "moe_topk", 1)),
        intermediate=widths[0],
        router="gate.wg",
        router_quantized=True,
        shared_intermediate=dense,
        shared="shared_mlp",
    )


def _per_layer(text: Config, key: str, default: int) -> list[int]:
    if isinstance(text.data.get(key), (list, tuple)):
        return text.integers(key, minimum=1) or [default]
    return [text.integer(key, default=default)]


def _read_kolibri(text: Config, layers: Layers) -> Moe:
    return attrs.evolve(
        _read_moe(text, layers),
        correction_bias="gate.e_score_correction_bias",
        shared_intermediate=text.required("shared_expert_intermediate_size"),
    )


_BASE = Style(
    qkv_bias=("attention_bias",), output_bias=("attention_bias",), mlp_bias=False, rotary=False, lora_head=False
)
_ARCEE = attrs.evolve(_BASE, defaults={"max_position_embeddings": 4096}, mlp_bias=("mlp_bias",), gated=False)
_CWM = attrs.evolve(
    _BASE,
    defaults={
        "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072, "sliding_window": 8192
    },
    qkv_bias=False, output_bias=False, mlp_bias=("mlp_bias",), pattern=4,
)  # fmt: skip
_GLM = attrs.evolve(
    _BASE,
    defaults={
        "num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072, "attention_bias": True
    },
    names=Names(mlp_parts=()), output_bias=False, partial=0.5,
)  # fmt: skip
_GPT_NEOX = attrs.evolve(
    _BASE,
    defaults={"max_position_embeddings": 2048, "attention_bias": True, "intermediate_size": 24576},
    names=Names(
        embed="model.embed_in", attention="attention", qkv="query_key_value", output="dense",
        up="dense_h_to_4h", down="dense_4h_to_h", norm="model.final_layer_norm", qkv_parts=(),
    ),
    mlp_bias=True, norm_bias=True, gated=False, head_dim=False, partial=0.25, lora_ends=False,
)  # fmt: skip
_OLMO = attrs.evolve(_BASE, defaults={"max_position_embeddings": 2048}, head_dim=False, norms=(), norm_weights=False)
_OLMO2 = attrs.evolve(_BASE, defaults={"max_position_embeddings": 2048}, norms=_POST_NORMS)
_OLMO3 = attrs.evolve(_OLMO2, defaults={"max_position_embeddings": 2048, "sliding_window": 4096}, pattern=4)
_FLEX_OLMO = attrs.evolve(
    _OLMO2, defaults={"max_position_embeddings": 4096, "num_experts_per_tok": 5, "num_experts": 7}, moe=_read_moe
)
_PHI = attrs.evolve(
    _BASE,
    defaults={"max_position_embeddings": 2048},
    names=Names(output="dense", up="fc1", down="fc2", norm="model.final_layernorm"),
    qkv_bias=True, output_bias=True, mlp_bias=True, norms=("input_layernorm",), norm_bias=True, gated=False,
    partial=0.5,
)  # fmt: skip
_SEED_OSS = attrs.evolve(
    _BASE,
    defaults={
        "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 524288, "attention_bias": True
    },
    output_bias=("attention_out_bias",), mlp_bias=("mlp_bias",),
)  # fmt: skip
_SMOLLM3 = attrs.evolve(
    _BASE,
    defaults={"num_key_value_heads": 4, "max_position_embeddings": 32768, "tie_word_embeddings": True},
    mlp_bias=("mlp_bias",),
)
_STARCODER2 = attrs.evolve(
    _BASE,
    defaults={
        "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": True, "use_bias": True
    },
    names=Names(up="c_fc", down="c_proj"),
    qkv_bias=("use_bias",), output_bias=("use_bias",), mlp_bias=("use_bias",), norm_bias=True, gated=False,
)  # fmt: skip
_VAULT_GEMMA = attrs.evolve(
    _BASE,
    defaults={
        "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192, "sliding_window": 4096,
        "tie_word_embeddings": True,
    },
    norms=("input_layernorm", "pre_feedforward_layernorm"), pattern=2,
)  # fmt: skip
_HUNYUAN = attrs.evolve(_BASE, defaults={"max_position_embeddings": 2048})
_HUNYUAN_MOE = attrs.evolve(_HUNYUAN, moe=_read_hunyuan)
_JAIS2 = attrs.evolve(
    _BASE,
    defaults={"max_position_embeddings": 8192, "attention_bias": True, "mlp_bias": True},
    mlp_bias=("mlp_bias",), norm_bias=True, gated=False,
)  # fmt: skip
# It has no plan for tensor parallelism: only what is merged is divided.
_GPT_BIGCODE = attrs.evolve(
    _BASE,
    defaults={"tie_word_embeddings": True},
    names=Names(
        embed="model.wte", layer="model.h.*", attention="attn", qkv="c_attn", output="c_proj", up="c_fc",
        down="c_proj", norm="model.ln_f", qkv_parts=(),
    ),
    qkv_bias=True, output_bias=True, mlp_bias=True, head_dim=False, norms=("ln_1", "ln_2"), norm_bias=True,
    gated=False, divided_mlp=False, lora_ends=False, lora_qkv=False,
)  # fmt: skip
_KOLIBRI = attrs.evolve(
    _BASE,
    defaults={
        "num_key_value_heads": 4, "head_dim": 128, "max_position_embeddings": 262144, "sliding_window": 513,
        "moe_intermediate_size": 512, "num_experts_per_tok": 6, "shared_expert_intermediate_size": 512,
    },
    qkv_bias=False, output_bias=False, head_norms=True, moe=_read_kolibri, pattern=5,
    norms=("input_layernorm", "post_attention_layernorm", "post_self_attn_layernorm", "post_mlp_layernorm"),
)  # fmt: skip
_MELLUM = attrs.evolve(
    _BASE,
    defaults={
        "num_key_value_heads": 4, "head_dim": 128, "max_position_embeddings": 131072, "sliding_window": 1024,
        "moe_intermediate_size": 896, "num_experts_per_tok": 8,
    },
    head_norms=True, moe=_read_moe,
)  # fmt: skip
_STYLES = {
    "ArceeForCausalLM": _ARCEE,
    "CwmForCausalLM": _CWM,
    "FlexOlmoForCausalLM": _FLEX_OLMO,
    "GPTBigCodeForCausalLM": _GPT_BIGCODE,
    "GPTNeoXForCausalLM": _GPT_NEOX,
    "GlmForCausalLM": _GLM,
    "HunYuanDenseV1ForCausalLM": _HUNYUAN,
    "HunYuanMoEV1ForCausalLM": _HUNYUAN_MOE,
    "Jais2ForCausalLM": _JAIS2,
    "Kolibri1ForCausalLM": _KOLIBRI,
    "MellumForCausalLM": _MELLUM,
    "Olmo2ForCausalLM": _OLMO2,
    "Olmo3ForCausalLM": _OLMO3,
    "OlmoForCausalLM": _OLMO,
    "PhiForCausalLM": _PHI,
    "SeedOssForCausalLM": _SEED_OSS,
    "SmolLM3ForCausalLM": _SMOLLM3,
    "Starcoder2ForCausalLM": _STARCODER2,
    "VaultGemmaForCausalLM": _VAULT_GEMMA,
}
# Norms of all of q and k, whole on every rank.
_WIDE_NORMS = frozenset(("FlexOlmoForCausalLM", "Olmo2ForCausalLM", "Olmo3ForCausalLM"))
# Rotary frequencies of their own for every type of layer.
_TYPED_ROPE = frozenset(("MellumForCausalLM", "Olmo3ForCausalLM"))


def add_language_model(builder: Builder, text: Config, *, architecture: str, prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    style = _STYLES[architecture]
    written = text
    text = _prepared(text, architecture)
    stack = add_decoder(builder, text, style, prefix=prefix)
    layer, layers, attention = f"{prefix}model.layers.*", stack.layers, stack.attention
    if architecture in _WIDE_NORMS:
        builder.norm(f"{layer}.self_attn.q_norm", attention.num_heads * attention.head_size, layers=layers)
        builder.norm(f"{layer}.self_attn.k_norm", attention.num_kv_heads * attention.head_size, layers=layers)
    elif architecture in ("HunYuanDenseV1ForCausalLM", "HunYuanMoEV1ForCausalLM"):
        builder.norm(f"{layer}.self_attn.query_layernorm", attention.head_size, layers=layers)
        builder.norm(f"{layer}.self_attn.key_layernorm", attention.head_size, layers=layers)
    elif architecture == "PhiForCausalLM" and text.flag("qk_layernorm", default=False):
        for norm in ("q_layernorm", "k_layernorm"):
            builder.norm(f"{layer}.self_attn.{norm}", attention.head_size, layers=layers, bias=True)
    elif architecture == "VaultGemmaForCausalLM":
        builder.parameter(
            f"{prefix}model.embed_tokens.embed_scale", 1, role="buffer", stage="ends" if stack.tied else "first"
        )
    elif architecture == "GPTNeoXForCausalLM":
        # The class projects every head, but the cache keeps as many as the config says.
        heads = read_attention(written).num_kv_heads
        caches = (cache for cache in builder.cache_layers if isinstance(cache, FullAttention))
        builder.cache_layers = [attrs.evolve(cache, num_kv_heads=heads) for cache in caches]
    if architecture == "GPTBigCodeForCausalLM":
        _add_positions(builder, stack, prefix)
        return stack
    kinds: Iterable[str | None] = (None,)
    if architecture in _TYPED_ROPE:
        kinds = sorted(set(stack.text.layer_types(len(layers)) or repeated_kinds(len(layers), 4)))
    for kind in kinds:
        _add_frequencies(builder, stack, style, prefix, kind)
    return stack


def _prepared(text: Config, architecture: str) -> Config:
    """
    The config with what its class derives.
    """
    if architecture == "GPTNeoXForCausalLM":
        return text.changed(num_key_value_heads=None)
    if architecture == "GPTBigCodeForCausalLM":
        if not text.flag("multi_query", default=True):
            raise text.refuse("multi_query", "true: vLLM counts one key and value head whatever it says")
        text = usual_names(text)
        return text.changed(
            num_key_value_heads=1,
            intermediate_size=text.integer("intermediate_size", default=4 * text.required("hidden_size")),
            max_position_embeddings=text.integer("max_position_embeddings", default=1024, maximum=MAX_POSITION),
        )
    number = text.num_layers()
    if architecture == "SmolLM3ForCausalLM":
        return _smollm3(text, number)
    if text.has("layer_types"):
        return text
    if architecture == "CwmForCausalLM":
        return text.changed(layer_types=["sliding_attention" if at % 4 else "full_attention" for at in range(number)])
    if architecture == "MellumForCausalLM":
        return text.changed(layer_types=["full_attention"] * number)
    return text


def _smollm3(text: Config, number: int) -> Config:
    """
    SmolLM3 gives its window to the layers that do not rotate.
    """
    if not text.flag("use_sliding_window", default=False):
        return text.changed(sliding_window=None)
    if text.has("layer_types"):
        return text
    every = text.integer("no_rope_layer_interval", default=4)
    rotates = text.integers("no_rope_layers") or [(at + 1) % every for at in range(number)]
    if len(rotates) < number:
        raise text.refuse("no_rope_layers", f"a list of {number} zeros and ones, one for each layer")
    return text.changed(layer_types=["full_attention" if rotates[at] else "sliding_attention" for at in range(number)])


def _add_positions(builder: Builder, stack: Stack, prefix: str) -> None:
    """
    Learned positions, where the embeddings are, and a mask of them all on every stage.
    """
    builder.parameter(
        f"{prefix}model.wpe.weight", stack.max_position, stack.hidden, stage="ends" if stack.tied else "first"
    )
    builder.parameter(
        f"{prefix}model.bias", stack.max_position, stack.max_position, dtype="bool", role="buffer", stage="all"
    )


def _add_frequencies(builder: Builder, stack: Stack, style: Style, prefix: str, kind: str | None) -> None:
    """
    Rotary frequencies and a copy of them, on every stage; sines and cosines are made on the way.
    """
    parameters = rope_parameters(stack.text, kind)
    dim = int(stack.attention.head_size * partial_rotary(stack.text, parameters, style.partial))
    name = f"{prefix}model.rotary_emb.{'' if kind is None else kind + '_'}"
    for buffer in ("inv_freq", "original_inv_freq"):
        builder.parameter(f"{name}{buffer}", (dim + 1) // 2, dtype="float32", role="buffer", stage="all")


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a model that runs through Transformers.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
