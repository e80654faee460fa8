"""
MiniMax-M3: grouped attention that reads only blocks which an indexer chose, experts, and an image encoder.

Source: vLLM 0.33 ``models/minimax_m3/nvidia/model.py``, ``mtp.py``, ``common/indexer.py``, ``common/vision_tower.py``.
"""

from __future__ import annotations

from typing import Any

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
from vllm_sizing.architectures.builder import Builder, Layers, among, without
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.towers import add_encoder, add_patches, add_vit_layers, open_tower, read_vit, square
from vllm_sizing.specs.model import (
    COLUMN,
    REPLICATED,
    ROW,
    Draft,
    FullAttention,
    IndexKeys,
    ModelSpec,
    Part,
)
from vllm_sizing.specs.value import Value

# hf_to_vllm_mapper of the multimodal class.
_PREFIXES = (
    ("multi_modal_projector", "vision_tower.multi_modal_projector"),
    ("patch_merge_mlp", "vision_tower.patch_merge_mlp"),
)
_CLASS = "MiniMaxM3SparseForConditionalGeneration"
_LATER = (0,) * 3 + (1,) * 57
# vLLM 0.33 transformers_utils/configs/minimax_m3.py, where a config is silent or null.
_DEFAULTS: dict[str, Any] = {
    "moe_layer_freq": _LATER,
    "sparse_attention_config": {
        "sparse_index_dim": 128, "sparse_num_index_heads": 4, "sparse_topk_blocks": 16, "sparse_block_size": 128,
        "sparse_attention_freq": _LATER,
    },
}  # fmt: skip


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Sparse(Value):
    """
    The indexer.

    Attributes:
        layers: That have one.

        top_k: Blocks it chooses.

        block: Tokens of such a block, and of a page.
    """

    layers: Layers
    head_size: int
    top_k: int
    block: int


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder and its MTP draft.
    """
    silent = {key: value for key, value in _DEFAULTS.items() if not text.has(key)}
    text = text.changed(rope_scaling=None, rope_parameters=None, **silent)  # The class reads no settings of rotation.
    moe = _read_moe(text)
    stack = attrs.evolve(read_stack(text), tied=False).with_experts(moe)
    sparse = _read_sparse(text, stack)
    add_ends(builder, stack, prefix)
    # The draft takes the target's embeddings, which the last stage then has as well.
    builder.embedding(f"{prefix}model.embed_tokens", stack.vocab_size, stack.hidden, stage="later", with_draft=True)
    heads = stack.attention.num_kv_heads
    builder.parameter(
        f"{prefix}model.topk_indices_buffer", heads, sparse.top_k,
        dtype="int32", role="buffer", stage="all", per_batched_token=True,
        shard=attrs.evolve(COLUMN, parts=(Part(heads, heads),)),
    )  # fmt: skip
    layer = f"{prefix}model.layers.*"
    _add_layers(builder, stack, layer, stack.layers, moe, sparse)
    builder.draft = _draft(builder, stack, prefix, moe, sparse)
    builder.traits.add("no_lora")
    return stack


def _layers_of(text: Config, key: str, number: int) -> Layers:
    values = text.integers(key)
    if values is None or len(values) < number:
        raise text.refuse(key, f"a list of {number} integers, one for each layer")
    return tuple(at for at in range(number) if values[at])


def _read_moe(text: Config) -> Moe:
    width = text.required("intermediate_size")
    return Moe(
        layers=_layers_of(text, "moe_layer_freq", text.num_layers()),
        num_experts=read_experts(text, "num_local_experts"),
        top_k=read_experts(text, "num_experts_per_tok"),
        intermediate=width,
        router_dtype="float32",
        correction_bias="e_score_correction_bias" if text.flag("use_routing_bias", default=False) else "",
        shared_intermediate=width * text.integer("n_shared_experts", default=0, minimum=0, maximum=2**16),
    )


def _read_sparse(text: Config, stack: Stack) -> Sparse:
    section = text.needed_section("sparse_attention_config")
    named = section.has("sparse_attention_freq")
    heads = stack.attention.num_kv_heads
    if section.required("sparse_num_index_heads") != heads:
        raise section.refuse("sparse_num_index_heads", f"the number of KV heads ({heads})")
    return Sparse(
        layers=_layers_of(section, "sparse_attention_freq", len(stack.layers)) if named else (),
        head_size=section.required("sparse_index_dim", maximum=2**16),
        top_k=section.required("sparse_topk_blocks", maximum=2**20),
        block=section.required("sparse_block_size", maximum=2**16),
    )


def _add_layers(builder: Builder, stack: Stack, layer: str, layers: Layers, moe: Moe, sparse: Sparse) -> None:
    hidden, attention = stack.hidden, f"{layer}.self_attn"
    chosen = among(layers, sparse.layers)
    plain = without(layers, chosen)
    if plain:
        add_self_attention(builder, attention, stack, layers=plain, head_norms=True)
    if chosen:
        _add_sparse_attention(builder, attention, stack, sparse, layers=chosen)
    add_rope(builder, attention, stack)
    experts = among(layers, moe.layers)
    dense = without(layers, experts)
    add_moe(builder, f"{layer}.block_sparse_moe", hidden, attrs.evolve(moe, layers=experts))
    if dense:
        builder.gated_mlp(f"{layer}.mlp", hidden, stack.text.required("dense_intermediate_size"), layers=dense)
    add_norms(builder, layer, hidden, *TWO_NORMS, layers=layers)


def _add_sparse_attention(builder: Builder, name: str, stack: Stack, sparse: Sparse, *, layers: Layers) -> None:
    """
    One projection to q, k, v and the indexer's q and k, whose single head every rank has.
    """
    heads, kv_heads, size = stack.attention.num_heads, stack.attention.num_kv_heads, stack.attention.head_size
    keys = Part(kv_heads * size, kv_heads)
    builder.linear(
        f"{name}.qkv_proj", stack.hidden,
        (Part(heads * size), keys, keys, Part(kv_heads * sparse.head_size, kv_heads), Part(sparse.head_size, 1)),
        layers=layers, fused=("q_proj", "k_proj", "v_proj"),
    )  # fmt: skip
    builder.linear(f"{name}.o_proj", heads * size, stack.hidden, shard=ROW, layers=layers)
    for norm, width in (("q_norm", size), ("k_norm", size), ("index_q_norm", sparse.head_size),
                        ("index_k_norm", sparse.head_size)):  # fmt: skip
        builder.norm(f"{name}.{norm}", width, layers=layers)
    builder.cache_layers += [
        FullAttention(layers=layers, num_heads=heads, num_kv_heads=kv_heads, head_size=size, head_size_v=size),
        IndexKeys(layers=layers, head_size=sparse.head_size, block_size=sparse.block),
    ]
    builder.own_scales(name, layers)


def _draft(builder: Builder, stack: Stack, prefix: str, moe: Moe, sparse: Sparse) -> Draft | None:
    """
    More layers, always with experts and the indexer; embeddings and head are the target's.
    """
    number = stack.text.integer("num_mtp_modules", default=0, minimum=0, maximum=64)
    if not number or sparse is None:
        return None
    first, hidden, layer = len(stack.layers), stack.hidden, f"{prefix}model.layers.*"
    layers = tuple(range(first, first + number))
    extra = builder.beside()
    extra.linear(f"{layer}.eh_proj", 2 * hidden, hidden, shard=REPLICATED, layers=layers)
    add_norms(extra, layer, hidden, "enorm", "hnorm", "final_layernorm", layers=layers)
    every: dict[str, Any] = {"layers": layers}
    _add_layers(extra, stack, layer, layers, attrs.evolve(moe, **every), attrs.evolve(sparse, **every))
    add_speculator(extra, hidden)
    return finish_draft(extra, num_layers=number, embeds=False)


def _add_vision(builder: Builder, config: Config, hidden: int) -> None:
    vision = config.needed_section("vision_config")
    compression = vision.section("img_token_compression_config") or Config({}, "img_token_compression_config")
    frames = compression.integer("temporal_patch_size", default=2, maximum=2**10)
    merge = compression.integer("spatial_merge_size", default=2, maximum=2**10)
    inner = config.integer("projector_hidden_size", default=0, minimum=0) or hidden
    with open_tower(builder) as tower:
        vit = read_vit(vision)
        name = "vision_tower.vision_model"
        add_patches(tower, f"{name}.embeddings.patch_embedding", vision, vit.hidden, bias=False, frames=frames)
        tower.norm(f"{name}.pre_layrnorm", vit.hidden, bias=True)
        add_vit_layers(tower, f"{name}.encoder.layers.*", vit, mlp="")
        # A third of a head's pairs each for time, height and width.
        for axis in ("t", "h", "w"):
            pairs = vit.head_size // 2 * 2 // 3 // 2
            tower.parameter(f"{name}.inv_freq_{axis}", pairs, dtype="float32", role="buffer")
        for last, inputs, key in (
            ("multi_modal_projector", vit.hidden, "multimodal_projector_bias"),
            ("patch_merge_mlp", hidden * merge**2, "patch_merge_bias"),
        ):
            bias = vision.flag(key, default=True)
            tower.linear(f"vision_tower.{last}.linear_1", inputs, inner, bias=bias)
            tower.linear(f"vision_tower.{last}.linear_2", inner, hidden, shard=ROW, bias=bias)
    patches = (square(vision, "image_size") // square(vision, "patch_size")) ** 2
    add_encoder(builder, "image", vit, hidden, tokens=max(1, patches // merge**2), positions=patches)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a MiniMax-M3, with its image encoder where it has one.
    """
    sees = checkpoint.architecture == _CLASS
    builder = checkpoint.builder(prefixes=_PREFIXES if sees else ())
    stack = add_language_model(builder, checkpoint.text, prefix="language_model." if sees else "")
    if sees:
        _add_vision(builder, checkpoint.config, stack.hidden)
    return finish(checkpoint, builder, stack)
