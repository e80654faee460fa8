"""
Plans and requests to and from plain data: dicts, lists, text and numbers, as JSON and YAML have them.

Names are the API's.  Writing is a walk over attrs fields and needs no cattrs: a process that prints one
plan should not pay for building a converter (some 40 ms for these classes).  Reading does use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from math import isfinite
from typing import TYPE_CHECKING, Any, get_args, get_origin

import attrs

from vllm_sizing.errors import InvalidValueError, SizingError
from vllm_sizing.specs.engine import JsonObject
from vllm_sizing.specs.model import CacheLayer
from vllm_sizing.specs.plan import Plan
from vllm_sizing.specs.request import PlanRequest

if TYPE_CHECKING:
    from cattrs import Converter

# What a model is made of: thousands of lines that only a planner reads.
_MODEL_PARTS = ("tensors", "cache_layers", "encoders", "draft", "score")
# Properties of a plan that readers of its JSON want without computing them.
_PROPERTIES = ("num_gpus", "gpu")
# Which class a cache layer is, the one choice that its fields do not tell.
_TAG = "type"


def plan_to_dict(plan: Plan, *, full: bool = False) -> dict[str, Any]:
    """
    A plan as plain data, fields in the order of the classes.

    Args:
        full: With the model's tensors and cache layers; `plan_from_dict` needs them.

    Raises:
        InvalidValueError: A number is infinite or not a number, which JSON cannot say.

    >>> import vllm_sizing as vs
    >>> plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> plan_to_dict(plan)["kv_cache"]["size_tokens"] == plan.kv_cache.size_tokens
    True
    """
    data: dict[str, Any] = _plain(plan)
    if not full:
        for name in _MODEL_PARTS:
            del data["model"][name]
    data |= {name: _plain(getattr(plan, name)) for name in _PROPERTIES}
    return {name: data.pop(name) for name in ("fits", "oom_risk", "shortfall_bytes", *_PROPERTIES)} | data


def plan_from_dict(data: Mapping[str, Any]) -> Plan:
    """
    The plan that ``plan_to_dict(plan, full=True)`` wrote.

    Raises:
        InvalidValueError: With every fault, each as ``message @ $.path``.

    >>> import vllm_sizing as vs
    >>> plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> plan_from_dict(plan_to_dict(plan, full=True)) == plan
    True
    """
    model = data.get("model")
    if isinstance(model, Mapping) and "tensors" not in model:
        message = "this plan was written without its model's tensors; write it with full=True to read it back"
        raise InvalidValueError(message, field="model.tensors")
    plan: Plan = _structure({key: value for key, value in data.items() if key not in _PROPERTIES}, Plan)
    return plan


def request_to_dict(request: PlanRequest) -> dict[str, Any]:
    """
    A request as plain data; what is left open (None, nothing) is left out.

    >>> request_to_dict(PlanRequest(model="Qwen/Qwen3-8B", gpu="l4", num_gpus=2))["num_gpus"]
    2
    """
    data: dict[str, Any] = _plain(request, sparse=True)
    return data


def request_from_dict(data: Mapping[str, Any]) -> PlanRequest:
    """
    The request in plain data; a key that is absent has its default.

    >>> request_from_dict({"model": "Qwen/Qwen3-8B", "workload": {"concurrency": 8}}).workload.concurrency
    8

    Raises:
        InvalidValueError: With every fault, each as ``message @ $.path``.
    """
    request: PlanRequest = _structure(data, PlanRequest)
    return request


def to_plain(value: Any) -> Any:
    """
    Any of the API's values, or several, as plain data.

    >>> from vllm_sizing.specs.workload import LatencyTarget
    >>> to_plain([LatencyTarget(ttft_ms=500)])
    [{'ttft_ms': 500, 'tpot_ms': None, 'e2el_ms': None}]
    """
    return _plain(value)


def _plain(value: Any, *, sparse: bool = False) -> Any:
    if isinstance(value, float) and not isfinite(value):
        message = f"{value} cannot be written as JSON; every number of a plan must be finite"
        raise InvalidValueError(message, value=value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (Mapping, JsonObject)):
        return {name: _plain(item) for name, item in dict(value).items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(value)
    return _fields(value, sparse=sparse)


def _fields(value: Any, *, sparse: bool) -> dict[str, Any]:
    data: dict[str, Any] = {_TAG: type(value).__name__} if isinstance(value, CacheLayer) else {}
    for field in attrs.fields(type(value)):
        item = getattr(value, field.name)
        if sparse and (item is None or item == () == field.default):
            continue
        if item is not None and _holds_pairs(field.type):
            item = dict(item)
        plain = _plain(item, sparse=sparse)
        if not (sparse and plain == {} and attrs.has(type(item))):
            data[field.name] = plain
    return data


def _holds_pairs(annotation: Any) -> bool:
    """
    A tuple of (name, value) is written as an object.  Annotations are text until cattrs resolves them.
    """
    if isinstance(annotation, str):
        return annotation.startswith("tuple[tuple[str, ")
    inner = get_args(annotation)[:1]
    return get_origin(annotation) is tuple and bool(inner) and get_args(inner[0])[:1] == (str,)


def _structure(data: Any, cls: type) -> Any:
    from cattrs import BaseValidationError, transform_error

    try:
        return _converter().structure(data, cls)
    except (BaseValidationError, SizingError) as error:
        faults = transform_error(error, format_exception=_words)
    paths = [fault.rpartition(" @ $")[2].removeprefix(".") for fault in faults]
    raise InvalidValueError(" | ".join(faults), field=paths[0])


def _words(error: BaseException, _: Any) -> str:
    from cattrs import ForbiddenExtraKeysError

    if isinstance(error, SizingError):
        return error.message
    if isinstance(error, KeyError):
        return "this key is missing; add it"
    if isinstance(error, ForbiddenExtraKeysError):
        return ", ".join(_unknown(str(key), error.cl) for key in sorted(error.extra_fields, key=str))
    return str(error) or type(error).__name__


def _unknown(key: str, cls: type) -> str:
    from difflib import get_close_matches

    names = {field.name: field.name for field in attrs.fields(cls)}
    inner = {
        name.name: f"{field.name}.{name.name}"
        for field in attrs.fields(cls)
        if attrs.has(field.type)
        for name in attrs.fields(field.type)
    }
    spelt = key.replace("-", "_").lower()
    for known in (names, inner):
        if near := get_close_matches(spelt, known, n=1):
            return f"unknown key {key!r}: did you mean {known[near[0]]!r}?"
    return f"unknown key {key!r}: the keys here are " + ", ".join(names)


@cache
def _converter() -> Converter:
    from cattrs import Converter

    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind, words in ((bool, "true or false"), (int, "an integer"), (float, "a number"), (str, "text")):
        converter.register_structure_hook(kind, partial(_primitive, kind, words))
    converter.register_structure_hook_func(lambda kind: kind is object, lambda value, _: _frozen(value))
    converter.register_structure_hook_factory(attrs.has, partial(_class_hook, converter))
    converter.register_structure_hook(CacheLayer, partial(_cache_layer, converter))
    return converter


def _primitive(kind: type, words: str, value: Any, _: Any) -> Any:
    """
    Only what is of the kind: cattrs would call ``int("5")`` and ``bool("no")``.
    """
    allowed = (int, float) if kind is float else kind
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not isinstance(value, allowed) or (kind in {int, float} and not is_number):
        raise _refusal(value, words)
    return kind(value)


def _refusal(value: Any, words: str) -> InvalidValueError:
    from reprlib import repr as short

    return InvalidValueError(f"{short(value)} is not {words}", value=value)


def _cache_layer(converter: Converter, value: Any, _: Any) -> Any:
    classes = {cls.__name__: cls for cls in get_args(CacheLayer)}
    kind = value.get(_TAG) if isinstance(value, Mapping) else None
    if kind not in classes:
        raise _refusal(kind, f"the type of a cache layer; these are {', '.join(classes)}")
    return converter.structure({name: item for name, item in value.items() if name != _TAG}, classes[kind])


def _class_hook(converter: Converter, cls: Any) -> Any:
    from cattrs.gen import make_dict_structure_fn, override

    attrs.resolve_types(cls)
    overrides: dict[str, Any] = {
        field.name: override(struct_hook=partial(_field, converter, field)) for field in attrs.fields(cls)
    }
    read = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True, **overrides)

    def hook(value: Any, kind: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _refusal(value, "an object with keys and values")
        return read(dict(value), kind)

    return hook


def _field(converter: Converter, field: Any, value: Any, _: Any) -> Any:
    """
    One field, with its validator: the class would stop at the first fault, here each has its path.
    """
    origin = get_origin(field.type)
    if _holds_pairs(field.type) and isinstance(value, Mapping):
        value = list(value.items())
    if origin in {tuple, frozenset} and not isinstance(value, (list, tuple)):
        raise _refusal(value, "a list")
    value = converter.structure(value, field.type)
    if field.converter is not None:
        value = field.converter(value)
    if field.validator is not None:
        field.validator(None, field, value)
    return value


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return JsonObject((name, _frozen(item)) for name, item in sorted(value.items()))
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return value
