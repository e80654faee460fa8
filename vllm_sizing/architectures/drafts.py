"""
A draft with a checkpoint of its own: a smaller model, or an EAGLE head over the target's hidden states.

Source: vLLM 0.33 ``config/speculative.py``, ``transformers_utils/configs/eagle.py``, ``configs/speculators``,
``model_executor/models/llama_eagle.py``, ``llama_eagle3.py``, ``qwen3_eagle3.py``,
``v1/worker/gpu/spec_decode/eagle/utils.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from vllm_sizing.architectures.blocks import MAX_POSITION, Stack, add_norms, add_rope, add_speculator, read_stack
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint_formats import parse_quantization
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Style, add_decoder_layers, windows_of
from vllm_sizing.architectures.llama import LLAMA, QWEN3
from vllm_sizing.architectures.rope import rope_parameters, rope_type
from vllm_sizing.errors import UnknownArchitectureError, UnsupportedError
from vllm_sizing.specs.model import REPLICATED, Draft, ModelSpec, WeightTensor

# The class of the head -> the decoder layer that it is made of.
_EAGLE = {"EagleLlamaForCausalLM": LLAMA}
_EAGLE3 = {
    "Eagle3LlamaForCausalLM": LLAMA, "Eagle3MiniMaxM2ForCausalLM": LLAMA, "Eagle3Qwen2_5vlForCausalLM": LLAMA,
    "Eagle3Qwen3vlForCausalLM": LLAMA, "LlamaForCausalLMEagle3": LLAMA, "Eagle3Qwen3ForCausalLM": QWEN3,
}  # fmt: skip
# Kinds of rotation whose table grows to the target's context, taken here as the longest it can be.
_RAISED = frozenset(("default", "linear", "llama3", "ntk", "proportional"))
_AUXILIARY = 3  # Hidden states that a head takes where its config does not say.
METHODS = ("draft_model", "eagle", "eagle3")


def with_draft(
    target: ModelSpec,
    config: Mapping[str, Any],
    *,
    name: str,
    method: str | None = None,
    hf_quant_config: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """
    The target with the draft that ``--speculative-config`` names beside it.

    Args:
        config: The draft's config.json.

        name: What speculative_config calls it; it also tells the method where none is given.

        method: ``draft_model``, ``eagle`` or ``eagle3``; None: as vLLM guesses.

    Raises:
        UnsupportedError: The draft does not go with the target, or its method is not modelled.
    """
    whole = _unfolded(Config(config))
    kind = method or _method(whole, name)
    if kind not in METHODS:
        message = f"speculative_config asks for {kind} with {name}, which is not modelled; use {' or '.join(METHODS)}"
        raise UnsupportedError(message, field="speculative_config", value=kind)
    if kind == "draft_model":
        draft = _standalone(target, whole.data, name, hf_quant_config)
    else:
        companion = None if hf_quant_config is None else Config(hf_quant_config, "hf_quant_config.json")
        draft = _head(target, whole, kind, companion)
    tensors = target.tensors + _later_table(target, kind)
    return attrs.evolve(target, draft=attrs.evolve(draft, source=name), tensors=tensors)


def _later_table(target: ModelSpec, method: str) -> tuple[WeightTensor, ...]:
    """
    The target's embeddings on the last pipeline stage, where an EAGLE-3 head shares them.
    """
    if method != "eagle3" or "tied_embeddings" in target.traits:
        return ()
    found = [tensor for tensor in target.tensors if tensor.role == "embedding" and tensor.tower == "language"]
    return tuple(
        attrs.evolve(tensor, stage="later", with_draft=True) for tensor in found[:1] if tensor.stage == "first"
    )


def _unfolded(config: Config) -> Config:
    """
    The config of a head in the format of the library ``speculators``, as the others have it.
    """
    kind = config.text("speculators_model_type")
    if not kind:
        return config
    inner = config.needed_section("transformer_layer_config")
    classes = {"llama": "Eagle3LlamaForCausalLM", "qwen3": "Eagle3Qwen3ForCausalLM"}
    architecture = classes.get(inner.text("model_type", default="llama"))
    if kind != "eagle3" or architecture is None:
        message = f"speculators_model_type is {kind!r} over {inner.text('model_type')!r}, which is not modelled"
        raise UnsupportedError(message, field="speculative_config", value=kind)
    own = ("draft_vocab_size", "target_hidden_size", "norm_before_fc", "fc_norm", "eagle_aux_hidden_state_layer_ids")
    kept = {key: config.data[key] for key in own if config.has(key)}
    return inner.changed(
        **kept, architectures=[architecture], quantization_config=config.data.get("quantization_config")
    )


def _method(config: Config, name: str) -> str:
    """
    What vLLM takes a draft for that comes without a method.
    """
    lower, architecture = name.lower(), next(iter(config.words("architectures") or [""]), "")
    if "eagle-" in lower:
        return "eagle"
    if "eagle3" in lower:
        return "eagle3"
    if "dflash" in lower:
        return "dflash"
    if architecture in _EAGLE or architecture in _EAGLE3:
        message = f"speculative_config: {name} is a head ({architecture}); give its method, eagle or eagle3"
        raise UnsupportedError(message, field="speculative_config", value=name)
    return "draft_model"


def _standalone(
    target: ModelSpec, config: Mapping[str, Any], name: str, hf_quant_config: Mapping[str, Any] | None
) -> Draft:
    """
    A model of its own: nothing is shared but rotary tables.
    """
    from vllm_sizing.architectures import model_from_config

    model = model_from_config(config, name=name, hf_quant_config=hf_quant_config)
    if model.vocab_size != target.vocab_size:
        message = (
            f"speculative_config: {name} has {model.vocab_size:,} tokens in its vocabulary and {target.name} "
            f"{target.vocab_size:,}, which vLLM refuses; give a draft of the same family"
        )
        raise UnsupportedError(message, field="speculative_config", value=name)
    buffers = Builder(Config({}), parse_quantization(Config({}), None, architecture=model.architecture))
    add_speculator(buffers, 0)
    tensors = tuple(attrs.evolve(tensor, stage="first") if not tensor.layers else tensor for tensor in model.tensors)
    caches = tuple(
        attrs.evolve(cache, layers=tuple(at + target.num_layers for at in cache.layers)) for cache in model.cache_layers
    )
    own = tuple(tensor for tensor in tensors if not _shared_table(tensor, target))
    batch = tuple(tensor for tensor in buffers.tensors if tensor.shape != (0,))
    return Draft(
        method="draft_model", tensors=_flat(own + batch), cache_layers=caches, num_layers=model.num_layers, embeds=False
    )


def _head(target: ModelSpec, config: Config, method: str, companion: Config | None) -> Draft:
    """
    An EAGLE head; embeddings are the target's, EAGLE-1 shares the LM head too.
    """
    architecture = next(iter(config.words("architectures") or [""]), "")
    if method == "eagle":
        known, architecture = _EAGLE, architecture if architecture.startswith("Eagle") else f"Eagle{architecture}"
    else:
        known = _EAGLE3
        if not (architecture.startswith("Eagle3") or architecture.endswith("Eagle3")):
            architecture = f"Eagle3{architecture}"
    style = known.get(architecture)
    if style is None:
        message = f"speculative_config: the {method} head {architecture!r} is not modelled"
        raise UnknownArchitectureError(message, architecture=architecture)
    text = config.over(style.defaults)
    if rope_type(rope_parameters(text)) in _RAISED:
        longest = max(target.max_model_len, text.integer("max_position_embeddings", default=1, maximum=MAX_POSITION))
        text = text.changed(max_position_embeddings=longest)
    stack = read_stack(text)
    builder = Builder(text, parse_quantization(config, companion, architecture=architecture))
    if method == "eagle":
        _add_eagle(builder, stack, style, target)
    else:
        _add_eagle3(builder, stack, style, target)
    add_rope(builder, "model.layers.*.self_attn", stack)
    add_speculator(builder, target.hidden_size)
    first = target.num_layers
    return Draft(
        method=method,
        tensors=_flat(tuple(tensor for tensor in builder.tensors if not _shared_table(tensor, target))),
        cache_layers=tuple(
            attrs.evolve(cache, layers=tuple(at + first for at in cache.layers)) for cache in builder.cache_layers
        ),
        num_layers=len(stack.layers),
        embeds=False,
    )


def _add_eagle(builder: Builder, stack: Stack, style: Style, target: ModelSpec) -> None:
    if stack.hidden != target.hidden_size:
        raise stack.text.refuse("hidden_size", f"the target's ({target.hidden_size}): the LM head is shared")
    windows = windows_of(style, stack)
    add_decoder_layers(builder, stack, style, "model.layers.*", layers=stack.layers, windows=windows)
    builder.tensors = [
        attrs.evolve(tensor, layers=tensor.layers[1:]) if "input_layernorm" in tensor.name else tensor
        for tensor in builder.tensors
        if "input_layernorm" not in tensor.name or len(tensor.layers) > 1
    ]
    builder.linear("model.fc", 2 * stack.hidden, stack.hidden, shard=REPLICATED)


def _add_eagle3(builder: Builder, stack: Stack, style: Style, target: ModelSpec) -> None:
    text, hidden, layers = stack.text, stack.hidden, stack.layers
    own = text.section("eagle_config") or Config({}, "eagle_config")
    windows = windows_of(style, stack)
    add_decoder_layers(builder, stack, style, "model.layers.*", layers=layers, windows=windows)
    # The first layer's projection reads the embedding and the hidden state side by side.
    builder.tensors = [part for tensor in builder.tensors for part in _widened(tensor, hidden)]
    add_norms(builder, "model.layers.*", hidden, "hidden_norm", layers=layers)
    builder.norm("model.norm", hidden)
    if own.flag("use_aux_hidden_state", default=True):
        ids = own.integers("eagle_aux_hidden_state_layer_ids") or ()
        number = text.integer("num_aux_hidden_states", default=len(ids) or _AUXILIARY, maximum=64)
        wide = text.integer("target_hidden_size", default=hidden)
        if own.flag("norm_before_fc", default=text.flag("norm_before_fc", default=False)):
            builder.norm("model.input_norm", wide * number)
        if text.flag("fc_norm", default=False):
            builder.add("model.fc_norm.*.weight", (wide,), count=number)
        builder.linear("model.fc", wide * number, hidden, shard=REPLICATED)
    size = text.integer("draft_vocab_size", default=None)
    if size is None:
        size = stack.vocab_size
    builder.lm_head("lm_head", size, hidden, stage="first")
    if size != target.vocab_size:
        builder.parameter("draft_id_to_target_id", size, dtype="int64")


def _widened(tensor: WeightTensor, hidden: int) -> tuple[WeightTensor, ...]:
    if not (tensor.name.startswith("model.layers.*.self_attn.qkv_proj.weight") and 0 in tensor.layers):
        return (tensor,)
    first = attrs.evolve(tensor, layers=(0,), shape=(tensor.shape[0], 2 * hidden))
    rest = attrs.evolve(tensor, layers=tensor.layers[1:])
    return (first, rest) if rest.layers else (first,)


def _shared_table(tensor: WeightTensor, target: ModelSpec) -> bool:
    """
    A rotary table of the target's shape: a draft that was trained for it turns as it does.
    """
    return tensor.name.endswith("cos_sin_cache") and any(
        known.name.endswith("cos_sin_cache") and (known.shape, known.dtype) == (tensor.shape, tensor.dtype)
        for known in target.tensors
    )


def _flat(tensors: tuple[WeightTensor, ...]) -> tuple[WeightTensor, ...]:
    """
    Tensors of the last stage alone, for no adapter.
    """
    return tuple(
        attrs.evolve(
            tensor,
            layers=(),
            count=(1 if tensor.stage == "owners" else max(len(tensor.layers), 1)) * tensor.count,
            stage="last",
            lora=False,
        )
        for tensor in tensors
    )
