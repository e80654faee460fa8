"""
What is refused before anything is measured: settings that vLLM refuses, and those that nobody has modelled.
"""

from __future__ import annotations

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.defaults import Rules
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.specs.engine import EngineArgs, JsonObject, thaw
from vllm_sizing.specs.model import FullAttention, MlaAttention, ModelSpec


def check_modelled(args: EngineArgs) -> None:
    """
    Refuse what changes memory in a way that nobody has modelled, instead of planning without it.
    """
    for name in ("mm_encoder_only", "kv_cache_dtype_skip_layers", "prefill_context_parallel_size"):
        value = getattr(args, name)
        if value and not (value == 1 and value is not True):
            message = f"{name} is {value!r}, which is not modelled; leave it unset"
            raise UnsupportedError(message, field=name, value=value)
    _check_items(args)


def _check_items(args: EngineArgs) -> None:
    """
    Refuse numbers of images, videos and sounds that are none.

    Source: vLLM 0.33 ``config/multimodal.py:_validate_limit_per_prompt``.
    """
    for modality, limit in dict(args.limit_mm_per_prompt or ()).items():
        count = dict(limit).get("count", 0) if isinstance(limit, JsonObject) else limit
        if not isinstance(count, int) or count < 0:
            message = f"limit_mm_per_prompt is {thaw(limit)!r:.60} for {modality!r:.30}; vLLM takes a number from 0 on"
            raise UnsupportedError(message, field="limit_mm_per_prompt", value=thaw(limit))


def check_overrides(model: ModelSpec, args: EngineArgs) -> None:
    """
    Refuse a model that was read with other values than vLLM would read it with.
    """
    if (args.hf_overrides or None) != model.hf_overrides:
        message = (
            f"hf_overrides is {thaw(args.hf_overrides)}, but the model was read with {thaw(model.hf_overrides)}; "
            "give load_model and EngineArgs the same"
        )
        raise UnsupportedError(message, field="hf_overrides", value=args.hf_overrides)


def check_layout(model: ModelSpec, layout: Layout, rules: Rules) -> None:
    """
    Refuse parallel sizes as vLLM does.

    Source: ``config/model.py:ModelConfig.verify_with_parallel_config``.
    """
    heads, tensor = model.num_attention_heads, layout.tensor
    if heads % tensor:
        message = (
            f"tensor_parallel_size is {tensor}, which does not divide the {heads} attention heads; choose a divisor"
        )
        raise UnsupportedError(message, field="tensor_parallel_size", value=tensor)
    if layout.pipeline > 1 and "no_pipeline" in model.traits:
        message = (
            f"pipeline_parallel_size is {layout.pipeline}, but vLLM has no pipeline for {model.architecture}; use 1"
        )
        raise UnsupportedError(message, field="pipeline_parallel_size", value=layout.pipeline)
    if layout.pipeline > model.num_layers:
        message = f"pipeline_parallel_size is {layout.pipeline}, more than the model's {model.num_layers} layers"
        raise UnsupportedError(message, field="pipeline_parallel_size", value=layout.pipeline)
    if layout.expert and not model.num_experts:
        message = f"enable_expert_parallel is True, but {model.name} has no routed experts"
        raise UnsupportedError(message, field="enable_expert_parallel", value=True)
    _check_decode_context(model, layout)


def check_kernels(model: ModelSpec, args: EngineArgs, chosen: str) -> None:
    """
    Refuse an attention backend that the model's layers refuse when they are built.

    Source: vLLM 0.33 ``model_executor/layers/attention/attention.py``, ``step1.py``.

    Args:
        chosen: The backend that vLLM takes by itself; empty: not known.
    """
    backend = args.attention_backend or chosen
    if "alibi_sqrt" in model.traits and backend.upper() not in ("", "TRITON_ATTN"):
        message = (
            f"attention_backend is {args.attention_backend}, and {backend} has no square root of ALiBi, which "
            f"{model.architecture} needs; set attention_backend to TRITON_ATTN"
        )
        raise UnsupportedError(message, field="attention_backend", value=args.attention_backend)


def _check_decode_context(model: ModelSpec, layout: Layout) -> None:
    size, tensor = layout.decode_context, layout.tensor
    if size == 1:
        return
    field = "decode_context_parallel_size"
    if tensor % size:
        message = f"{field} is {size}, which does not divide tensor_parallel_size ({tensor})"
        raise UnsupportedError(message, field=field, value=size)
    kv_heads = [layer.num_kv_heads for layer in model.cache_layers if isinstance(layer, FullAttention)]
    if kv_heads and not any(isinstance(layer, MlaAttention) for layer in model.cache_layers):
        most = max(kv_heads)
        if tensor <= most or size > tensor // most:
            message = (
                f"{field} is {size}: vLLM wants tensor_parallel_size above the {most} KV heads and at most "
                f"tensor_parallel_size / KV heads ({tensor // most}) context ranks"
            )
            raise UnsupportedError(message, field=field, value=size)
