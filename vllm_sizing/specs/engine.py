"""
vLLM's engine arguments under vLLM's own names.

Only what the user fixes is set; None means that the planner (or vLLM's default) decides.
Names, meaning and spelling follow ``vllm serve`` of vLLM 0.33 (``engine/arg_utils.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any

import attrs

from vllm_sizing.errors import InvalidValueError
from vllm_sizing.specs.checks import (
    fraction_or_none,
    not_negative_or_none,
    one_of,
    positive_or_none,
)
from vllm_sizing.specs.value import Value


class JsonObject(tuple[tuple[str, Any], ...]):
    """
    A JSON object that can be hashed: its items, sorted by name.  ``dict()`` of it is one level.
    """

    __slots__ = ()


DEEPEST = 64


def thaw(value: Any) -> Any:
    """
    A frozen JSON value as plain dicts and lists.

    >>> thaw(EngineArgs(limit_mm_per_prompt={"image": 2}).limit_mm_per_prompt)
    {'image': 2}
    """
    if isinstance(value, JsonObject):
        return {name: thaw(item) for name, item in value}
    if isinstance(value, tuple):
        return [thaw(item) for item in value]
    return value


def _freeze(value: Any, depth: int = 0) -> Any:
    if depth > DEEPEST:
        message = f"a setting is JSON nested deeper than {DEEPEST} levels; no setting of vLLM is"
        raise InvalidValueError(message, field="engine_args", value=None)
    if isinstance(value, Mapping):
        items = {str(name): _freeze(item, depth + 1) for name, item in value.items()}
        return JsonObject((name, items[name]) for name in sorted(items))
    if isinstance(value, (list, tuple)) and not isinstance(value, JsonObject):
        return tuple(_freeze(item, depth + 1) for item in value)
    finite = not isinstance(value, float) or value - value == 0
    if not finite or not isinstance(value, (str, int, float, JsonObject, NoneType)):
        message = f"{value!r} cannot stand in JSON; use text, finite numbers, true, false, lists and objects"
        raise InvalidValueError(message, field="engine_args", value=value)
    return value


def _model_len(_: Any, attribute: Any, value: Any) -> None:
    if value == -1:
        return
    positive_or_none(_, attribute, value)


def _int() -> Any:
    return attrs.field(default=None, validator=positive_or_none)


def _number() -> Any:
    return attrs.field(default=None, validator=not_negative_or_none)


def _switch() -> Any:
    return attrs.field(default=None, validator=attrs.validators.optional(_boolean))


def _boolean(_: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, bool):
        message = f"{attribute.name} is {value!r}; it must be True or False"
        raise InvalidValueError(message, field=attribute.name, value=value)


def _text() -> Any:
    return attrs.field(default=None, validator=attrs.validators.optional(_string))


def _string(_: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, str) or not value:
        message = f"{attribute.name} is {value!r}; it must be a word"
        raise InvalidValueError(message, field=attribute.name, value=value)


def _mapping() -> Any:
    return attrs.field(default=None, converter=_freeze, validator=attrs.validators.optional(_object))


def _object(_: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, JsonObject):
        message = f'{attribute.name} is {value!r}; it must be a JSON object with names, such as {{"name": 1}}'
        raise InvalidValueError(message, field=attribute.name, value=value)


def _words() -> Any:
    return attrs.field(default=None, converter=_freeze, validator=attrs.validators.optional(_list_of_words))


def _list_of_words(_: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, tuple) or not value or not all(isinstance(word, str) and word for word in value):
        message = f"{attribute.name} is {value!r}; it must be a list of words"
        raise InvalidValueError(message, field=attribute.name, value=value)


def _counts(_: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, tuple) or not value:
        message = f"{attribute.name} is {value!r}; it must be a list of integers"
        raise InvalidValueError(message, field=attribute.name, value=value)
    for number in value:
        positive_or_none(_, attribute, number)


def _separate_words(words: Iterable[str]) -> tuple[str, ...]:
    separate = () if isinstance(words, str) else tuple(words)
    if isinstance(words, str) or not all(isinstance(word, str) for word in separate):
        message = f"extra_args is {words!r}; it must be a list of words, for example ['--seed', '7']"
        raise InvalidValueError(message, field="extra_args", value=words)
    return separate


def _level(_: Any, attribute: Any, value: Any) -> None:
    if value is not None and (type(value) is not int or not 0 <= value <= 3):
        message = f"{attribute.name} is {value!r}; it must be 0, 1, 2 or 3"
        raise InvalidValueError(message, field=attribute.name, value=value)


DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class EngineArgs(Value):
    """
    The flags of ``vllm serve`` that change memory, speed or placement.

    Attributes:
        max_model_len: Longest request in tokens, prompt and answer; -1 is vLLM's ``auto``.

        extra_args: Further words for the command line, as given; checked against the flag table.
    """

    # model
    served_model_name: str | None = _text()
    revision: str | None = _text()
    trust_remote_code: bool | None = _switch()
    runner: str | None = attrs.field(
        default=None, validator=one_of("auto", "generate", "pooling", "draft", or_none=True)
    )
    convert: str | None = _text()
    dtype: str | None = attrs.field(default=None, validator=one_of(*DTYPES, or_none=True))
    quantization: str | None = _text()
    max_model_len: int | None = attrs.field(default=None, validator=_model_len)
    enforce_eager: bool | None = _switch()
    language_model_only: bool | None = _switch()
    limit_mm_per_prompt: Any = _mapping()
    mm_processor_kwargs: Any = _mapping()
    skip_mm_profiling: bool | None = _switch()
    mm_encoder_only: bool | None = _switch()
    mm_encoder_tp_mode: str | None = attrs.field(default=None, validator=one_of("weights", "data", or_none=True))
    hf_overrides: Any = _mapping()
    # parallel layout
    tensor_parallel_size: int | None = _int()
    pipeline_parallel_size: int | None = _int()
    data_parallel_size: int | None = _int()
    data_parallel_size_local: int | None = _int()
    prefill_context_parallel_size: int | None = _int()
    decode_context_parallel_size: int | None = _int()
    enable_expert_parallel: bool | None = _switch()
    all2all_backend: str | None = _text()
    nnodes: int | None = _int()
    distributed_executor_backend: str | None = _text()
    # memory and cache
    gpu_memory_utilization: float | None = attrs.field(default=None, validator=fraction_or_none)
    kv_cache_memory_bytes: int | None = _int()
    kv_cache_dtype: str | None = _text()
    kv_cache_dtype_skip_layers: Any = _words()
    block_size: int | None = _int()
    num_gpu_blocks_override: int | None = _int()
    enable_prefix_caching: bool | None = _switch()
    disable_hybrid_kv_cache_manager: bool | None = _switch()
    mamba_cache_mode: str | None = attrs.field(default=None, validator=one_of("none", "all", "align", or_none=True))
    mamba_cache_dtype: str | None = attrs.field(
        default=None, validator=one_of("auto", "float16", "bfloat16", "float32", or_none=True)
    )
    mamba_ssm_cache_dtype: str | None = attrs.field(
        default=None, validator=one_of("auto", "float16", "bfloat16", "float32", or_none=True)
    )
    mamba_block_size: int | None = _int()
    cpu_offload_gb: float | None = _number()
    kv_offloading_size: float | None = _number()
    # scheduling
    max_num_seqs: int | None = _int()
    max_num_batched_tokens: int | None = _int()
    enable_chunked_prefill: bool | None = _switch()
    async_scheduling: bool | None = _switch()
    performance_mode: str | None = attrs.field(
        default=None, validator=one_of("balanced", "interactivity", "throughput", or_none=True)
    )
    # kernels
    attention_backend: str | None = _text()
    moe_backend: str | None = _text()
    optimization_level: int | None = attrs.field(default=None, validator=_level)
    compilation_config: Any = _mapping()
    cudagraph_capture_sizes: Any = attrs.field(
        default=None, converter=_freeze, validator=attrs.validators.optional(_counts)
    )
    max_cudagraph_capture_size: int | None = _int()
    # additions
    enable_lora: bool | None = _switch()
    max_loras: int | None = _int()
    max_lora_rank: int | None = _int()
    lora_dtype: str | None = _text()
    fully_sharded_loras: bool | None = _switch()
    speculative_config: Any = _mapping()
    extra_args: tuple[str, ...] = attrs.field(default=(), converter=_separate_words)

    def fixed(self) -> dict[str, Any]:
        """
        The arguments that are set, by name.

        >>> EngineArgs(max_model_len=4096).fixed()
        {'max_model_len': 4096}
        """
        values = {name: getattr(self, name) for name in _NAMES if name != "extra_args" or self.extra_args}
        return {name: value for name, value in values.items() if value is not None}


_NAMES = tuple(field.name for field in attrs.fields(EngineArgs))
