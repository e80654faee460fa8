"""
What to write instead of flags that are gone and of values that people take for vLLM's.

The hints of ``flags.tsv`` say it in words; here it is done, where it can be done without a guess.
"""

from __future__ import annotations

import re
from json import dumps, loads
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vllm_sizing.catalog.flags import Flag, Release

Words = tuple[str, ...]

# Values that other programs use, by vLLM's argument.
_VALUES = {
    "dtype": {"fp16": "float16", "f16": "float16", "bf16": "bfloat16", "fp32": "float32"},
    "kv_cache_dtype": {"fp16": "float16", "bf16": "bfloat16", "fp8_e4m3fn": "fp8_e4m3", "fp8e4m3": "fp8_e4m3"},
}
_TASKS = {
    "auto": (),
    "generate": (),
    "transcription": (),
    "embed": ("--runner", "pooling", "--convert", "embed"),
    "embedding": ("--runner", "pooling", "--convert", "embed"),
    "classify": ("--runner", "pooling", "--convert", "classify"),
    "score": ("--runner", "pooling", "--convert", "classify"),
    "reward": ("--runner", "pooling"),
}
_SPECULATIVE = {
    "--speculative-model": "model",
    "--num-speculative-tokens": "num_speculative_tokens",
    "--speculative-max-model-len": "max_model_len",
    "--speculative-draft-tensor-parallel-size": "draft_tensor_parallel_size",
    "--speculative-disable-by-batch-size": "disable_by_batch_size",
    "--ngram-prompt-lookup-max": "prompt_lookup_max",
    "--ngram-prompt-lookup-min": "prompt_lookup_min",
    "--spec-method": "method",
    "--spec-model": "model",
    "--spec-tokens": "num_speculative_tokens",
}
_EPLB = {
    "--num-redundant-experts": "num_redundant_experts",
    "--eplb-window-size": "window_size",
    "--eplb-step-interval": "step_interval",
}
# Gone without a trace: the words go, and nothing changes.
_NOTHING = frozenset(
    [
        "--swap-space",
        "--device",
        "--disable-log-requests",
        "--enable-reasoning",
        "--num-scheduler-steps",
        "--use-v2-block-manager",
        "--multi-step-stream-outputs",
        "--disable-frontend-multiprocessing",
        "--disable-async-output-proc",
        "--preemption-mode",
        "--num-lookahead-slots",
        "--scheduler-delay-factor",
        "--max-num-partial-prefills",
        "--max-long-partial-prefills",
        "--enable-lora-bias",
        "--lora-extra-vocab-size",
        "--long-lora-scaling-factors",
        "--override-attention-dtype",
        "--tokenizer-pool-size",
        "--tokenizer-pool-type",
        "--tokenizer-pool-extra-config",
        "--max-seq-len-to-capture",
        "--max-context-len-to-capture",
        "--disable-logprobs-during-spec-decoding",
        "--speculative-disable-mqa-scorer",
        "--enable-bf16x3-router-gemm",
        "--use-gpu-for-pooling-score",
        "--calculate-kv-scales",
        "--guided-decoding-disable-fallback",
        "--spec-decoding-acceptance-method",
        "--typical-acceptance-sampler-posterior-alpha",
        "--typical-acceptance-sampler-posterior-threshold",
        "--override-neuron-config",
    ]
)


def replace_flag(name: str, values: Sequence[str]) -> Words | None:
    """
    The words that say in a new release what a flag of an old one said; None if that is not known.

    Words for one JSON flag come apart (``--speculative-config.model m``), so that several old flags
    become one.

    >>> replace_flag("--task", ["embed"])
    ('--runner', 'pooling', '--convert', 'embed')
    >>> replace_flag("--swap-space", ["4"]), replace_flag("--prompt-adapters", ["a"])
    ((), None)
    """
    if name in _NOTHING:
        return ()
    value = values[0] if values else ""
    if name in _SPECULATIVE:
        if value == "[ngram]":
            return ("--speculative-config.method", "ngram")
        return (f"--speculative-config.{_SPECULATIVE[name]}", value) if value else None
    if name in _EPLB:
        return (f"--eplb-config.{_EPLB[name]}", value) if value else None
    replace = _REPLACED.get(name)
    return replace(values) if replace else None


def _task(values: Sequence[str]) -> Words | None:
    return _TASKS.get(values[0]) if values else None


def _graph_sizes(values: Sequence[str]) -> Words | None:
    if not values:
        return None
    return ("--max-cudagraph-capture-size", *values) if len(values) == 1 else ("--cudagraph-capture-sizes", *values)


def _rope(values: Sequence[str]) -> Words | None:
    try:
        parameters = loads(values[0])
    except (ValueError, IndexError, RecursionError):
        return None
    return ("--hf-overrides", dumps({"rope_parameters": parameters}))


def _same(words: Words, takes: int = 1) -> Callable[[Sequence[str]], Words | None]:
    return lambda values: (*words, *values) if len(values) == takes else None


_REPLACED: dict[str, Callable[[Sequence[str]], Words | None]] = {
    "--task": _task,
    "--cuda-graph-sizes": _graph_sizes,
    "--rope-scaling": _rope,
    "--rope-theta": _same(("--hf-overrides.rope_parameters.rope_theta",)),
    "--guided-decoding-backend": _same(("--structured-outputs-config.backend",)),
    "--override-pooler-config": _same(("--pooler-config",)),
    "--disable-mm-preprocessor-cache": _same(("--mm-processor-cache-gb", "0"), 0),
    "--enable-multimodal-encoder-data-parallel": _same(("--mm-encoder-tp-mode", "data"), 0),
    "--worker-use-ray": _same(("--distributed-executor-backend", "ray"), 0),
    "--engine-use-ray": _same(("--distributed-executor-backend", "ray"), 0),
    "--enable-mamba-fine-grained-prefix-cache": _same(("--enable-mamba-shared-prefix-checkpoint",), 0),
    "--expand-tools-even-if-tool-choice-none": _same(("--no-exclude-tools-when-tool-choice-none",), 0),
}


def replace_value(flag: Flag, values: Sequence[str], release: Release) -> Words | None:
    """
    The words for a flag whose value is another program's, or is written as vLLM does not read it.

    >>> from vllm_sizing.catalog.flags import NEWEST, check_flag
    >>> replace_value(check_flag("dtype", "0.33.0"), ["bf16"], NEWEST)
    ('--dtype', 'bfloat16')
    >>> replace_value(check_flag("limit_mm_per_prompt", "0.33.0"), ["image=2,video=0"], NEWEST)
    ('--limit-mm-per-prompt', '{"image": 2, "video": 0}')
    """
    if flag.kind in ("switch", "set") and len(values) == 1 and values[0].lower() in ("true", "false", "1", "0"):
        if values[0].lower() in ("true", "1"):
            return (flag.name,)
        return (f"--no-{flag.name[2:]}",) if flag.kind == "switch" else ()
    if len(values) != 1:
        return None
    value = values[0].strip()
    if known := _VALUES.get(flag.dest, {}).get(value.lower()):
        return (flag.name, known)
    if flag.kind == "json" and re.fullmatch(r"[a-z_]+=[0-9]{1,6}(,[a-z_]+=[0-9]{1,6})*", value):
        pairs = (pair.split("=") for pair in value.split(","))
        return (flag.name, dumps({key: int(number) for key, number in pairs}))
    if flag.dest in ("allowed_origins", "allowed_methods", "allowed_headers") and re.fullmatch(r"[\w.:/*-]+", value):
        return (flag.name, dumps([value]))
    if flag.kind == "ints" and re.fullmatch(r"[0-9]{1,9}(\s*,\s*[0-9]{1,9})*", value):
        return (flag.name, *re.split(r"\s*,\s*", value))
    if flag.dest == "gpu_memory_utilization" and re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,4})?%", value):
        return (flag.name, f"{float(value[:-1]) / 100:g}")
    return None
