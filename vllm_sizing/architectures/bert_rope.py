"""
BERT with rotary positions: Nomic, GTE, Snowflake Arctic and Jina's RoBERTa.

Source: vLLM 0.33 ``model_executor/models/bert_with_rope.py``, ``colbert.py``,
``config.py:NomicBertModelConfig``, ``GteNewModelConfig``, ``JinaRobertaModelConfig``; defaults from
transformers 5.20 and from the checkpoints' own code.
"""

from __future__ import annotations

from vllm_sizing.architectures.bert import DEFAULTS, add_colbert, add_pooler, read_encoder
from vllm_sizing.architectures.blocks import Stack, add_norms, add_rope, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import DEFAULT_MAX_MODEL_LEN, Checkpoint, derived_max_model_len
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.heads import add_head, read_head_dtype, read_num_labels
from vllm_sizing.specs.model import ROW, ModelSpec, Part, Shard
from vllm_sizing.units import round_up

_GTE = {**DEFAULTS, "vocab_size": 250048, "max_position_embeddings": 8192, "type_vocab_size": 1}
_NOMIC = {**DEFAULTS, "vocab_size": 30528}
_WARPS = 8  # Jina's table is rounded up to them, or longer prompts would read past it.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an encoder with rotary positions.
    """
    name = checkpoint.architecture
    if name == "NomicBertModel":
        return _build_nomic(checkpoint)
    if name == "ColBERTJinaRobertaModel":
        return build_jina(checkpoint)
    builder, text = checkpoint.builder(), checkpoint.text.over(_GTE)
    if text.text("hidden_act", default="gelu") != "gelu":
        raise text.refuse("hidden_act", "gelu, which vLLM runs with a gate")
    stack = read_encoder(text)
    _add_model(builder, stack, bias=True, gated=True, gate_bias=False, positions=stack.max_position)
    if name == "GteNewForSequenceClassification":
        dtype = read_head_dtype(text)
        add_pooler(builder, "new.pooler", stack.hidden, dtype)
        add_head(builder, "classifier", stack.hidden, read_num_labels(text), dtype=dtype, quantized=True)
    return finish(checkpoint, builder, stack)


def build_jina(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of Jina's RoBERTa.
    """
    builder, text = checkpoint.builder(), checkpoint.text.over({**DEFAULTS, "vocab_size": 250002})
    stack = read_encoder(text)
    _add_model(builder, stack, bias=True, gated=False, positions=round_up(stack.max_position, _WARPS))
    if checkpoint.architecture == "ColBERTJinaRobertaModel":
        add_colbert(builder, text, stack.hidden, read_head_dtype(text))
    return finish(checkpoint, builder, stack)


def _build_nomic(checkpoint: Checkpoint) -> ModelSpec:
    """
    Nomic's config speaks GPT-2's language; every second layer may have experts.
    """
    builder, text = checkpoint.builder(), checkpoint.text
    text = text.changed(
        hidden_size=text.integer("n_embd", "hidden_size", default=768),
        num_attention_heads=text.integer("n_head", "num_attention_heads", default=12),
        num_hidden_layers=text.integer("n_layer", "num_hidden_layers", default=12),
        intermediate_size=text.integer("n_inner", "intermediate_size", default=3072),
    ).over(_NOMIC)
    activation = text.text("activation_function", default="gelu")
    if activation not in ("swiglu", "gelu"):
        raise text.refuse("activation_function", "swiglu or gelu")
    biases = {text.flag(key, default=True) for key in ("qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias")}
    if len(biases) > 1:
        raise text.refuse("mlp_fc1_bias", "what qkv_proj_bias and mlp_fc2_bias are")
    stack = read_encoder(text)
    longest = derived_max_model_len(text, default=DEFAULT_MAX_MODEL_LEN)
    _add_model(builder, stack, bias=biases.pop(), gated=activation == "swiglu", positions=longest)
    return finish(checkpoint, builder, stack)


def _add_model(
    builder: Builder, stack: Stack, *, bias: bool, gated: bool, positions: int, gate_bias: bool | None = None
) -> None:
    """
    Embeddings and layers.

    Args:
        gate_bias: Of gate and up; None: as ``bias``.
    """
    text, hidden, layers = stack.text, stack.hidden, stack.layers
    heads, layer = stack.attention.num_heads, "encoder.layers.*"
    builder.embedding("embeddings.word_embeddings", stack.vocab_size, hidden, lora=False)
    types = text.required("type_vocab_size", minimum=0)
    if types:
        builder.embedding("embeddings.token_type_embeddings", types, hidden, lora=False)
    builder.norm("embeddings.LayerNorm", hidden, bias=True)
    builder.qkv(
        f"{layer}.attn.qkv_proj", hidden, heads, heads, stack.attention.head_size, layers=layers, bias=bias, fused=()
    )
    builder.linear(f"{layer}.attn.out_proj", hidden, hidden, shard=ROW, layers=layers, bias=bias)
    builder.attention_scales(f"{layer}.attn.attn", layers)
    add_norms(builder, layer, hidden, "attn_ln", "mlp_ln", layers=layers, bias=True)
    rotary = text.integer("rotary_emb_dim", default=None, maximum=2**16)
    turned = text if rotary is None else text.changed(partial_rotary_factor=rotary / stack.attention.head_size)
    add_rope(builder, f"{layer}.attn", stack, text=turned, max_position=positions)
    every = text.integer("moe_every_n_layers", default=0, minimum=0)
    sparse = tuple(at for at in layers if every and at % every == 1)
    _add_experts(builder, text, f"{layer}.mlp", hidden, sparse)
    dense = tuple(at for at in layers if at not in sparse)
    inner, name = text.required("intermediate_size"), f"{layer}.mlp"
    if gated:
        bias_up = bias if gate_bias is None else gate_bias
        builder.linear(f"{name}.gate_up_proj", hidden, (inner, inner), layers=dense, bias=bias_up)
    else:
        builder.linear(f"{name}.up_proj", hidden, inner, layers=dense, bias=bias)
    builder.linear(f"{name}.down_proj", inner, hidden, shard=ROW, layers=dense, bias=bias)
    builder.traits |= {"no_pipeline", "no_lora"}


def _add_experts(builder: Builder, text: Config, name: str, hidden: int, layers: tuple[int, ...]) -> None:
    """
    Plain tensors that no quantization touches and expert parallelism does not spread.
    """
    if not layers:
        return
    number, inner = text.required("num_experts", maximum=2**16), text.required("intermediate_size")
    builder.parameter(f"{name}.router.weight", number, hidden, layers=layers, dtype="router")
    for weight, shape, axis in (("w1", (number, inner, hidden), 1), ("w2", (number, hidden, inner), 2)):
        builder.parameter(f"{name}.{weight}", *shape, layers=layers, shard=Shard(axis=axis, parts=(Part(inner),)))
    builder.parameter(f"{name}.bias", hidden, layers=layers)
