"""
DeepSeek and the models built like it: latent attention, a few dense layers, then experts.

Source: vLLM 0.33 ``model_executor/models/deepseek_v2.py``, ``deepseek_mtp.py``, ``AXK1.py``,
``glm4_moe_lite.py``, ``models/deepseek_v32``; defaults from transformers 5.20.
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
    add_self_attention,
    add_speculator,
    finish,
    finish_draft,
    read_experts,
    read_stack,
)
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import MAX_LAYERS, Config
from vllm_sizing.architectures.mla import (
    Indexer,
    Latent,
    add_indices_buffer,
    add_latent_attention,
    read_indexer,
    read_latent,
)
from vllm_sizing.specs.model import REPLICATED, Draft, ModelSpec
from vllm_sizing.specs.value import Value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Style(Value):
    """
    One model class.

    Attributes:
        correction_bias: The router has a bias per expert where the config does not say.

        router_dtype: Of the router's weight; None: the model's.

        sparse: The class exists only with the indexer.

        q_lora_rank: Of the config class, where a config is silent; null means none.
    """

    norms: tuple[str, ...] = TWO_NORMS
    correction_bias: bool = False
    router_dtype: str | None = None
    sparse: bool = False
    first_dense: int = 0
    q_lora_rank: int | None = 1536


_V3 = Style()
_STYLES = {
    "DeepseekForCausalLM": _V3,
    "DeepseekV2ForCausalLM": _V3,
    "DeepseekV3ForCausalLM": _V3,
    "MistralLarge3ForCausalLM": _V3,
    "DeepseekV32ForCausalLM": Style(sparse=True),
    "GlmMoeDsaForCausalLM": Style(sparse=True, first_dense=3, q_lora_rank=2048),
    "Glm4MoeLiteForCausalLM": Style(correction_bias=True, router_dtype="float32", first_dense=1, q_lora_rank=768),
    "AXK1ForCausalLM": Style(
        q_lora_rank=None, norms=(*TWO_NORMS, "post_mlp_layernorm"), correction_bias=True, first_dense=1
    ),
}


def add_language_model(
    builder: Builder, text: Config, *, architecture: str = "DeepseekV3ForCausalLM", prefix: str = ""
) -> Stack:
    """
    The decoder and, where the config has one, its MTP draft.
    """
    style = _STYLES[architecture]
    text = text.over({"q_lora_rank": style.q_lora_rank})
    plain = text.text("model_type") == "deepseek" or not text.has("kv_lora_rank")
    latent = None if plain else read_latent(text)
    moe = _read_moe(text, style)
    stack = attrs.evolve(
        read_stack(text, attention=latent.attention if latent else None),
        tied=False,
        num_experts=moe.num_experts,
        num_experts_per_token=moe.top_k,
    )
    indexer = read_indexer(text, stack.layers)
    if style.sparse and indexer is None:
        raise text.refuse("index_topk", "a number of tokens")
    if architecture == "GlmMoeDsaForCausalLM":
        builder.traits.add("fp8_cache_on_sm100")
    add_ends(builder, stack, prefix, lora=False)
    add_indices_buffer(builder, f"{prefix}model.topk_indices_buffer", indexer)
    _add_layers(builder, stack, f"{prefix}model.layers.*", stack.layers, style, latent, indexer, moe)
    if latent is not None:
        _add_rope(builder, f"{prefix}model.layers.*", stack, latent, indexer)
        builder.draft = _draft(builder, stack, prefix, style, latent, indexer, moe)
    return stack


def _read_moe(text: Config, style: Style) -> Moe:
    """
    The experts; their layers are those of the whole stack.
    """
    layers = range(MAX_LAYERS)
    kinds = text.words("mlp_layer_types") if "post_mlp_layernorm" in style.norms else None
    if kinds is not None:
        sparse = tuple(at for at in layers if at >= len(kinds) or kinds[at] == "sparse")
    else:
        first = text.integer("first_k_dense_replace", default=style.first_dense, minimum=0)
        every = text.integer("moe_layer_freq", default=1)
        sparse = tuple(at for at in layers if at >= first and at % every == 0)
    width = text.required("moe_intermediate_size")
    method = text.text("topk_method", default="noaux_tc" if style.correction_bias else "")
    return Moe(
        layers=sparse,
        num_experts=read_experts(text, "n_routed_experts", "num_local_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=width,
        router_dtype=style.router_dtype,
        correction_bias="gate.e_score_correction_bias" if method == "noaux_tc" else "",
        shared_intermediate=width * text.integer("n_shared_experts", default=0, minimum=0, maximum=2**16),
    )


def _add_layers(
    builder: Builder,
    stack: Stack,
    layer: str,
    layers: Layers,
    style: Style,
    latent: Latent | None,
    indexer: Indexer | None,
    moe: Moe,
) -> None:
    hidden = stack.hidden
    if latent is None:
        add_self_attention(builder, f"{layer}.self_attn", stack)
        add_rope(builder, f"{layer}.self_attn", stack)
    else:
        add_latent_attention(builder, f"{layer}.self_attn", hidden, latent, layers=layers, indexer=indexer)
    sparse = tuple(at for at in layers if at in set(moe.layers))
    dense = tuple(at for at in layers if at not in set(sparse))
    builder.gated_mlp(f"{layer}.mlp", hidden, stack.text.required("intermediate_size"), layers=dense)
    add_moe(builder, f"{layer}.mlp", hidden, attrs.evolve(moe, layers=sparse))
    add_norms(builder, layer, hidden, *style.norms, layers=layers)


def _add_rope(builder: Builder, layer: str, stack: Stack, latent: Latent, indexer: Indexer | None) -> None:
    add_rope(builder, f"{layer}.self_attn", stack, head_size=latent.rope, deepseek=True, neox=False)
    if indexer is not None:
        pairs = stack.text.flag("indexer_rope_interleave", default=False)
        add_rope(builder, f"{layer}.self_attn.indexer", stack, head_size=latent.rope, deepseek=True, neox=not pairs)


def _draft(
    builder: Builder,
    stack: Stack,
    prefix: str,
    style: Style,
    latent: Latent,
    indexer: Indexer | None,
    moe: Moe,
) -> Draft | None:
    """
    One more layer with its own projection of the hidden state; embeddings and head are the target's.
    """
    number = stack.text.integer("num_nextn_predict_layers", default=0, minimum=0, maximum=64)
    if not number or "post_mlp_layernorm" in style.norms:
        return None
    first, hidden = len(stack.layers), stack.hidden
    layers = tuple(range(first, first + number))
    extra = builder.beside()
    layer = f"{prefix}model.layers.*"
    add_norms(extra, layer, hidden, "enorm", "hnorm", "shared_head.norm", layers=layers)
    # A plain torch layer: neither divided nor quantized.
    extra.linear(f"{layer}.eh_proj", 2 * hidden, hidden, shard=REPLICATED, layers=layers, quantized=False)
    own = attrs.evolve(indexer, layers=layers) if indexer else None
    _add_layers(extra, stack, layer, layers, style, latent, own, moe)
    add_indices_buffer(extra, f"{layer}.topk_indices_buffer", own, count=number)
    add_speculator(extra, hidden)
    return finish_draft(extra, num_layers=number)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a DeepSeek or a relative.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
