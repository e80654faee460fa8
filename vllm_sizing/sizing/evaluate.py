"""
One start as numbers: memory, cache, what it holds, whether it starts.

Pure arithmetic on a `Setup`; decisions and words are made elsewhere from its answers.
"""

from __future__ import annotations

import math

import attrs

from vllm_sizing.sizing.budget import DEVIATIONS_OF_80_PERCENT, Numbers, measure
from vllm_sizing.sizing.defaults import Rules
from vllm_sizing.sizing.kv_cache import CacheLayout
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.sizing.overhead import bytes_before
from vllm_sizing.sizing.setup import Setup, prepare
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.specs.model import ModelSpec, RecurrentState
from vllm_sizing.specs.plan import Estimate, KvCache, KvGroup
from vllm_sizing.specs.request import Policy
from vllm_sizing.specs.value import Value
from vllm_sizing.specs.workload import Workload

SAFE, RISKY = 0.1, 1 / 3
CAUTIOUS = 2.2  # Deviations that leave a seventh of what `SAFE` allows.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Evaluation(Value):
    """
    What a start with these arguments comes to.

    Attributes:
        fits: It starts, by the middle of the estimates.

        failure_probability: From the intervals of the modelled parts, taken as independent and normal.

        shortfall_bytes: Missing for one request of max_model_len, per GPU; negative: spare.

        refusal: Why it does not start; empty if it does.

        request_less_bytes: That vLLM should request less to start and to capture its graphs safely.
    """

    setup: Setup
    max_model_len: int
    numbers: Numbers
    kv_cache: KvCache
    fits: bool
    failure_probability: float
    shortfall_bytes: int
    refusal: str
    request_less_bytes: int = 0

    @property
    def safe(self) -> bool:
        """
        It starts even at the bad end of the estimates.
        """
        return self.fits and self.failure_probability <= SAFE

    @property
    def oom_risk(self) -> str:
        """
        ``low``, ``medium`` or ``high``: one start in ten fails, one in three, more.
        """
        if not self.fits or self.failure_probability > RISKY:
            return "high"
        return "low" if self.safe else "medium"


def evaluate(
    model: ModelSpec,
    gpu: GpuSpec,
    workload: Workload,
    args: EngineArgs,
    layout: Layout,
    rules: Rules,
    policy: Policy,
    max_model_len: int,
) -> Evaluation:
    """
    Prepare a start and measure it.

    Raises:
        UnsupportedError: vLLM would refuse these settings whatever the memory.
    """
    setup = prepare(model, gpu, args, layout, rules, max_model_len)
    numbers = measure(setup, max_model_len, overhead_bytes=policy.overhead_bytes)
    cache, in_flight = numbers.cache, setup.in_flight_tokens
    needed = cache.blocks_per_request(max_model_len, in_flight)
    reserved = 1 if rules.null_block_checked else 0
    blocks = _num_blocks(numbers, numbers.available_bytes, args)
    blocks_low = _num_blocks(numbers, numbers.available_low, args)
    blocks_high = _num_blocks(numbers, numbers.available_high, args)
    limit = _state_limit(setup, blocks)
    free, free_deviation = _free(setup, policy)
    room, room_deviation = _room(numbers, free, free_deviation)
    spare = free - numbers.memory.requested_bytes
    starts = min(room, spare) >= 0 and _starts(blocks, needed + reserved, cache, setup)
    short = _missing_blocks(numbers, needed + reserved)
    failure = _failure(numbers, setup, short, room, room_deviation)
    usable = max(blocks - reserved, 0)
    longest = cache.longest(usable, in_flight, max_model_len)
    return Evaluation(
        setup=setup,
        max_model_len=max_model_len,
        numbers=numbers,
        kv_cache=_kv_cache(
            setup, cache, blocks, (blocks_low, blocks_high), max_model_len, longest, workload, usable, limit
        ),
        fits=starts,
        failure_probability=1.0 - (1.0 - failure) * _chance(spare, free_deviation),
        shortfall_bytes=max(short if cache.groups else -room, -room, -spare),
        refusal="" if starts else _refusal(setup, numbers, blocks, needed + reserved, limit, room, spare),
        request_less_bytes=max(
            0,
            *(
                int(CAUTIOUS * deviation) - margin
                for margin, deviation in ((room, room_deviation), (spare, free_deviation))
            ),
        ),
    )


def _free(setup: Setup, policy: Policy) -> tuple[int, float]:
    """
    Bytes that are free when vLLM looks for the first time, and their deviation.
    """
    gpu = setup.gpu
    free = gpu.memory_bytes if gpu.free_memory_bytes is None else min(gpu.memory_bytes, gpu.free_memory_bytes)
    if policy.overhead_bytes is not None:
        return free - policy.headroom_bytes, 0.0
    before = bytes_before(gpu, setup.layout.tensor * setup.layout.pipeline, setup.rules)
    return free - policy.headroom_bytes - int(before.mid), (before.high - before.mid) / DEVIATIONS_OF_80_PERCENT


def _failure(numbers: Numbers, setup: Setup, short: int, room: int, room_deviation: float) -> float:
    """
    Probability that the cache comes out too small, or that the graphs find no room.
    """
    if not numbers.cache.groups:
        return 1.0 - _chance(room, room_deviation)
    deviation = (numbers.available_bytes[0] - numbers.available_low[0]) / DEVIATIONS_OF_80_PERCENT
    limit_short = short
    limit = _state_limit(setup, 0)
    if limit is not None:
        limit_short = max(short, _missing_blocks(numbers, setup.max_num_seqs))
    return 1.0 - _chance(-limit_short, deviation) * _chance(room, room_deviation)


def _chance(margin: float, deviation: float) -> float:
    """
    Probability that a margin with such a deviation is not negative.
    """
    if deviation <= 0:
        return 1.0 if margin >= 0 else 0.0
    return 0.5 * (1.0 + math.erf(margin / deviation / math.sqrt(2)))


def _missing_blocks(numbers: Numbers, needed: int) -> int:
    """
    Bytes that the poorest pipeline stage lacks for so many blocks; negative: spare.
    """
    return max(
        needed * size - available
        for available, size in zip(numbers.available_bytes, numbers.cache.bytes_per_block, strict=True)
    )


def _num_blocks(numbers: Numbers, available: tuple[int, ...], args: EngineArgs) -> int:
    blocks = numbers.cache.num_blocks(available)
    if args.num_gpu_blocks_override is not None and blocks > 0:
        return args.num_gpu_blocks_override
    return blocks


def _starts(blocks: int, needed: int, cache: CacheLayout, setup: Setup) -> bool:
    if not cache.groups:
        return True  # kv_cache_planning.py: without layers to cache nothing is asked.
    limit = _state_limit(setup, blocks)
    return blocks > 0 and needed <= blocks and (limit is None or setup.max_num_seqs <= limit)


def _state_limit(setup: Setup, blocks: int) -> int | None:
    """
    Requests that recurrent states allow with full CUDA graphs.

    Source: ``config/compilation.py``: "max_num_seqs exceeds available Mamba cache blocks".
    """
    if not setup.rules.mamba_limit_refused or not setup.capture_sizes:
        return None
    if dict(setup.args.compilation_config or ()).get("cudagraph_mode") in ("PIECEWISE", "piecewise"):
        return None
    if not any(isinstance(layer, RecurrentState) for layer in setup.model.cache_layers):
        return None
    return blocks


def _room(numbers: Numbers, free: int, free_deviation: float) -> tuple[int, float]:
    """
    Bytes left of what was free when the graphs have been captured, last of all, and their deviation.
    """
    memory = numbers.memory
    graphs = memory.cuda_graph_bytes_interval
    taken = (
        memory.weights_bytes_per_gpu + memory.lora_bytes + memory.draft_bytes + memory.non_torch_bytes
        + memory.cuda_graph_bytes + max(memory.kv_cache_bytes, 0)
    )  # fmt: skip
    if numbers.exact or not numbers.cache.groups:
        taken += memory.activation_peak_bytes
    return free - taken, math.hypot((graphs.high - graphs.mid) / DEVIATIONS_OF_80_PERCENT, free_deviation)


def _refusal(setup: Setup, numbers: Numbers, blocks: int, needed: int, limit: int | None, room: int, spare: int) -> str:
    memory = numbers.memory
    if memory.weights_bytes_per_gpu > memory.total_bytes:
        return "weights"
    if spare < 0:
        return "not-free"
    if memory.kv_cache_bytes <= 0 and numbers.cache.groups:
        return "no-kv-memory"
    if needed > blocks:
        return "max-model-len"
    if limit is not None and setup.max_num_seqs > limit:
        return "max-num-seqs"
    return "out-of-memory" if room < 0 else "blocks"


def _kv_cache(
    setup: Setup,
    cache: CacheLayout,
    blocks: int,
    ends: tuple[int, int],
    max_model_len: int,
    longest: int,
    workload: Workload,
    usable: int,
    limit: int | None,
) -> KvCache:
    in_flight = setup.in_flight_tokens
    needed = cache.blocks_per_request(max_model_len, in_flight)
    concurrency = blocks / needed if needed else float(setup.max_num_seqs)
    low, high = (_size_tokens(setup, cache, number, needed, max_model_len) for number in ends)
    mid = _size_tokens(setup, cache, blocks, needed, max_model_len)
    wanted = min(workload.tokens_per_request, max_model_len)
    per_request = cache.blocks_per_request(wanted, in_flight) if cache.groups else 0
    at_workload = usable // per_request if per_request else setup.max_num_seqs
    bytes_per_block = max(cache.bytes_per_block, default=0)
    return KvCache(
        kv_cache_dtype=setup.cache.kv_cache_dtype,
        block_size=cache.block_size,
        num_gpu_blocks=blocks,
        bytes_per_block=bytes_per_block,
        bytes_per_token=_bytes_per_token(cache),
        bytes_per_request=needed * bytes_per_block,
        size_tokens=mid,
        size_tokens_interval=Estimate(low, mid, high, "from the KV memory interval"),
        max_concurrency=concurrency,
        max_model_len_that_fits=longest,
        max_concurrency_at_workload=at_workload,
        max_model_len_at_concurrency=cache.longest(usable // workload.concurrency, in_flight, max_model_len),
        max_num_seqs_limit=limit,
        groups=tuple(
            KvGroup(
                kind=group.pages[0].kind,
                num_layers=group.num_layers,
                block_size=group.pages[0].block_size,
                page_size_bytes=group.pages[0].num_bytes,
                blocks_per_request=cache.group_blocks(group, max_model_len, in_flight),
            )
            for group in cache.groups
        ),
    )


def _size_tokens(setup: Setup, cache: CacheLayout, blocks: int, needed: int, max_model_len: int) -> int:
    """
    What vLLM logs as the cache's size.

    Source: 0.33 ``kv_cache_utils.py:get_kv_cache_capacity``; before 0.20.1 blocks x block size / groups.
    """
    rules = setup.rules
    if not cache.groups:
        return max_model_len * setup.max_num_seqs
    if rules.tokens_by_concurrency:
        return int(blocks / needed * max_model_len)
    sizes = [group.pages[0].block_size for group in cache.groups]
    size = min(sizes) if rules.tokens_min_block else sizes[0]
    return blocks // len(cache.groups) * size * setup.layout.decode_context


def _bytes_per_token(cache: CacheLayout) -> int:
    """
    What one more token of a long request costs: layers that keep every token.
    """
    total = 0.0
    for group in cache.groups:
        for page in group.pages:
            if page.family == "full":
                total += page.num_bytes / page.block_size * len(page.layers) / cache.decode_context
    return round(total)
