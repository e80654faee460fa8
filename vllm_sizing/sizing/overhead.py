"""
What a start takes beside weights and cache: activations, CUDA graphs, memory outside torch.

Modelled from shapes; the constants and their intervals are fitted on published start-up logs.
"""

from __future__ import annotations

import attrs

from vllm_sizing.sizing.defaults import Rules
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.specs.plan import Estimate
from vllm_sizing.units import GIB, MIB


@attrs.frozen(kw_only=True)
class Start:
    """
    One rank's start, as far as overhead depends on it.

    Attributes:
        tensor, pipeline: Ranks in each group.

        max_num_batched_tokens, max_num_seqs, max_model_len: As resolved.

        capture_sizes: Of CUDA graphs; empty when eager.

        v2_runner: The V2 model runner runs the model.
    """

    model: ModelSpec
    gpu: GpuSpec
    rules: Rules
    tensor: int
    pipeline: int
    data: int
    expert: bool
    dtype: str
    kv_cache_dtype: str
    max_num_batched_tokens: int
    max_num_seqs: int
    max_model_len: int
    block_size: int
    capture_sizes: tuple[int, ...]
    v2_runner: bool
    profile_encoders: bool
    speculative_tokens: int
    pooling: bool


@attrs.frozen(kw_only=True)
class Overhead:
    """
    The modelled parts, per GPU.

    Attributes:
        activation_peak, non_torch, cuda_graphs: With intervals.

        cuda_graph_estimate_bytes: What vLLM itself will subtract for graphs (by version).

        resident_bytes: Buffers that stay and lower the KV cache without being weights.
    """

    activation_peak: Estimate
    non_torch: Estimate
    cuda_graphs: Estimate
    cuda_graph_estimate_bytes: int
    resident_bytes: int


def estimate_overhead(start: Start) -> Overhead:
    """
    All modelled parts of one start.
    """
    model, rules = start.model, start.rules
    tokens, rows = start.max_num_batched_tokens, min(start.max_num_batched_tokens, start.max_num_seqs)
    widths = max(
        (tensor.shape[0] for tensor in model.tensors if tensor.role == "linear" and tensor.shard.parts),
        default=0,
    )
    forward = tokens * 2 * (3 * model.hidden_size + 3 * widths // (2 * start.tensor))
    per_logit = 6 if start.v2_runner else 14 if rules.triton_sampler else 38.6
    sampler = (
        0 if start.pooling else int(per_logit * rows * model.vocab_size) + tokens * model.hidden_size * 2
    )
    peak = max(forward, sampler)
    graphs = (150 * MIB + len(start.capture_sizes) * 8 * MIB) if start.capture_sizes else 0
    non_torch = 80 * MIB if start.tensor == 1 else 560 * MIB
    resident = 0
    if start.v2_runner and rules.buffers_count:
        resident = start.max_num_seqs * model.vocab_size * 4 + start.max_num_seqs * model.vocab_size // 8
    return Overhead(
        activation_peak=Estimate(peak * 0.7, peak, peak * 1.5 + 0.2 * GIB, "shapes"),
        non_torch=Estimate(non_torch * 0.5, non_torch, non_torch * 2, "published logs"),
        cuda_graphs=Estimate(graphs * 0.2, graphs, graphs * 2.5, "published logs"),
        cuda_graph_estimate_bytes=graphs if rules.graph_estimate_subtracted else 0,
        resident_bytes=resident,
    )
