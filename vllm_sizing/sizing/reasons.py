"""
Why each flag has its value, in numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.sizing.defaults import batch_defaults
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.model import FullAttention, MlaAttention
from vllm_sizing.specs.plan import Decision
from vllm_sizing.units import format_gib

if TYPE_CHECKING:
    from vllm_sizing.sizing.decisions import Candidate, Question

USER = "user"
DEFAULT = "vLLM default"


def explain(
    best: Candidate, considered: list[Candidate], question: Question, completed: EngineArgs
) -> tuple[Decision, ...]:
    """
    One `Decision` for each flag that decides memory or speed.
    """
    reasons = {
        "tensor_parallel_size": _tensor(best, considered, question),
        "pipeline_parallel_size": _pipeline(best, question),
        "data_parallel_size": _data(best, question),
        "dtype": _dtype(best, question),
        "quantization": _quantization(question),
        "kv_cache_dtype": _kv_cache_dtype(best, question),
        "max_model_len": _max_model_len(best, question),
        "max_num_seqs": _max_num_seqs(best, question),
        "max_num_batched_tokens": _max_num_batched_tokens(best, question),
        "gpu_memory_utilization": _utilization(best, question),
        "enable_prefix_caching": _prefix_caching(best, question),
    }
    decisions = []
    for flag, (reason, source) in reasons.items():
        fixed = getattr(question.args, flag) is not None
        decisions.append(
            Decision(flag=flag, value=getattr(completed, flag), reason=reason, source=USER if fixed else source)
        )
    fixed_elsewhere = [name for name in question.args.fixed() if name not in reasons]
    decisions += [
        Decision(flag=name, value=getattr(completed, name), reason="kept as given", source=USER)
        for name in fixed_elsewhere
    ]
    return tuple(decisions)


def _tensor(best: Candidate, considered: list[Candidate], question: Question) -> tuple[str, str]:
    size = best.layout.tensor
    memory = best.evaluation.numbers.memory
    share = format_gib(memory.weights_bytes_per_gpu)
    if question.args.tensor_parallel_size is not None:
        return f"kept; {share} of weights on each GPU", USER
    if question.cluster.total_gpus == 1:
        return f"one GPU holds all {share} of weights", "the cluster"
    heads = question.model.num_attention_heads
    text = f"{share} of weights on each GPU"
    text = f"{heads} heads divide by {size}; {text}" if heads else text
    others = [candidate for candidate in considered if candidate is not best and candidate.evaluation.fits]
    if best.performance is not None and len(considered) > 1:
        text += f"; {best.performance.output_tokens_per_s.mid:,.0f} output tokens/s"
        text += f" at {best.performance.tpot_ms.mid:.1f} ms per token"
    if not others and len(considered) > 1 and best.evaluation.fits:
        text += "; no other layout of these GPUs fits"
    return text, f"best of {len(considered)} legal layouts for goal {question.policy.goal}"


def _pipeline(best: Candidate, question: Question) -> tuple[str, str]:
    size = best.layout.pipeline
    if size == 1:
        return "stages are not needed", DEFAULT
    return f"{question.model.num_layers} layers in {size} stages", "best of the legal layouts"


def _data(best: Candidate, question: Question) -> tuple[str, str]:
    size = best.layout.data
    if size == 1:
        return "one replica", DEFAULT
    share = -(-question.workload.concurrency // size)
    return f"{size} replicas, {share} concurrent requests each", "best of the legal layouts"


def _dtype(best: Candidate, question: Question) -> tuple[str, str]:
    dtype, model = best.evaluation.setup.dtype, question.model
    if question.args.dtype not in (None, "auto"):
        return "kept", USER
    if best.evaluation.setup.pooling and "float32" in model.traits:
        return "what vLLM pools in where a checkpoint is float32", DEFAULT
    if dtype != model.dtype:
        return f"{question.cluster.gpu.name} has no {model.dtype}", "compute capability below 8.0"
    return "the checkpoint's own", DEFAULT


def _quantization(question: Question) -> tuple[str, str]:
    model = question.model
    if question.args.quantization is not None:
        return "kept", USER
    if model.quantization:
        return f"not needed: vLLM reads {model.quantization} from the checkpoint", "the checkpoint"
    return "the checkpoint is not quantized", DEFAULT


def _kv_cache_dtype(best: Candidate, question: Question) -> tuple[str, str]:
    cache = best.evaluation.kv_cache
    text = f"{cache.kv_cache_dtype}: {cache.bytes_per_token:,} bytes per token and GPU"
    if not cache.groups:
        text = "the model keeps no KV cache"
    if question.args.kv_cache_dtype not in (None, "auto"):
        return text, USER
    return text, "the checkpoint" if question.model.kv_cache_dtype else DEFAULT


def _max_model_len(best: Candidate, question: Question) -> tuple[str, str]:
    evaluation, limit = best.evaluation, question.model.max_model_len
    length, cache = evaluation.max_model_len, evaluation.kv_cache
    wanted = f"the workload needs {question.workload.tokens_per_request:,}"
    need = f"one such request takes {format_gib(cache.bytes_per_request)} of the KV cache per GPU"
    if not cache.groups:
        need = "it keeps no KV cache"
    if question.args.max_model_len is not None:
        return need, USER
    if length == limit:
        return f"the model's own limit; {need}", DEFAULT
    if not evaluation.fits:
        return f"{wanted}, and not even that fits", "the workload"
    if not evaluation.safe and length == question.workload.tokens_per_request:
        return f"{wanted}, and more would be riskier still; {need}", "the workload"
    return (
        f"{limit:,} would not fit safely; {need}; {wanted}",
        "longest that fits at the low end of the KV estimate",
    )


def _max_num_seqs(best: Candidate, question: Question) -> tuple[str, str]:
    setup, cache = best.evaluation.setup, best.evaluation.kv_cache
    held = cache.max_concurrency_at_workload
    text = f"the KV cache holds {held:,} requests of {question.workload.tokens_per_request:,} tokens per replica"
    if not cache.groups:
        text = "no KV cache limits them"
    if question.args.max_num_seqs is not None:
        return text, USER
    default = batch_defaults(question.cluster.gpu, question.rules)[1]
    if setup.max_num_seqs == default:
        return text, DEFAULT
    if setup.max_num_seqs > default:
        return (
            f"{question.workload.concurrency:,} concurrent requests exceed vLLM's default of {default}",
            "the workload",
        )
    if cache.max_num_seqs_limit is not None:
        return (
            f"vLLM refuses more sequences than recurrent state blocks ({cache.max_num_seqs_limit:,})",
            "the low end of the KV estimate",
        )
    return "capped at max_num_batched_tokens", DEFAULT


def _max_num_batched_tokens(best: Candidate, question: Question) -> tuple[str, str]:
    tokens = best.evaluation.setup.max_num_batched_tokens
    steps = -(-question.workload.input_tokens // tokens)
    text = f"a prompt of {question.workload.input_tokens:,} tokens is read in {steps} step{'s' if steps > 1 else ''}"
    return text, USER if question.args.max_num_batched_tokens is not None else DEFAULT


def _utilization(best: Candidate, question: Question) -> tuple[str, str]:
    memory = best.evaluation.numbers.memory
    text = f"vLLM takes {format_gib(memory.requested_bytes)} of {format_gib(memory.total_bytes)}"
    if question.args.gpu_memory_utilization is not None:
        return text, USER
    default = question.rules.gpu_memory_utilization
    if best.evaluation.setup.gpu_memory_utilization == default:
        return text, DEFAULT
    return f"{text}; the default {default} is more than is free", "free memory and headroom"


def _prefix_caching(best: Candidate, question: Question) -> tuple[str, str]:
    on = best.evaluation.setup.enable_prefix_caching
    kept = question.args.enable_prefix_caching is not None
    text = "shared prompt prefixes are computed once" if on else "every prompt is computed whole"
    if not best.evaluation.kv_cache.groups:
        text = "there is no cache to share"
    return text, USER if kept else DEFAULT


def kv_heads_of(question: Question) -> int:
    """
    KV heads of the model's attention; 1 for latent attention, 0 for none.
    """
    heads = 0
    for layer in question.model.cache_layers:
        if isinstance(layer, MlaAttention):
            heads = max(heads, 1)
        elif isinstance(layer, FullAttention):
            heads = max(heads, layer.num_kv_heads)
    return heads
