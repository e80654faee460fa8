"""
What all frozen values share, written once: equality, hash and repr.

attrs can generate these for each class, but compiling them is more than half of what a class costs
at import, and a plan from the command line is mostly imports.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

# The names of a class's fields, and what reads them all at once.
_FIELDS: dict[type, tuple[tuple[str, ...], Callable[[Any], Any]]] = {}


class Value:
    """
    Base of the frozen attrs classes; the same meaning as attrs' own methods, the hash kept.
    """

    __slots__ = ("_hash",)
    __attrs_attrs__: tuple[Any, ...]

    def __eq__(self, other: object) -> bool:
        """
        Same class and equal fields.
        """
        if self is other:
            return True
        if other.__class__ is not self.__class__:
            return NotImplemented
        _, read = _fields(self.__class__)
        return bool(read(self) == read(other))

    def __hash__(self) -> int:
        try:
            known: int = object.__getattribute__(self, "_hash")
        except AttributeError:
            _, read = _fields(self.__class__)
            known = hash((self.__class__, read(self)))
            object.__setattr__(self, "_hash", known)
        return known

    def __repr__(self) -> str:
        fields = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in self.__attrs_attrs__)
        return f"{self.__class__.__qualname__}({fields})"

    def replaced(self, **changes: Any) -> Self:
        """
        A copy with other fields, which are not checked again: for values that the planner itself worked out.

        >>> from vllm_sizing.specs.engine import EngineArgs
        >>> EngineArgs(max_model_len=4096).replaced(max_num_seqs=8).fixed()
        {'max_model_len': 4096, 'max_num_seqs': 8}
        """
        copy = object.__new__(self.__class__)
        put = object.__setattr__
        names, read = _fields(self.__class__)
        values = read(self) if len(names) > 1 else (read(self),)
        for name, value in zip(names, values, strict=True):
            put(copy, name, value)
        for name, value in changes.items():
            put(copy, name, value)  # No such field: an AttributeError.
        return copy


def _fields(cls: type[Value]) -> tuple[tuple[str, ...], Callable[[Any], Any]]:
    found = _FIELDS.get(cls)
    if found is None:
        names = tuple(field.name for field in cls.__attrs_attrs__)
        found = _FIELDS[cls] = (names, attrgetter(*names) if names else type)
    return found
