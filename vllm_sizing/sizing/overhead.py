"""
What a start takes beside weights and cache: activations, CUDA graphs, memory outside torch.

The activation peak follows from shapes: the larger of the decoder's and the sampler's, on top of
what the encoders leave behind.  Few constants are fitted, on published start-up logs; how well
they do is printed by ``nox -s validate`` and told in ``docs/explanation/accuracy.md``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.sizing.defaults import Rules
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.specs.model import MlaAttention, ModelSpec
from vllm_sizing.specs.plan import Estimate
from vllm_sizing.specs.value import Value
from vllm_sizing.units import MIB, round_up


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Start(Value):
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Overhead(Value):
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


# Bytes per logit of the sampler's dummy pass; V1 native: sort buffers included, 38.4 to 38.9 in logs
# of 0.11.0; later by reading which copies live at once (vLLM v1/sample/ops/topk_topp_sampler.py).
SORTING_SAMPLER = 38.6
TRITON_SAMPLER = 14.0
# A copy per processor: three logs of one model under 0.24.  A GB10's under 0.22 fits 14 better; its host is in the sum.
FLASHINFER_SAMPLER = 18.0
V2_COPYING_SAMPLER, V2_SAMPLER, V2_WARMED_SAMPLER = 6.0, 2.0, 6.0
ENCODER_COPIES = 4.5  # Of an encoder's hidden states: Qwen3.5's image profiled at TP 1 and 4, 0.19.
HIDDEN_COPIES = 3.0  # Hidden states alive at the MLP's peak under torch.compile.
MOE_HIDDEN_COPIES = 5.0  # Of a mixture-of-experts block, its output and the router's input with them.
# Taken before vLLM first looks (CUDA context, handles, NCCL from 0.11): total less free in logs of one GPU,
# 0.41 and 0.44 GiB on Ampere and Ada, 0.61 on ten H100; of two H100, 1.54.
BEFORE_BYTES, HOPPER_BEFORE_BYTES, NVLS_BEFORE_BYTES, NCCL_BEFORE_BYTES = 430 * MIB, 620 * MIB, 950 * MIB, 200 * MIB
CONTEXT_BYTES = 80 * MIB  # CUDA context growth, cuBLAS, kernels: 0.02 to 0.14 GiB in logs of one GPU.
COLLECTIVE_BYTES = 100 * MIB  # More with tensor parallelism over PCIe or Ampere's NVLink.
INTEGRATED_BYTES = 700 * MIB  # The host's own use counts where memory is shared: 0.7 to 4 GiB in three logs.
NVLS_BYTES = 470 * MIB  # With NVLink SHARP (Hopper and later): 0.54 and 0.55 GiB in logs of two H100.
GRAPH_POOL_BYTES, GRAPH_BYTES = 150 * MIB, 8 * MIB  # The pool, and each captured size.
WEIGHT_ONLY_GRAPH_BYTES = 650 * MIB  # More with weights of 4 or 8 bits: 1.18, 1.22 and 1.27 GiB in three AWQ logs.
WORKSPACE_TOKENS = 65_536  # mla_attention.py: determine_chunked_prefill_workspace_size.
PROFILED_ITEMS = 999  # Per prompt and modality, where no limit is given.


def estimate_overhead(start: Start) -> Overhead:
    """
    All modelled parts of one start.
    """
    peak = activation_peak_bytes(start)
    non_torch = non_torch_bytes(start)
    graphs = _graphs(start)
    silent = start.v2_runner and (0, 22, 0) <= start.rules.version < (0, 29, 0)
    subtracted = start.rules.graph_estimate_subtracted and not silent
    activation = _spread(peak, 0.15, 0.25, 80 * MIB)
    if start.rules.version < (0, 11, 0):
        # FlashInfer's sampler, which needs no sort buffers, was taken where it happened to be installed.
        encoders, kept = encoder_bytes(start)
        activation = attrs.evolve(
            activation, low=min(activation.low, 0.85 * max(encoders, kept + decoder_bytes(start)))
        )
    outside = _spread(non_torch, 0.3, 0.3, 100 * MIB)
    if start.gpu.integrated:
        outside = attrs.evolve(outside, low=CONTEXT_BYTES, high=outside.high + 2 * INTEGRATED_BYTES)
    return Overhead(
        activation_peak=activation,
        non_torch=outside,
        cuda_graphs=graphs,
        cuda_graph_estimate_bytes=int(graphs.mid) if subtracted else 0,
        resident_bytes=resident_bytes(start),
    )


def _graphs(start: Start) -> Estimate:
    """
    The pool of the captured graphs.
    """
    if not start.capture_sizes:
        return _spread(0, 0, 0, 0)
    graphs = _spread(GRAPH_POOL_BYTES + len(start.capture_sizes) * GRAPH_BYTES, 0.9, 1.6, 0)
    weight_only = any(
        tensor.role == "linear" and tensor.scheme is not None and tensor.scheme.compute == "bf16"
        for tensor in start.model.tensors
    )
    if not weight_only:
        return graphs
    more = WEIGHT_ONLY_GRAPH_BYTES
    return Estimate(graphs.low, graphs.mid + more, graphs.high + more, graphs.basis)


def _spread(mid: float, below: float, above: float, least: float) -> Estimate:
    """
    An 80 % interval: a share of the estimate, and at least so many bytes.
    """
    low = max(0.0, mid - max(mid * below, least if mid else 0.0))
    return Estimate(low, mid, mid + max(mid * above, least if mid else 0.0), "published start-up logs")


def activation_peak_bytes(start: Start) -> int:
    """
    Peak of the profiling pass beyond what stays allocated.

    Source: ``v1/worker/gpu_model_runner.py:profile_run``; attention is skipped, the sampler is not.
    """
    encoders, kept = encoder_bytes(start)
    return int(max(encoders, kept + max(decoder_bytes(start), sampler_bytes(start))))


def decoder_bytes(start: Start) -> float:
    """
    The widest moment of a decoder layer on a full batch.
    """
    tokens, model = start.max_num_batched_tokens, start.model
    hidden = model.hidden_size
    dense = tokens * 2 * (HIDDEN_COPIES * hidden + 1.5 * _widest_mlp(start))
    return max(dense, _moe_bytes(start), _latent_bytes(start))


def _widest_mlp(start: Start) -> float:
    """
    Gate and up of the widest dense MLP on a rank.
    """
    fused = (
        tensor.shape[0]
        for tensor in start.model.tensors
        if tensor.role == "linear" and tensor.tower == "language" and len(tensor.shard.parts) == 2
    )
    return max(fused, default=0) / start.tensor


def _moe_bytes(start: Start) -> float:
    """
    The fused-expert workspaces: both products of every chosen expert, and what is summed.

    Source: ``fused_moe/fused_moe.py``; batches were cut into chunks until 0.17.
    """
    model = start.model
    ups = [tensor for tensor in model.tensors if tensor.role == "experts" and tensor.shard.axis == 1]
    if not ups:
        return 0.0
    tokens = start.max_num_batched_tokens
    version = start.rules.version
    chunk = 32_768 if version < (0, 12, 0) else 16_384 if version < (0, 18, 0) else tokens
    rows = min(tokens, chunk) * model.num_experts_per_token
    width = max(tensor.shape[1] for tensor in ups) / (1 if start.expert else start.tensor)
    products = rows * 2 * (1.5 * width + model.hidden_size)
    return products + tokens * 2 * MOE_HIDDEN_COPIES * model.hidden_size


def _latent_bytes(start: Start) -> float:
    """
    Dense latent attention reserves a workspace for chunked prefill during the pass.

    Source: ``mla_attention.py:MLACommonMetadataBuilder.determine_chunked_prefill_workspace_size``.
    """
    version = start.rules.version
    layers = [layer for layer in start.model.cache_layers if isinstance(layer, MlaAttention)]
    if version < (0, 11, 0) or not layers or layers[0].indexer_bytes_per_token:
        return 0.0
    layer, block = layers[0], start.block_size
    rows = min(max(8 * start.max_model_len, 4 * start.max_num_seqs * block), WORKSPACE_TOKENS)
    rows = round_up(rows, block) if version >= (0, 28, 0) else max(rows, start.max_num_seqs * block)
    heads = layer.num_heads / start.tensor
    hidden = start.max_num_batched_tokens * start.model.hidden_size * 2
    return rows * heads * (layer.nope_head_dim + layer.v_head_dim) * 2 + HIDDEN_COPIES * hidden


def sampler_bytes(start: Start) -> float:
    """
    The dummy sampler pass over the whole vocabulary.

    Source: ``v1/worker/gpu_model_runner.py:_dummy_sampler_run``; the rules by version in
    ``docs/explanation/memory.md``.
    """
    if start.pooling:
        return 0.0
    tokens, rules = start.max_num_batched_tokens, start.rules
    rows = min(tokens, start.max_num_seqs)
    version = rules.version
    if start.v2_runner:
        per_logit = V2_SAMPLER if (0, 26, 0) <= version < (0, 33, 0) else V2_COPYING_SAMPLER
    else:
        # FlashInfer's kernels need compute capability 8.0.
        modern = rules.flashinfer_sampler and (start.gpu.compute_capability or (0, 0)) >= (8, 0)
        plain = TRITON_SAMPLER if rules.triton_sampler else SORTING_SAMPLER
        per_logit = FLASHINFER_SAMPLER if modern else plain
    return per_logit * rows * start.model.vocab_size + tokens * start.model.hidden_size * 2


def encoder_bytes(start: Start) -> tuple[float, float]:
    """
    (peak of the encoders' pass, outputs that stay for the decoder's pass).

    Source: ``multimodal/encoder_budget.py``: the modality with the most tokens per item, as many of
    its largest items as the batch holds.
    """
    encoders = start.model.encoders
    if not start.profile_encoders or not encoders:
        return 0.0, 0.0
    if start.v2_runner and start.rules.version < (0, 27, 0):
        return 0.0, 0.0  # The V2 runner did not profile encoders then.
    version, length = start.rules.version, start.max_model_len
    older = version < (0, 14, 0)
    claimed, widest = max(
        (((older and encoder.older_tokens) or encoder.tokens_within(length), encoder) for encoder in encoders),
        key=lambda pair: pair[0],
    )
    budget = max(start.max_num_batched_tokens, claimed)
    items = max(1, min(budget // claimed, start.max_num_seqs * PROFILED_ITEMS))
    tokens = items * widest.tokens_within(length)
    # Each output was padded to the whole budget, then to the largest item.
    padded = budget if version < (0, 12, 0) else claimed
    kept = (items * padded if (0, 11, 0) <= version < (0, 13, 0) else tokens) * widest.hidden_size * 2
    patches = tokens * widest.patches_per_token
    inner = 2 * widest.intermediate_size / start.tensor
    return kept + patches * 2 * (ENCODER_COPIES * widest.width + inner), kept


def non_torch_bytes(start: Start) -> int:
    """
    Memory that torch does not see: context growth and collectives.
    """
    context = CONTEXT_BYTES + (INTEGRATED_BYTES if start.gpu.integrated else 0)
    if start.tensor == 1:
        return context
    major = (start.gpu.compute_capability or (0, 0))[0]
    if start.gpu.link == "nvlink" and major >= 9 and major != 12:
        return context + NVLS_BYTES
    return context + COLLECTIVE_BYTES


def bytes_before(gpu: GpuSpec, num_ranks: int, rules: Rules) -> Estimate:
    """
    What a process holds on a GPU when vLLM compares what is free with what it requests.

    Source: ``v1/worker/gpu_worker.py:init_device``, ``v1/worker/utils.py:request_memory``.

    Args:
        num_ranks: GPUs that work on one replica.
    """
    major = (gpu.compute_capability or (0, 0))[0]
    large = major >= 9 and major != 12
    held = HOPPER_BEFORE_BYTES if large else BEFORE_BYTES
    if num_ranks > 1 and not rules.nccl_counts:
        held += NVLS_BEFORE_BYTES if large and gpu.link == "nvlink" else NCCL_BEFORE_BYTES
    return _spread(held, 0.3, 0.5, 80 * MIB)


def resident_bytes(start: Start) -> int:
    """
    Buffers that the V2 runner keeps for good: penalty counts and their mask.

    Source: ``v1/worker/gpu/sample/penalties.py:PenaltiesState``; in no term of the sum before 0.27.
    """
    if not start.v2_runner or not start.rules.buffers_count or start.pooling:
        return 0
    entries = start.max_num_seqs * start.model.vocab_size
    return entries * 4 + entries // 8
