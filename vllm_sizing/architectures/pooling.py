"""
Decoders that pool: a decoder of another family without its LM head, under a head of its own.

Source: vLLM 0.33 ``model_executor/models/adapters.py``, ``qwen2_rm.py``, ``internlm2.py``, ``gpt2.py``,
``llama.py``, ``jina.py``, ``voyage.py``.
"""

from __future__ import annotations

import importlib

import attrs

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.heads import add_head, read_head_dtype, read_num_labels
from vllm_sizing.specs.model import ROW, ModelSpec, WeightTensor

_DECODERS = {
    "GPT2ForSequenceClassification": "GPT2LMHeadModel",
    "InternLM2ForRewardModel": "InternLM2ForCausalLM",
    "JinaEmbeddingsV5Model": "Qwen3ForCausalLM",
    "JinaForRanking": "Qwen3ForCausalLM",
    "LlamaBidirectionalForSequenceClassification": "LlamaForCausalLM",
    "LlamaBidirectionalModel": "LlamaForCausalLM",
    "Qwen2ForProcessRewardModel": "Qwen2ForCausalLM",
    "Qwen2ForRewardModel": "Qwen2ForCausalLM",
    "VoyageQwen3BidirectionalEmbedModel": "Qwen3ForCausalLM",
}
_BIDIRECTIONAL = frozenset((
    "LlamaBidirectionalForSequenceClassification", "LlamaBidirectionalModel", "VoyageQwen3BidirectionalEmbedModel",
))  # fmt: skip
_NO_LORA_ENDS = frozenset(("VoyageQwen3BidirectionalEmbedModel",))
_JINA_WIDTH = 512  # config.py:JinaForRankingConfig


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a decoder that pools by itself.
    """
    name, text, builder = checkpoint.architecture, checkpoint.text, checkpoint.builder()
    decoder = _DECODERS[name]
    encoder = name == "JinaEmbeddingsV5Model" and not text.flag("is_decoder", default=True)
    if encoder:
        decoder = "LlamaForCausalLM"
    if encoder or name in _BIDIRECTIONAL:
        text = text.changed(is_causal=False)
    from vllm_sizing.architectures.registry import FAMILIES

    module = importlib.import_module(f"vllm_sizing.architectures.{FAMILIES[decoder]}")
    stack = module.add_language_model(builder, text, architecture=decoder)
    builder.tensors = [
        attrs.evolve(tensor, lora=False) if tensor.role == "embedding" and name in _NO_LORA_ENDS else tensor
        for tensor in builder.tensors
        if tensor.role != "lm_head"
    ]
    builder.traits -= {"tied_embeddings", "lora_tied_head"}
    if name == "JinaForRanking":
        builder.traits |= {"no_lora", "no_pipeline"}
    if name == "Qwen2ForProcessRewardModel":
        builder.traits.add("whole_prompts")  # tok_pooling_type STEP
    _add_head(builder, text, name, stack.hidden)
    return finish(checkpoint, builder, stack)


def _add_head(builder: Builder, text: Config, name: str, hidden: int) -> None:
    dtype = read_head_dtype(text)
    if name in ("Qwen2ForRewardModel", "Qwen2ForProcessRewardModel"):
        labels = 1 if name == "Qwen2ForRewardModel" else 2
        builder.linear("score.0", hidden, hidden, bias=True, dtype=dtype, stage="all")
        builder.linear("score.2", hidden, labels, shard=ROW, bias=True, dtype=dtype, stage="all")
    elif name == "InternLM2ForRewardModel":
        builder.linear("v_head", hidden, 1, shard=ROW, dtype=dtype, stage="all", quantized=False)
    elif name == "GPT2ForSequenceClassification":
        add_head(builder, "score", hidden, read_num_labels(text), dtype=dtype, bias=False)
    elif name == "LlamaBidirectionalForSequenceClassification":
        builder.tensors.extend(score_head(builder, text, text, hidden))
    elif name == "JinaForRanking":
        add_head(builder, "projector.0", hidden, hidden // 2, dtype=None, bias=False)
        add_head(builder, "projector.2", hidden // 2, _JINA_WIDTH, dtype=None, bias=False)
    elif name == "VoyageQwen3BidirectionalEmbedModel":
        add_head(builder, "linear", hidden, read_num_labels(text), dtype=None, bias=False)


def score_head(builder: Builder, config: Config, text: Config, hidden: int) -> tuple[WeightTensor, ...]:
    """
    The head that vLLM's adapter puts on any decoder to classify: on every pipeline stage.

    Where it is made from the LM head while loading, it is as many rows as tokens are named and never quantized.
    """
    tokens = _first(config, text, "classifier_from_token")
    method = _first(config, text, "method")
    if config.flag("is_original_qwen3_reranker", default=False):
        method = "from_2_way_softmax"
    labels = config if "id2label" in config.data or "num_labels" in config.data else text
    number = read_num_labels(labels)
    if method is not None:
        named = (config if config.has("classifier_from_token") else text).words("classifier_from_token")
        if not named:
            raise config.refuse("classifier_from_token", "the words whose logits become scores")
        number = 1 if method == "from_2_way_softmax" else len(named)
    own = Builder(text, builder.quantization)
    add_head(
        own, "score", hidden, number,
        dtype=read_head_dtype(config), bias=False, stage="all", role="classifier", lora=True,
        quantized=tokens is None and method is None,
    )  # fmt: skip
    return tuple(own.tensors)


def _first(config: Config, text: Config, key: str) -> object:
    return config.data.get(key) if config.has(key) else text.data.get(key)
