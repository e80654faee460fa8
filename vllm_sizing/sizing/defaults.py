"""
What vLLM itself would choose, by its version, the GPU and the model.

One table of rules with the release that brought each; everything else asks `rules_for`.
Source: the release wheels 0.10.0 to 0.33.0, function by function; symbols beside each rule.
"""

from __future__ import annotations

import re
from functools import lru_cache

import attrs

from vllm_sizing.errors import InvalidValueError
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.specs.value import Value
from vllm_sizing.units import GIB

OLDEST = (0, 10, 0)
NEWEST = (0, 33, 0)
Version = tuple[int, int, int]


def parse_version(text: str) -> Version:
    """
    A vLLM version; suffixes (``rc1``, ``.post1``, ``+cu129``) do not count.

    Raises:
        InvalidValueError: Not a version, or one that nobody has read the rules of.

    >>> parse_version("v0.11.1rc2+cu129")
    (0, 11, 1)
    """
    match = re.match(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?![\d])", str(text).strip())
    if match is None:
        message = f"vllm_version is {text!r}; it must be a release such as 0.33.0"
        raise InvalidValueError(message, field="vllm_version", value=text)
    version = (int(match[1]), int(match[2]), int(match[3] or 0))
    if version > NEWEST:
        message = f"vllm_version is {text}, newer than the newest one known (0.33.0); plan for 0.33.0"
        raise InvalidValueError(message, field="vllm_version", value=text)
    if version < (0, 8, 0):
        message = f"vllm_version is {text}; the rules are known from 0.10.0 (0.8 and 0.9 are planned by those)"
        raise InvalidValueError(message, field="vllm_version", value=text)
    return version


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Rules(Value):
    """
    The memory rules of one vLLM release.

    Attributes:
        version: The release.

        gpu_memory_utilization: Default; ``config/cache.py:CacheConfig``.

        ceil_requested: requested is rounded up; ``v1/worker/utils.py:request_memory``.

        nccl_counts: The start snapshot precedes NCCL, which so counts as non-torch; ``gpu_worker.py``.

        buffers_count: Buffers made between loading and profiling lower the KV cache;
            ``utils/mem_utils.py:memory_profiling``.

        graph_estimate_subtracted: ``gpu_worker.py:determine_available_memory``.

        in_flight: Windows reserve for all batches in flight; ``config/vllm.py``.

        async_scheduling: On by default; ``config/vllm.py:__post_init__``.

        null_block_checked: One block less in the admission check; ``kv_cache_planning.py``.

        tokens_by_concurrency: The logged size is int(concurrency x max_model_len);
            ``kv_cache_utils.py``.

        hybrid_prefix_caching: On by default for recurrent models; ``config/model.py``.

        group_size_ratio: Groups take the largest kind's size below this ratio to the smallest.
    """

    version: Version
    gpu_memory_utilization: float
    ceil_requested: bool
    nccl_counts: bool
    buffers_count: bool
    graph_estimate_subtracted: bool
    graphs_captured_in_profile: bool
    in_flight: bool
    async_scheduling: bool
    null_block_checked: bool
    tokens_by_concurrency: bool
    tokens_min_block: bool
    hybrid_prefix_caching: bool
    group_size_ratio: float
    unify_pages: bool
    pad_attention_pages: bool
    chunked_local_hybrid: bool
    large_tier: bool
    gb10_is_small: bool
    full_graphs: bool
    fine_graph_sizes: bool
    blackwell_graphs: bool
    mamba_align_pages: bool
    mla_block_by_backend: bool
    flashinfer_sampler: bool
    triton_sampler: bool
    check_all_groups: bool
    check_first_group: bool
    mamba_limit_refused: bool


@lru_cache(maxsize=64)
def rules_for(version: Version) -> Rules:
    """
    The rules of a release.
    """

    def since(*release: int) -> bool:
        return version >= release

    return Rules(
        version=version,
        gpu_memory_utilization=0.92 if since(0, 20, 0) else 0.9,
        ceil_requested=since(0, 14, 0),
        nccl_counts=not since(0, 11, 0),
        buffers_count=since(0, 27, 0),
        graph_estimate_subtracted=since(0, 20, 0),
        graphs_captured_in_profile=since(0, 18, 0) and not since(0, 27, 0),
        in_flight=since(0, 26, 0),
        async_scheduling=since(0, 14, 0),
        null_block_checked=since(0, 29, 0),
        tokens_by_concurrency=since(0, 20, 1),
        tokens_min_block=since(0, 11, 0),
        hybrid_prefix_caching=since(0, 28, 0),
        group_size_ratio=1.5 if since(0, 18, 0) else 1.25 if since(0, 12, 0) else 1.0,
        unify_pages=since(0, 12, 0),
        pad_attention_pages=since(0, 24, 0),
        chunked_local_hybrid=since(0, 14, 0) or version < (0, 10, 1),
        large_tier=since(0, 28, 0),
        gb10_is_small=since(0, 33, 0),
        full_graphs=since(0, 11, 0),
        fine_graph_sizes=since(0, 11, 1),
        blackwell_graphs=since(0, 28, 0),
        mamba_align_pages=since(0, 15, 0),
        mla_block_by_backend=since(0, 18, 0),
        flashinfer_sampler=since(0, 21, 0),
        triton_sampler=since(0, 17, 0),
        check_all_groups=since(0, 19, 0) or not since(0, 14, 0),
        check_first_group=since(0, 14, 0) and not since(0, 19, 0),
        mamba_limit_refused=since(0, 20, 0),
    )


@lru_cache(maxsize=256)
def batch_defaults(gpu: GpuSpec, rules: Rules) -> tuple[int, int]:
    """
    (max_num_batched_tokens, max_num_seqs) of ``vllm serve``.

    Source: ``engine/arg_utils.py:EngineArgs.get_batch_defaults``.
    """
    memory = gpu.memory_bytes
    gb10 = rules.gb10_is_small and gpu.compute_capability == (12, 1)
    if rules.large_tier and memory >= 160 * GIB:
        return 16384, 1024
    if memory >= 70 * GIB and not is_a100(gpu) and not gb10:
        return 8192, 1024
    return 2048, 256


def is_a100(gpu: GpuSpec) -> bool:
    """
    Whether the driver's name of the GPU contains "a100", which vLLM asks for.
    """
    return "a100" in gpu.name.lower() or any("a100" in name.lower() for name in gpu.product_names)


def uses_v2_runner(
    rules: Rules, *, architecture: str, moe: bool, hybrid: bool, quantized: bool, generate: bool
) -> bool:
    """
    Whether the V2 model runner is the default for a model.

    Source: ``config/vllm.py:_is_default_v2_model_runner_model`` (0.22 to 0.28), ``use_v2_model_runner``.
    """
    version = rules.version
    if version >= (0, 29, 0):
        return True
    if version < (0, 22, 0) or not generate:
        return False
    if version < (0, 23, 0):
        return architecture == "Qwen3ForCausalLM" and not quantized
    if version < (0, 24, 0):
        return architecture in ("Qwen3ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM") and not quantized
    named = {"DeepseekV2ForCausalLM", "Qwen2MoeForCausalLM", "GraniteMoeForCausalLM"}
    if version < (0, 25, 0):
        return architecture in named | {"Qwen3ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM"}
    if version >= (0, 26, 0):
        named |= {"InklingForConditionalGeneration", "LongcatFlashNgramForCausalLM"}
    if version >= (0, 27, 0):
        named |= {"KimiK3ForConditionalGeneration"}
    if version >= (0, 28, 0):
        named |= {"DeepseekV4ForCausalLM"}
    return architecture in named or not (moe or hybrid)


def batches_in_flight(rules: Rules, *, pipeline: int, async_scheduling: bool, v2_runner: bool) -> int:
    """
    Batches that may be scheduled and not yet settled.

    Source: ``config/vllm.py:VllmConfig.max_concurrent_batches``.
    """
    if async_scheduling and v2_runner:
        return pipeline + 1
    if async_scheduling and pipeline <= 1:
        return 2
    return pipeline


def capture_sizes(
    rules: Rules,
    *,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    decode_query_len: int = 1,
    largest: int | None = None,
    blackwell: bool = False,
    interactive: bool = False,
) -> tuple[int, ...]:
    """
    Batch sizes that CUDA graphs are captured for.

    Source: ``config/vllm.py:VllmConfig._set_cudagraph_sizes``.

    Args:
        decode_query_len: Tokens of a request in one step: one, and those that speculation drafts.

        largest: Given by the user or the model; then nothing is added for decoding.

        interactive: Small batches are never padded: ``--performance-mode interactivity``.
    """
    version = rules.version
    ceiling = 1024 if blackwell and rules.blackwell_graphs else 512
    query = decode_query_len if version >= (0, 13, 0) else 1
    top = min(max_num_seqs * query * 2, ceiling) if largest is None else largest
    top = min(top, max_num_batched_tokens)
    sizes = _strided(top, 16 if rules.fine_graph_sizes else 8)
    if interactive and version >= (0, 17, 0):
        sizes.update(range(1, min(top, 32) + 1))
    if version >= (0, 20, 1) and max_num_batched_tokens <= top:
        sizes.add(max_num_batched_tokens)
    if largest is None and query > 1 and version >= (0, 29, 0):
        most = min(max_num_seqs, ceiling)
        sizes |= {requests * query for requests in _strided(most, 16) | {most} if requests * query <= top}
    elif largest is None and query == 1 and version >= (0, 31, 0) and max_num_seqs <= top:
        sizes.add(max_num_seqs)
    return tuple(sorted(sizes))


def _strided(top: int, step: int) -> set[int]:
    """
    1, 2, 4, then every 8, from 256 on every ``step``.
    """
    return {size for size in (1, 2, 4) if size <= top}.union(range(8, min(top + 1, 256), 8), range(256, top + 1, step))
