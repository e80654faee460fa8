"""
Reading a config.json: every value is checked for type and range, every fault names its path.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from vllm_sizing.errors import ConfigError

MAX_INT = 2**40
MAX_LAYERS = 1024  # The deepest public models have 126; a bound keeps hostile configs cheap.
_MISSING: Any = object()
_T = TypeVar("_T")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


class Config:
    """
    A config.json, or a section of one.

    Every reader takes alternative keys: the first that is present and not null counts.
    """

    __slots__ = ("data", "path")

    def __init__(self, data: object, path: str = "") -> None:
        if not isinstance(data, Mapping):
            where = path or "config.json"
            message = f"{where} is {_shown(data)}; it must be a JSON object"
            raise ConfigError(message, field=path, value=data)
        self.data: Mapping[str, Any] = data
        self.path = path

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _find(self, keys: tuple[str, ...]) -> tuple[str, Any]:
        for key in keys:
            value = self.data.get(key)
            if value is not None:
                return key, value
        return keys[0], None

    def refuse(self, key: str, wanted: str) -> ConfigError:
        """
        The error for a value that is missing or wrong.
        """
        value = self.data.get(key)
        found = "is missing" if value is None else f"is {_shown(value)}"
        name = self._at(key)
        return ConfigError(f"config.json: {name} {found}; it must be {wanted}", field=name, value=value)

    def over(self, defaults: Mapping[str, Any]) -> Config:
        """
        The same section with a config class's defaults behind it; an explicit null stays null.
        """
        return Config({**defaults, **self.data}, self.path)

    def changed(self, **values: Any) -> Config:
        """
        The same section with other values.
        """
        return Config({**self.data, **values}, self.path)

    def has(self, *keys: str) -> bool:
        """
        Whether one of the keys has a value.
        """
        return any(self.data.get(key) is not None for key in keys)

    def integer(self, *keys: str, default: _T = _MISSING, minimum: int = 1, maximum: int = MAX_INT) -> int | _T:
        """
        An integer within bounds; 32.0 counts as one.
        """
        key, value = self._find(keys)
        if value is None and default is not _MISSING:
            return default
        if isinstance(value, float) and value.is_integer() and abs(value) < MAX_INT:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise self.refuse(key, f"an integer from {minimum:,} to {maximum:,}")
        return value

    def required(self, *keys: str, minimum: int = 1, maximum: int = MAX_INT) -> int:
        """
        An integer that must be there.
        """
        value: int = self.integer(*keys, minimum=minimum, maximum=maximum)
        return value

    def automatic(self, key: str) -> int | None:
        """
        An integer; None where it is missing or the word ``auto``.
        """
        return None if self.data.get(key) == "auto" else self.integer(key, default=None)

    def num_layers(self, *keys: str) -> int:
        """
        A number of layers.
        """
        return self.required(*(keys or ("num_hidden_layers", "n_layer", "num_layers")), maximum=MAX_LAYERS)

    def number(self, *keys: str, default: float) -> float:
        """
        A finite number.
        """
        key, value = self._find(keys)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise self.refuse(key, "a number")
        if abs(value) > 2**60:
            raise self.refuse(key, "a number below 2**60")
        return float(value)

    def flag(self, *keys: str, default: bool) -> bool:
        """
        true or false.
        """
        key, value = self._find(keys)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refuse(key, "true or false")
        return value

    def text(self, *keys: str, default: str = "") -> str:
        """
        A string.
        """
        key, value = self._find(keys)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.refuse(key, "a string")
        return value

    def section(self, *keys: str) -> Config | None:
        """
        A nested object, or None.
        """
        key, value = self._find(keys)
        return None if value is None else Config(value, self._at(key))

    def needed_section(self, *keys: str) -> Config:
        """
        A nested object that must be there.
        """
        found = self.section(*keys)
        if found is None:
            raise self.refuse(keys[0], "a JSON object")
        return found

    def items(self, *keys: str, maximum: int = MAX_LAYERS) -> list[Any] | None:
        """
        A list, or None.
        """
        key, value = self._find(keys)
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or len(value) > maximum:
            raise self.refuse(key, f"a list of at most {maximum} entries")
        return list(value)

    def integers(self, *keys: str, minimum: int = 0, maximum: int = MAX_INT) -> list[int] | None:
        """
        A list of integers, or None.
        """
        values = self.items(*keys)
        if values is None:
            return None
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
                raise self.refuse(self._find(keys)[0], "a list of integers in range")
        return values

    def words(self, *keys: str) -> list[str] | None:
        """
        A list of strings, or None.
        """
        values = self.items(*keys)
        if values is None:
            return None
        if not all(isinstance(value, str) for value in values):
            raise self.refuse(self._find(keys)[0], "a list of strings")
        return values

    def layer_types(self, num_layers: int, key: str = "layer_types") -> list[str] | None:
        """
        A list with one word per layer, or None.
        """
        values = self.words(key)
        if values is not None and len(values) < num_layers:
            raise self.refuse(key, f"a list of {num_layers} strings, one for each layer")
        return None if values is None else values[:num_layers]
