"""
From what the user fixed to a complete start: vLLM's defaults filled in, vLLM's refusals raised.

Source: vLLM 0.33 ``engine/arg_utils.py``, ``config/*.py``; earlier releases through `defaults`.
"""

from __future__ import annotations

import math

import attrs

from vllm_sizing.errors import InvalidValueError, UnsupportedError
from vllm_sizing.sizing.additions import drafts, num_speculative_tokens
from vllm_sizing.sizing.attention import AttentionChoice, choose_attention
from vllm_sizing.sizing.cache_pages import CacheSettings
from vllm_sizing.sizing.defaults import (
    Rules,
    batch_defaults,
    batches_in_flight,
    capture_sizes,
    uses_v2_runner,
)
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.sizing.legality import check_kernels, check_layout, check_modelled, check_overrides
from vllm_sizing.sizing.methods import check_method, expert_padding, online_schemes_for
from vllm_sizing.sizing.modalities import cross_tokens, largest_item, skipped_towers, without_unserved
from vllm_sizing.sizing.pooling import converted
from vllm_sizing.sizing.weights import Loading, has_batch_buffers
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.specs.model import CompressedMla, ModelSpec, RecurrentState
from vllm_sizing.specs.value import Value

_DTYPE_WORDS = {"half": "float16", "float": "float32"}
# First release that knows the word; config/cache.py:CacheDType.
_KV_DTYPES = {
    "auto": (0, 0, 0), "fp8": (0, 0, 0), "fp8_e4m3": (0, 0, 0), "fp8_e5m2": (0, 0, 0), "fp8_inc": (0, 0, 0),
    "bfloat16": (0, 11, 0), "fp8_ds_mla": (0, 11, 1), "float16": (0, 18, 0), "int8_per_token_head": (0, 20, 0),
    "fp8_per_token_head": (0, 20, 0), "nvfp4": (0, 20, 0), "turboquant_k8v4": (0, 20, 0),
    "turboquant_4bit_nc": (0, 20, 0), "turboquant_k3v4_nc": (0, 20, 0), "turboquant_3bit_nc": (0, 20, 0),
    "int4_per_token_head": (0, 25, 0), "nvfp4_4over6": (0, 28, 0), "nvfp4_ds_mla": (0, 30, 0),
    "ultraquant_4bit": (0, 32, 0), "octave_k3v4": (0, 33, 0), "octave_k3v3": (0, 33, 0),
    "octave_k3v3_compact": (0, 33, 0),
}  # fmt: skip


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Setup(Value):
    """
    One start with nothing left open but max_model_len.

    Attributes:
        args: The user's arguments.

        in_flight_tokens: That windows reserve for.
    """

    model: ModelSpec
    gpu: GpuSpec
    rules: Rules
    args: EngineArgs
    layout: Layout
    loading: Loading
    cache: CacheSettings
    attention: AttentionChoice
    dtype: str
    max_num_seqs: int
    max_num_batched_tokens: int
    in_flight_tokens: int
    gpu_memory_utilization: float
    enable_prefix_caching: bool
    enforce_eager: bool
    capture_sizes: tuple[int, ...]
    v2_runner: bool
    pooling: bool
    speculative_tokens: int
    profile_encoders: bool


def prepare(
    model: ModelSpec, gpu: GpuSpec, args: EngineArgs, layout: Layout, rules: Rules, max_model_len: int
) -> Setup:
    """
    The start that these arguments give on this GPU.

    Raises:
        UnsupportedError: vLLM would refuse them.
    """
    check_modelled(args)
    check_overrides(model, args)
    check_layout(model, layout, rules)
    model = converted(without_unserved(model, args), args)
    dtype = resolve_dtype(model, gpu, args)
    online = online_schemes_for(model, args.quantization, rules)
    check_method(model, args.quantization, gpu, rules, layout=layout, dtype=dtype)
    kv_cache_dtype = resolve_kv_cache_dtype(model, gpu, args, rules, dtype)
    pooling = model.runner == "pooling"
    recurrent = [layer for layer in model.cache_layers if isinstance(layer, RecurrentState)]
    crossing = "encoder_decoder" in model.traits
    # ModelConfig.is_chunked_prefill_supported
    whole = crossing or (pooling and (not model.cache_layers or "whole_prompts" in model.traits))
    prefix_caching = args.enable_prefix_caching
    if prefix_caching is None:
        # Pooling asks for causal attention only: config/model.py:is_prefix_caching_supported.
        kept = not (whole if pooling else "attention_free" in model.traits or crossing)
        prefix_caching = kept and (not recurrent or rules.hybrid_prefix_caching)
    largest = max(largest_item(model, rules), max_model_len if whole and args.enable_chunked_prefill is None else 0)
    seqs, tokens = resolve_batch(gpu, args, rules, max_model_len, largest_item=largest)
    speculative_tokens = num_speculative_tokens(model, args)
    v2_runner = uses_v2_runner(
        rules,
        architecture=model.architecture,
        moe=model.num_experts > 0,
        hybrid=bool(recurrent),
        quantized=model.quantization is not None,
        generate=not pooling,
    )
    asynchronous = rules.async_scheduling if args.async_scheduling is None else args.async_scheduling
    if pooling and args.async_scheduling is None and rules.version >= (0, 20, 0):
        asynchronous = False
    batches = 1
    if rules.in_flight:
        batches = batches_in_flight(rules, pipeline=layout.pipeline, async_scheduling=asynchronous, v2_runner=v2_runner)
    eager = bool(args.enforce_eager) or "eager" in model.traits
    aligned = bool(recurrent) and prefix_caching and rules.mamba_align_pages
    alignment, state_blocks = checkpoint_pages(recurrent, gpu, rules) if aligned else (0, 1)
    attention = choose_attention(
        model, gpu, rules, kv_cache_dtype,
        block_size=args.block_size, tensor=layout.tensor, decode_context=layout.decode_context,
    )  # fmt: skip
    check_kernels(model, args, attention.name)
    return Setup(
        model=model,
        gpu=gpu,
        rules=rules,
        args=args,
        layout=layout,
        loading=Loading(
            dtype=dtype,
            # Equal settings share what is worked out once.
            max_num_batched_tokens=tokens if has_batch_buffers(model) else 0,
            online=online,
            expert_padding=expert_padding(model, gpu, rules, online or ()),
            replicated_towers=args.mm_encoder_tp_mode == "data" and "no_encoder_data" not in model.traits,
            skipped_towers=skipped_towers(model, args),
            towers_everywhere=not v2_runner,
            whole_segments=rules.buffers_count,
            older_ropes=rules.version < (0, 32, 0),
            drafts=drafts(args),
            router_dtype=None if (gpu.compute_capability or (9, 0))[0] in (9, 10) else "float32",
        ),
        cache=CacheSettings(
            tensor=layout.tensor,
            decode_context=layout.decode_context,
            kv_cache_dtype=_stored_dtype(model, kv_cache_dtype, attention.name),
            model_dtype=dtype,
            conv_dtype=_state_dtype(args.mamba_cache_dtype, dtype),
            ssm_dtype=None if args.mamba_ssm_cache_dtype in (None, "auto") else args.mamba_ssm_cache_dtype,
            block_size=args.block_size,
            speculative_tokens=speculative_tokens,
            aligned_states=aligned,
            checkpoint_alignment=alignment,
            state_blocks=state_blocks,
            disable_hybrid=bool(args.disable_hybrid_kv_cache_manager),
            encoder_tokens=cross_tokens(model, tokens),
        ),
        attention=attention,
        dtype=dtype,
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        in_flight_tokens=batches * tokens,
        gpu_memory_utilization=args.gpu_memory_utilization or rules.gpu_memory_utilization,
        enable_prefix_caching=prefix_caching,
        enforce_eager=eager,
        capture_sizes=() if eager else _capture_sizes(model, gpu, args, rules, seqs, tokens, speculative_tokens),
        v2_runner=v2_runner,
        pooling=pooling,
        speculative_tokens=speculative_tokens,
        profile_encoders=bool(model.encoders) and not args.skip_mm_profiling,
    )


def _stored_dtype(model: ModelSpec, kv_cache_dtype: str, backend: str) -> str:
    """
    DeepSeek's own FP8 layout, whatever the flag calls it, for DeepSeek-V4 and two of the sparse backends.

    Source: ``layers/attention/mla_attention.py:_canonicalize_sparse_mla_kv_cache_dtype``,
    ``models/deepseek_v4/attention.py:_resolve_dsv4_kv_cache_dtype``.
    """
    compressed = any(isinstance(layer, CompressedMla) for layer in model.cache_layers)
    if kv_cache_dtype.startswith("fp8") and (compressed or backend == "FLASHMLA_SPARSE"):
        return "fp8_ds_mla"
    return "fp8_ds_mla" if backend == "FLASHINFER_MLA_SPARSE_SM120" else kv_cache_dtype


def _state_dtype(word: str | None, dtype: str) -> str:
    return dtype if word in (None, "auto") else word


def _capture_sizes(
    model: ModelSpec,
    gpu: GpuSpec,
    args: EngineArgs,
    rules: Rules,
    seqs: int,
    tokens: int,
    speculative_tokens: int,
) -> tuple[int, ...]:
    config = dict(args.compilation_config or ())
    given = args.cudagraph_capture_sizes or config.get("cudagraph_capture_sizes")
    if given is not None:
        if not isinstance(given, tuple) or not all(isinstance(size, int) for size in given):
            message = f"cudagraph_capture_sizes is {given!r}; it must be a list of integers"
            raise InvalidValueError(message, field="cudagraph_capture_sizes", value=given)
        return tuple(sorted({size for size in given if 0 < size <= tokens}))
    if config.get("cudagraph_mode") == "NONE" or config.get("mode") == 0 or args.optimization_level == 0:
        return ()
    largest = args.max_cudagraph_capture_size or config.get("max_cudagraph_capture_size")
    if largest is not None and (not isinstance(largest, int) or largest < 1):
        message = f"max_cudagraph_capture_size is {largest!r}; it must be an integer of at least 1"
        raise InvalidValueError(message, field="max_cudagraph_capture_size", value=largest)
    if largest is None and "attention_sinks" in model.traits and rules.version >= (0, 10, 1):
        largest = 1024  # models/config.py:GptOssForCausalLMConfig
    return capture_sizes(
        rules,
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        decode_query_len=1 + speculative_tokens,
        largest=largest,
        blackwell=(gpu.compute_capability or (0, 0))[0] == 10,
        interactive=args.performance_mode == "interactivity",
    )


def resolve_dtype(model: ModelSpec, gpu: GpuSpec, args: EngineArgs) -> str:
    """
    The activation dtype; bfloat16 needs compute capability 8.0.
    """
    capability = gpu.compute_capability
    too_old = capability is not None and capability < (8, 0)
    if args.dtype in (None, "auto"):
        if "float32" in model.traits and model.runner == "pooling":
            return "float16"  # config/model.py:_resolve_auto_dtype
        return "float16" if too_old and model.dtype == "bfloat16" else model.dtype
    dtype = _DTYPE_WORDS.get(args.dtype, args.dtype)
    if dtype == "bfloat16" and too_old:
        message = f"dtype is bfloat16, which {gpu.name} lacks (compute capability below 8.0); use float16"
        raise UnsupportedError(message, field="dtype", value=args.dtype)
    return dtype


def resolve_kv_cache_dtype(model: ModelSpec, gpu: GpuSpec, args: EngineArgs, rules: Rules, dtype: str) -> str:
    """
    The cache's dtype; ``auto`` follows the checkpoint, then the model, on some GPUs its class.
    """
    word = args.kv_cache_dtype or "auto"
    since = _KV_DTYPES.get(word)
    if since is None or since > rules.version:
        known = ", ".join(name for name, first in _KV_DTYPES.items() if first <= rules.version)
        message = f"kv_cache_dtype is {word!r}, which vLLM {_release(rules)} does not know; it knows {known}"
        raise UnsupportedError(message, field="kv_cache_dtype", value=word)
    if "model_dtype_cache" in model.traits:
        return dtype
    if word == "auto":
        declared = model.kv_cache_dtype if rules.version >= (0, 14, 0) else None
        blackwell = gpu.compute_capability is not None and gpu.compute_capability[0] == 10
        if "fp8_cache_on_sm100" in model.traits and blackwell:
            dtype = "fp8_e4m3"  # models/config.py:GlmMoeDsaForCausalLM
        return declared or dtype
    if word in ("float16", "bfloat16") and word != dtype and rules.version >= (0, 33, 0):
        # config/vllm.py:VllmConfig._reject_mismatched_float_kv_cache
        message = f"kv_cache_dtype is {word}, but the model runs in {dtype}, which vLLM refuses; use auto or {dtype}"
        raise UnsupportedError(message, field="kv_cache_dtype", value=word)
    method = model.quantization or ""
    scaled = method.startswith(("fp8", "modelopt")) or (method == "compressed-tensors" and model.kv_cache_dtype)
    if word == "fp8_e5m2" and scaled:
        # layers/attention/attention.py:_init_kv_cache_quant
        message = "kv_cache_dtype is fp8_e5m2, which vLLM refuses for checkpoints with FP8 cache scales; use fp8"
        raise UnsupportedError(message, field="kv_cache_dtype", value=word)
    return word


def _release(rules: Rules) -> str:
    return ".".join(map(str, rules.version))


def resolve_batch(
    gpu: GpuSpec, args: EngineArgs, rules: Rules, max_model_len: int, *, largest_item: int = 0
) -> tuple[int, int]:
    """
    (max_num_seqs, max_num_batched_tokens).

    Source: ``EngineArgs._set_default_max_num_seqs_and_batched_tokens_args``.

    Args:
        largest_item: Tokens that a default must hold in one batch.
    """
    default_tokens, default_seqs = batch_defaults(gpu, rules)
    if args.performance_mode == "throughput" and rules.version >= (0, 17, 0):
        default_tokens, default_seqs = 2 * default_tokens, 2 * default_seqs
    seqs = args.max_num_seqs or default_seqs
    tokens = args.max_num_batched_tokens
    chunked = args.enable_chunked_prefill is not False
    if tokens is None:
        tokens = max(largest_item, default_tokens if chunked else max(max_model_len, default_tokens))
        if rules.version >= (0, 11, 1):
            tokens = min(tokens, seqs * max_model_len)
    elif not chunked and tokens < max_model_len:
        message = (
            f"max_num_batched_tokens is {tokens}, less than max_model_len ({max_model_len}), "
            "which vLLM refuses without chunked prefill; raise it or enable_chunked_prefill"
        )
        raise UnsupportedError(message, field="max_num_batched_tokens", value=tokens)
    if args.max_num_seqs is None:
        seqs = min(seqs, tokens)
    elif tokens < seqs:
        message = f"max_num_batched_tokens is {tokens}, less than max_num_seqs ({seqs}), which vLLM refuses; raise it"
        raise UnsupportedError(message, field="max_num_batched_tokens", value=tokens)
    return seqs, tokens


def checkpoint_pages(recurrent: list[RecurrentState], gpu: GpuSpec, rules: Rules) -> tuple[int, int]:
    """
    (alignment of states that prefill can export, pages: 2 with such a state, 1 without).

    Source: ``layers/mamba/abstract.py:get_mamba_prefill_checkpoint_alignment``.
    """
    alignment, major = 1, (gpu.compute_capability or (0, 0))[0]
    for layer in recurrent:
        if layer.kind == "mamba2" and rules.version >= (0, 32, 0):
            continue
        # qwen_gdn_linear_attn.py:_resolve_gdn_prefill_backend; the wheels are built for CUDA 13.
        flashinfer = major == 9 or (major in (10, 12) and layer.key_size == 128)
        if layer.kind == "gdn_attention" and rules.version >= (0, 33, 0) and flashinfer:
            alignment = math.lcm(alignment, 64)
            continue
        if layer.kind == "kda" and layer.key_size == 128 and major in (9, 10, 12):
            alignment = math.lcm(alignment, 16)  # models/kimi_k3/nvidia/kda.py:is_flashkda_supported
            continue
        return 0, 1
    return alignment, 2
