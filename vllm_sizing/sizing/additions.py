"""
What LoRA slots and draft models add to a rank.

Source: vLLM 0.33 ``lora/layers``, ``lora/model_manager.py``, ``v1/worker/gpu/spec_decode``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import attrs

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.layout import Layout, part_on_rank
from vllm_sizing.sizing.weights import VOCAB_PADDING, Loading, weights_of
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.model import ModelSpec, Part, WeightTensor
from vllm_sizing.units import DTYPE_BYTES, ceil_div, round_up

MOST_LAYERS = 2**30
DEFAULT_MAX_LORAS = 1
DEFAULT_MAX_LORA_RANK = 16


def speculation(args: EngineArgs) -> dict[str, Any]:
    """
    speculative_config as a dict; empty without speculation.
    """
    return dict(args.speculative_config or ())


def num_speculative_tokens(model: ModelSpec, args: EngineArgs) -> int:
    """
    Draft tokens per step; 0 without speculation.

    Source: vLLM 0.33 ``config/speculative.py:SpeculativeConfig.__post_init__``.
    """
    config = speculation(args)
    if not config:
        return 0
    layers = model.draft.num_layers if model.draft is not None and drafts_itself(args) else 0
    default = config.get("suffix_decoding_max_tree_depth", 24) if config.get("method") == "suffix" else layers or None
    number = config.get("num_speculative_tokens", default)
    if number is None:
        message = "speculative_config has no num_speculative_tokens, which vLLM wants for this method; add it"
        raise UnsupportedError(message, field="speculative_config", value=None)
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 1024:
        message = f"speculative_config has num_speculative_tokens {number!r}; it must be an integer from 1 to 1024"
        raise UnsupportedError(message, field="speculative_config", value=number)
    if layers and number > layers and number % layers:
        message = f"speculative_config has num_speculative_tokens {number}, no multiple of the {layers} draft layers"
        raise UnsupportedError(message, field="speculative_config", value=number)
    return number


def drafts_itself(args: EngineArgs) -> bool:
    """
    Whether the checkpoint's own draft layers speculate.

    vLLM 0.33 ``config/speculative.py`` folds the models' own spellings (deepseek_mtp, ...) into mtp.
    """
    method = speculation(args).get("method")
    return isinstance(method, str) and method.endswith("mtp")


def drafts(args: EngineArgs) -> bool:
    """
    Whether a draft speculates that has weights and a cache.
    """
    config = speculation(args)
    without = config.get("method") in ("ngram", "ngram_gpu", "suffix") or config.get("model") in ("ngram", "[ngram]")
    return bool(config) and not without


def draft_reference(args: EngineArgs) -> str | None:
    """
    The checkpoint that speculative_config names beside the target; None: none.
    """
    name = speculation(args).get("model")
    return name if isinstance(name, str) and drafts(args) and not drafts_itself(args) else None


def draft_method(model: ModelSpec, args: EngineArgs, layout: Layout) -> str:
    """
    How the draft speculates.

    Raises:
        UnsupportedError: speculative_config names a checkpoint that is not read, or a setting that is not modelled.
    """
    config, draft = speculation(args), model.draft
    name, method = config.get("model"), config.get("method")
    if drafts_itself(args) and name in (None, model.name):
        return "mtp"
    if not isinstance(name, str):
        message = f"speculative_config {config} names no draft; give its model, or the method mtp, ngram or suffix"
        raise UnsupportedError(message, field="speculative_config", value=config)
    if draft is None or draft.source != name or method not in (None, draft.method):
        message = (
            f"speculative_config names {name} as {method or 'a draft'}, which was not read; load_model(draft=) reads it"
        )
        raise UnsupportedError(message, field="speculative_config", value=name)
    if layout.pipeline > 1 and draft.method != "eagle3":
        message = f"pipeline_parallel_size is {layout.pipeline}, which is not modelled with {draft.method}; use 1"
        raise UnsupportedError(message, field="pipeline_parallel_size", value=layout.pipeline)
    ranks = config.get("draft_tensor_parallel_size", layout.tensor)
    for key in ("quantization", "kv_cache_dtype", "draft_lm_head_quantization", "draft_load_config"):
        if config.get(key) is not None:
            message = f"speculative_config has {key}, which is not modelled; leave it out"
            raise UnsupportedError(message, field="speculative_config", value=key)
    if ranks != layout.tensor:
        wanted = f"only the target's ({layout.tensor}) is modelled"
        message = f"speculative_config has draft_tensor_parallel_size {ranks}; {wanted}"
        raise UnsupportedError(message, field="speculative_config", value=ranks)
    return draft.method


@lru_cache(maxsize=256)
def draft_bytes(model: ModelSpec, method: str, layout: Layout, loading: Loading) -> tuple[int, int]:
    """
    Bytes of the checkpoint's own draft layers on the last stage's ranks: (modules, batch buffers).

    Raises:
        UnsupportedError: The checkpoint brings no draft of this kind.
    """
    draft = model.draft
    if draft is None or draft.method != method:
        message = f"speculative_config asks for {method}, but {model.name} has no such draft layers"
        raise UnsupportedError(message, field="speculative_config", value=method)
    modules = tuple(tensor for tensor in draft.tensors if not tensor.per_batched_token)
    buffers = tuple(tensor for tensor in draft.tensors if tensor.per_batched_token)
    # The draft's layers are numbered after the decoder's: one stage of their own holds them.
    whole = attrs.evolve(layout, pipeline=1)
    if draft.source:
        loading = attrs.evolve(loading, online=None)  # --quantization is the target's.
    if layout.pipeline > 1 and draft.embeds:
        modules += _embeddings(model)
    sizes = [weights_of(part, MOST_LAYERS, whole, loading)[0].num_bytes for part in (modules, buffers)]
    return sizes[0], sizes[1]


def _embeddings(model: ModelSpec) -> tuple[WeightTensor, ...]:
    """
    The target's, as a draft keeps them that cannot share over pipeline stages.

    Source: vLLM 0.33 ``v1/worker/gpu/spec_decode/eagle/utils.py:maybe_share_target_embed``.
    """
    found = (tensor for tensor in model.tensors if tensor.role == "embedding" and tensor.tower == "language")
    return tuple(attrs.evolve(tensor, stage="first", scheme=None, with_draft=False) for tensor in list(found)[:1])


def lora_bytes(model: ModelSpec, layout: Layout, args: EngineArgs, dtype: str) -> int:
    """
    Bytes of the LoRA slots on a rank (pipeline stages hold their share of the layers).
    """
    if not args.enable_lora:
        return 0
    if "no_lora" in model.traits:
        message = f"enable_lora is True, but vLLM has no LoRA for {model.architecture}"
        raise UnsupportedError(message, field="enable_lora", value=True)
    slots = args.max_loras or DEFAULT_MAX_LORAS
    rank = args.max_lora_rank or DEFAULT_MAX_LORA_RANK
    lora_dtype = dtype if args.lora_dtype in (None, "auto") else args.lora_dtype
    if lora_dtype not in DTYPE_BYTES:
        message = f"lora_dtype is {lora_dtype!r}; it must be auto, float16 or bfloat16"
        raise UnsupportedError(message, field="lora_dtype", value=lora_dtype)
    if args.fully_sharded_loras:
        message = "fully_sharded_loras is True, which is not modelled; leave it unset"
        raise UnsupportedError(message, field="fully_sharded_loras", value=True)
    elements = _slot_elements(model, layout, rank)
    element_bytes = DTYPE_BYTES[lora_dtype]
    slot_bytes = slots * (elements * element_bytes + _whole_heads(model, element_bytes, dtype))
    return slot_bytes + _vocab_mapping(model, layout) + _expert_switches(model, layout, slots)


def _whole_heads(model: ModelSpec, lora_dtype_bytes: int, dtype: str) -> int:
    """
    A whole head for one adapter, beside A and B: ``lora/layers/classifier.py`` (weight, bias, a switch).
    """
    return sum(
        lora_dtype_bytes * tensor.shape[0] * tensor.shape[1] + DTYPE_BYTES[tensor.dtype or dtype] * tensor.shape[0] + 1
        for tensor in model.tensors
        if tensor.role == "classifier" and tensor.lora
    )


def _vocab_mapping(model: ModelSpec, layout: Layout) -> int:
    """
    The logits' index from shards to the whole vocabulary: ``lora/layers/logits_processor.py``.
    """
    return 8 * round_up(model.vocab_size, VOCAB_PADDING) if _head_has_slots(model) and layout.tensor > 1 else 0


def _head_has_slots(model: ModelSpec) -> bool:
    """
    Whether LoRA wraps the LM head, which may be the table of embeddings.
    """
    return "lora_tied_head" in model.traits or any(tensor.lora and tensor.role == "lm_head" for tensor in model.tensors)


def _expert_switches(model: ModelSpec, layout: Layout, slots: int) -> int:
    """
    Which adapters are on, for each layer's experts: ``lora/layers/fused_moe.py:adapter_enabled``.
    """
    ups = (tensor for tensor in model.tensors if tensor.role == "experts" and tensor.lora and tensor.shard.axis == 1)
    return ceil_div(4 * (slots + 1) * sum(len(tensor.layers) for tensor in ups), layout.pipeline)


@lru_cache(maxsize=256)
def _slot_elements(model: ModelSpec, layout: Layout, rank: int) -> int:
    total = 0
    for tensor in model.tensors:
        if tensor.lora:
            total += _tensor_slot(tensor, layout, rank) * max(len(tensor.layers), 1) * tensor.count
    if "lora_tied_head" in model.traits:
        total += rank * (model.vocab_size + model.hidden_size)
    return ceil_div(total, layout.pipeline)


def _tensor_slot(tensor: WeightTensor, layout: Layout, rank: int) -> int:
    """
    A and B of one tensor for one adapter: ``A: rank x in``, ``B: out x rank`` for every fused part.
    """
    if tensor.role in ("embedding", "lm_head"):
        return rank * sum(tensor.shape)
    if tensor.role == "experts":
        experts, rows, cols = tensor.shape
        experts = ceil_div(experts, layout.expert_ranks)
        tensor_size = layout.expert_tensor
        if tensor.shard.axis == 1:
            parts = tensor.adapters or len(tensor.shard.parts)
            return experts * rank * (parts * cols + rows // tensor_size)
        return experts * rank * (rows + cols // tensor_size)
    rows, cols = tensor.shape
    fused = tensor.shard.parts or (Part(rows),)
    if tensor.shard.axis == 1:
        return rank * (cols // layout.tensor + rows)
    copied = tensor.merges_copies and any(part.units % layout.tensor for part in fused)
    parts = 1 if copied else tensor.adapters or len(fused)
    if tensor.shard.axis is None:
        return rank * (parts * cols + rows)
    local = sum(part_on_rank(part, layout.tensor, tensor.name) for part in fused)
    return rank * (parts * cols + local)
