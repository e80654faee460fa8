"""
Inkling: short convolutions around attention and MLP, relative positions, experts of which some see every token.

Source: vLLM 0.33 ``models/inkling/nvidia``, ``models/inkling/configs.py``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.blocks import Attention, Stack, add_norms, finish, read_experts, read_stack
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inkling_towers import add_audio, add_vision
from vllm_sizing.specs.model import ROW, ConvWindow, FullAttention, ModelSpec, Part, Shard, SlidingWindow

_DEFAULTS = {
    "vocab_size": 201024, "hidden_size": 1536, "num_hidden_layers": 16, "num_attention_heads": 12,
    "num_key_value_heads": 4, "d_rel": 16, "rel_extent": 1024, "sliding_window_size": 512, "dense_mlp_idx": 0,
    "n_shared_experts": 0, "tie_word_embeddings": False,
}  # fmt: skip
_PREFIXES = (
    ("model.llm.layers.", "model.layers."),
    ("model.llm.embed_norm", "model.embed_norm"),
    ("model.llm.embed", "model.embed_tokens"),
    ("model.llm.norm", "model.norm"),
    ("model.llm.unembed", "lm_head"),
    ("language_model.layers.", "model.layers."),
    ("language_model.lm_head.", "lm_head."),
    ("model.audio.", "audio."),
    ("model.visual.", "visual.vision_encoder."),
)
_EXPERT_STEP = 8  # moe.py: the gate has a multiple of so many rows.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an Inkling, with its encoders where their configs name a width.
    """
    builder = checkpoint.builder(prefixes=_PREFIXES)
    stack = _add_decoder(builder, checkpoint.text.over(_DEFAULTS))
    if checkpoint.architecture == "InklingForConditionalGeneration":
        add_vision(builder, checkpoint.config, stack.hidden)
        add_audio(builder, checkpoint.config, stack.hidden)
    # vLLM wants INKLING_MULTIMEM_AR=0 for LoRA, which costs its fast path.
    builder.traits |= {"no_lora", "no_encoder_data"}
    return finish(checkpoint, builder, stack)


def _add_decoder(builder: Builder, text: Config) -> Stack:
    """
    The decoder; its table of embeddings is whole on every rank, and never the head.
    """
    padded = text.integer("padded_vocab_size", default=None)
    text = text if padded is None else text.changed(vocab_size=padded)
    stack = attrs.evolve(read_stack(text), tied=False)
    layers, hidden, layer = stack.layers, stack.hidden, "model.layers.*"
    builder.parameter("model.embed_tokens.weight", stack.vocab_size, hidden, stage="all", role="embedding")
    if text.flag("use_embed_norm", default=False):
        builder.norm("model.embed_norm", hidden, stage="all")
    builder.lm_head("lm_head", stack.vocab_size, hidden, stage="all")
    builder.norm("model.norm", hidden, stage="all")
    local = set(text.integers("local_layer_ids", maximum=len(layers) - 1) or [])
    near = Attention(
        num_heads=text.integer("swa_num_attention_heads", default=stack.attention.num_heads, maximum=2**16),
        num_kv_heads=text.integer("swa_num_key_value_heads", default=stack.attention.num_kv_heads, maximum=2**16),
        head_size=text.integer("swa_head_dim", default=stack.attention.head_size, maximum=2**16),
    )
    window = text.required("sliding_window_size", maximum=2**30)
    for attention, owners, span in (
        (stack.attention, tuple(at for at in layers if at not in local), 0),
        (near, tuple(at for at in layers if at in local), window),
    ):
        if owners:
            _add_attention(builder, layer, stack, attention, owners, span)
    add_norms(builder, layer, hidden, "attn_norm", "mlp_norm", layers=layers)
    return _add_mlps(builder, layer, stack)


def _add_attention(
    builder: Builder, layer: str, stack: Stack, attention: Attention, owners: Layers, window: int
) -> None:
    """
    One kind of attention, its convolutions and both caches.

    Args:
        window: 0: it sees everything.
    """
    text, hidden, name = stack.text, stack.hidden, f"{layer}.attn"
    heads, kv_heads, size = attention.num_heads, attention.num_kv_heads, attention.head_size
    if heads % kv_heads or hidden % kv_heads:
        raise text.refuse("num_key_value_heads", f"a divisor of the heads ({heads}) and of hidden_size ({hidden})")
    relative, kernel = text.required("d_rel", maximum=2**16), _kernel(text)
    keys = Part(kv_heads * size, kv_heads, copied=False)
    builder.linear(
        f"{name}.qkvr", hidden, (Part(heads * size), keys, keys, Part(relative * heads)),
        layers=owners, bias=text.flag("q_bias", default=False), fused=("wq_du", "wk_dv", "wv_dv", "wr_du"),
    )  # fmt: skip
    bias = text.flag("o_bias", default=False)
    builder.linear(f"{name}.wo_ud", heads * size, hidden, shard=ROW, layers=owners, bias=bias)
    extent = window or text.required("rel_extent", maximum=2**24)
    builder.parameter(f"{name}.rel_logits_proj.proj", relative, extent, layers=owners)
    for norm in ("q_norm", "k_norm"):
        builder.norm(f"{name}.{norm}", size, layers=owners)
    for part, columns in (
        ("attn.k_sconv", keys), ("attn.v_sconv", keys), ("attn_sconv", Part(hidden)), ("mlp_sconv", Part(hidden))
    ):  # fmt: skip
        split = Shard(axis=0, parts=(columns,))
        builder.parameter(f"{layer}.{part}.weight", columns.size, 1, kernel, layers=owners, shard=split)
    for scale in ("k_scale", "v_scale"):
        builder.parameter(f"{name}.{scale}", 1, layers=owners, dtype="float32", role="buffer")
    # Key, value and both residual streams side by side, rounded up to a power of two.
    raw = 2 * size + 2 * (hidden // kv_heads)
    builder.cache_layers.append(
        ConvWindow(layers=owners, num_units=kv_heads, width=1 << (raw - 1).bit_length(), window=kernel)
    )
    if window:
        builder.cache_layers.append(
            SlidingWindow(
                layers=owners, num_heads=heads, num_kv_heads=kv_heads, head_size=size, head_size_v=size, window=window
            )
        )
    else:
        builder.cache_layers.append(
            FullAttention(layers=owners, num_heads=heads, num_kv_heads=kv_heads, head_size=size, head_size_v=size)
        )


def _kernel(text: Config) -> int:
    return text.integer("sconv_kernel_size", "conv_kernel_size", default=4, maximum=2**10)


def _add_mlps(builder: Builder, layer: str, stack: Stack) -> Stack:
    """
    Dense MLPs first, then experts; ``intermediate_size`` is the experts' where they have no key of their own.
    """
    text, hidden, layers = stack.text, stack.hidden, stack.layers
    width = text.integer("intermediate_size", default=768)
    inner = text.integer("moe_intermediate_size", default=width)
    if text.has("dense_intermediate_size"):
        inner, width = width, text.required("dense_intermediate_size")
    first = text.integer("dense_mlp_idx", default=0, minimum=0)
    dense, sparse = layers[:first], layers[first:]
    scaled = text.flag("use_global_scale", default=False)
    if dense:
        builder.linear(f"{layer}.mlp.gate_up_proj", hidden, 2 * width, layers=dense)
        builder.linear(f"{layer}.mlp.down_proj", width, hidden, shard=ROW, layers=dense)
        if scaled:
            builder.parameter(f"{layer}.mlp.global_scale", 1, layers=dense)
    if not sparse:
        return stack
    number, shared = read_experts(text, "n_routed_experts"), read_experts(text, "n_shared_experts")
    rows = number + shared
    rows += -rows % _EXPERT_STEP
    builder.parameter(f"{layer}.mlp.gate.weight", rows, hidden, layers=sparse)
    if scaled:
        builder.parameter(f"{layer}.mlp.gate.global_scale", 1, layers=sparse, dtype="float32")
    if text.flag("use_gate_bias", default=False):
        builder.parameter(f"{layer}.mlp.gate.bias", number, layers=sparse, dtype="float32")
    builder.experts(f"{layer}.mlp.experts", number, hidden, inner, layers=sparse)
    sink = f"{layer}.mlp.shared_experts"
    whole = shared * inner
    builder.linear(f"{sink}.w13", hidden, (whole, whole), layers=sparse, fused=("w1", "w3"), quantized=False)
    builder.linear(f"{sink}.w2", whole, hidden, shard=ROW, layers=sparse, quantized=False)
    top_k = text.integer("num_experts_per_tok", default=1, maximum=2**16)
    return attrs.evolve(stack, num_experts=number, num_experts_per_token=top_k)
