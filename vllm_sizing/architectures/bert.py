"""
BERT and RoBERTa: encoders for embeddings, ranking and labels. They keep no cache.

Source: vLLM 0.33 ``model_executor/models/bert.py``, ``roberta.py``, ``colbert.py``; defaults from
transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import MAX_POSITION, Attention, Stack, add_norms, finish, read_stack
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.heads import add_head, read_head_dtype, read_num_labels
from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.model import ROW, ModelSpec

DEFAULTS = {
    "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "max_position_embeddings": 512, "type_vocab_size": 2,
}  # fmt: skip
_ROBERTA = {**DEFAULTS, "vocab_size": 50265}
_NO_LORA = frozenset((
    "BertForMaskedLM", "RobertaForTokenClassification", "XLMRobertaForTokenClassification",
))  # fmt: skip


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an encoder.
    """
    name, builder = checkpoint.architecture, checkpoint.builder()
    roberta = "Roberta" in name or name == "BgeM3EmbeddingModel"
    text = checkpoint.text.over(_ROBERTA if roberta else DEFAULTS)
    kind = text.text("position_embedding_type", default="absolute")
    if kind != "absolute":
        if not name.endswith("RobertaModel"):
            raise text.refuse("position_embedding_type", "absolute")
        from vllm_sizing.architectures.bert_rope import build_jina

        return build_jina(checkpoint)
    stack = read_encoder(text)
    _add_embeddings(builder, stack)
    _add_layers(builder, stack)
    _add_ends(builder, stack, name)
    builder.traits.add("no_pipeline")
    if name in _NO_LORA:
        builder.traits.add("no_lora")
    return finish(checkpoint, builder, stack)


def read_encoder(text: Config) -> Stack:
    """
    The sizes of an encoder: heads share out the hidden size.
    """
    hidden, heads = text.required("hidden_size"), text.required("num_attention_heads", maximum=2**16)
    if hidden % heads:
        raise text.refuse("num_attention_heads", f"a divisor of hidden_size ({hidden})")
    return read_stack(text, attention=Attention(num_heads=heads, num_kv_heads=heads, head_size=hidden // heads))


def _add_embeddings(builder: Builder, stack: Stack) -> None:
    text, hidden, name = stack.text, stack.hidden, "model.embeddings"
    positions = text.required("max_position_embeddings", maximum=MAX_POSITION)
    builder.embedding(f"{name}.word_embeddings", stack.vocab_size, hidden, lora=False)
    builder.embedding(f"{name}.position_embeddings", positions, hidden, lora=False)
    builder.embedding(f"{name}.token_type_embeddings", text.required("type_vocab_size"), hidden, lora=False)
    builder.norm(f"{name}.LayerNorm", hidden, bias=True)
    builder.parameter(f"{name}.position_ids", positions, dtype="int64", role="buffer")


def _add_layers(builder: Builder, stack: Stack) -> None:
    layers, hidden, heads = stack.layers, stack.hidden, stack.attention.num_heads
    intermediate, layer = stack.text.required("intermediate_size"), "model.encoder.layer.*"
    builder.qkv(
        f"{layer}.attention.self.qkv_proj", hidden, heads, heads, stack.attention.head_size,
        layers=layers, bias=True, fused=("query", "key", "value"),
    )  # fmt: skip
    builder.linear(f"{layer}.attention.output.dense", hidden, hidden, shard=ROW, layers=layers, bias=True)
    builder.attention_scales(f"{layer}.attention.self.attn", layers)
    builder.linear(f"{layer}.intermediate.dense", hidden, intermediate, layers=layers, bias=True)
    builder.linear(f"{layer}.output.dense", intermediate, hidden, shard=ROW, layers=layers, bias=True)
    add_norms(builder, layer, hidden, "attention.output.LayerNorm", "output.LayerNorm", layers=layers, bias=True)


def _add_ends(builder: Builder, stack: Stack, name: str) -> None:
    text, hidden = stack.text, stack.hidden
    dtype = read_head_dtype(text)
    if name in ("BertForMaskedLM", "BertSpladeSparseEmbeddingModel"):
        head = "mlm_head"
        add_head(builder, f"{head}.dense", hidden, hidden, dtype=None)
        builder.norm(f"{head}.layer_norm", hidden, bias=True)
        add_head(builder, f"{head}.decoder", hidden, stack.vocab_size, dtype=None)
    elif name == "BertForSequenceClassification":
        add_pooler(builder, "bert.pooler", hidden, dtype)
        add_head(builder, "classifier", hidden, read_num_labels(text), dtype=dtype, lora=True, role="classifier")
    elif name == "BertForTokenClassification":
        add_head(builder, "classifier", hidden, read_num_labels(text), dtype=dtype, lora=True, role="classifier")
    elif name.endswith("ForSequenceClassification"):
        add_head(builder, "classifier.dense", hidden, hidden, dtype=dtype)
        add_head(builder, "classifier.out_proj", hidden, read_num_labels(text), dtype=dtype)
    elif name.endswith("ForTokenClassification"):
        add_head(builder, "classifier", hidden, read_num_labels(text), dtype=dtype)
    elif name == "BgeM3EmbeddingModel":
        add_head(builder, "sparse_linear", hidden, 1, dtype=dtype)
        add_head(builder, "colbert_linear", hidden, hidden, dtype=dtype)
    elif name == "HF_ColBERT":
        add_colbert(builder, text, hidden, dtype)


def add_pooler(builder: Builder, name: str, hidden: int, dtype: str | None) -> None:
    """
    BERT's own pooling layer: vLLM's BertPooler.
    """
    add_head(builder, f"{name}.dense", hidden, hidden, dtype=dtype)


def add_colbert(builder: Builder, text: Config, hidden: int, dtype: str | None) -> None:
    """
    ColBERT's projection of every token.

    Its width is in the config, or in the weights alone.
    """
    width = text.integer("colbert_dim", "dim", "projection_dim", default=None, maximum=2**20)
    if width is None:
        message = "vLLM reads the width of ColBERT's projection from the weights; it is not counted (128 wide: <1 MB)"
        builder.findings.append(Finding(code="colbert-projection-not-counted", message=message))
        return
    add_head(builder, "colbert_linear", hidden, width, dtype=dtype, bias=False)
