"""
Validators of the spec classes: each error names the field, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vllm_sizing.errors import InvalidValueError

Validator = Callable[[Any, Any, Any], None]


def _refuse(attribute: Any, value: object, wanted: str) -> None:
    message = f"{attribute.name} is {value!r}; it must be {wanted}"
    raise InvalidValueError(message, field=attribute.name, value=value)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def positive(_: Any, attribute: Any, value: Any) -> None:
    """
    An int of at least 1.
    """
    if not _is_int(value) or value < 1:
        _refuse(attribute, value, "an integer of at least 1")


def positive_or_none(_: Any, attribute: Any, value: Any) -> None:
    """
    An int of at least 1, or None.
    """
    if value is not None and (not _is_int(value) or value < 1):
        _refuse(attribute, value, "an integer of at least 1, or None")


def not_negative(_: Any, attribute: Any, value: Any) -> None:
    """
    A number of at least 0.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        _refuse(attribute, value, "a number of at least 0")


def not_negative_or_none(_: Any, attribute: Any, value: Any) -> None:
    """
    A number of at least 0, or None.
    """
    if value is not None:
        not_negative(_, attribute, value)


def above_zero_or_none(_: Any, attribute: Any, value: Any) -> None:
    """
    A number above 0, or None.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        _refuse(attribute, value, "a number above 0, or None")


def fraction_or_none(_: Any, attribute: Any, value: Any) -> None:
    """
    A number with 0 < value <= 1, or None.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        _refuse(attribute, value, "above 0 and at most 1")


def text(_: Any, attribute: Any, value: Any) -> None:
    """
    A string that is not empty.
    """
    if not isinstance(value, str) or not value:
        _refuse(attribute, value, "text")


def instance(kind: type) -> Validator:
    """
    A value of this class.
    """

    def check(_: Any, attribute: Any, value: Any) -> None:
        if not isinstance(value, kind):
            _refuse(attribute, value, f"a {kind.__name__}")

    return check


def one_of(*allowed: str, or_none: bool = False) -> Validator:
    """
    One of the given words (or None).
    """

    def check(_: Any, attribute: Any, value: Any) -> None:
        if value in allowed or (or_none and value is None):
            return
        _refuse(attribute, value, "one of " + ", ".join(allowed))

    return check
