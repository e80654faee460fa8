"""
The lines that vLLM will log at start, to hold against the real ones.

Source: vLLM 0.10 to 0.33 ``v1/worker/gpu_model_runner.py``, ``gpu_worker.py``, ``v1/core/kv_cache_utils.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.units import GIB

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Estimate, Plan


def log_lines(plan: Plan) -> str:
    """
    What vLLM of the plan's version will log about memory; a comment follows each modelled line.

    Sizes that vLLM measures carry their 80 % interval; exact ones need none.
    """
    memory, cache, args = plan.memory, plan.kv_cache, plan.engine_args
    release = _release(plan.vllm_version)
    loaded = memory.weights_bytes_per_gpu + memory.lora_bytes + memory.draft_bytes + memory.loading_bytes_per_gpu
    word = " memory" if release > (0, 11, 0) else ""
    lines = [f"Model loading took {_loaded(loaded, release)} GiB{word} and ... seconds"]
    interval = memory.kv_cache_bytes_interval
    lines += [f"Available KV cache memory: {_gib(memory.kv_cache_bytes)} GiB", *_comment(interval, GIB, "GiB")]
    if memory.kv_cache_bytes <= 0:
        return "\n".join([*lines, "ValueError: No available memory for the cache blocks. ...", ""])
    length = args.max_model_len or plan.model.max_model_len
    if not plan.fits and cache.max_model_len_that_fits < length:
        needed, room = _gib(cache.bytes_per_request), _gib(memory.kv_cache_bytes)
        lines.append(
            f"ValueError: To serve at least one request with the model's max seq len ({length}), ({needed} GiB KV "
            f"cache is needed, which is larger than the available KV cache memory ({room} GiB). Based on the "
            f"available memory, the estimated maximum model length is {cache.max_model_len_that_fits}. ..."
        )
        return "\n".join([*lines, ""])
    size = f"GPU KV cache size: {cache.size_tokens:,} tokens"
    concurrency = f"Maximum concurrency for {length:,} tokens per request: {cache.max_concurrency:.2f}x"
    lines += [f"{size}, {concurrency}"] if release >= (0, 28, 0) else [size, concurrency]
    lines += _comment(cache.size_tokens_interval, 1, "tokens")
    if not args.enforce_eager:
        graphs = memory.cuda_graph_bytes_interval
        lines += [f"Graph capturing finished in ... secs, took {_gib(memory.cuda_graph_bytes)} GiB"]
        lines += _comment(graphs, GIB, "GiB")
    return "\n".join([*lines, ""])


def _release(version: str) -> tuple[int, int, int]:
    from vllm_sizing.sizing.defaults import parse_version

    return parse_version(version)


def _gib(num_bytes: float) -> str:
    """
    As vLLM's ``format_gib`` prints it: two decimals, no trailing zeros.
    """
    return f"{round(num_bytes / GIB, 2)}"


def _loaded(num_bytes: int, release: tuple[int, int, int]) -> str:
    return _gib(num_bytes) if release >= (0, 14, 0) else f"{num_bytes / GIB:.4f}"


def _comment(interval: Estimate, unit: int, name: str) -> list[str]:
    if interval.low == interval.high:
        return []
    digits = 2 if unit > 1 else 0
    low, high = (f"{value / unit:,.{digits}f}" for value in (interval.low, interval.high))
    return [f"  # 80 %: {low} to {high} {name}"]
