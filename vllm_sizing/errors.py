"""
What can go wrong, as exceptions that carry their facts.

Everything raised on purpose is a `SizingError`.  A call that makes no sense is also a
`ValueError`, so that code which knows nothing of us can catch it.
"""

from __future__ import annotations

from typing import Any


class SizingError(Exception):
    """
    Base of everything that vllm_sizing raises on purpose.

    Attributes:
        message: One line: what is wrong, the value, and the way out.
    """

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        vars(self).update(facts)


class InvalidValueError(SizingError, ValueError):
    """
    A parameter has a value that cannot be meant.

    Attributes:
        field: Name of the parameter, under vLLM's name where it is vLLM's flag.
        value: What was given.
    """

    field: str
    value: object

    def __init__(self, message: str, *, field: str = "", value: object = None) -> None:
        super().__init__(message, field=field, value=value)


class ConfigError(SizingError, ValueError):
    """
    A config.json (or a file beside it) is not what its architecture needs.

    Attributes:
        field: Dotted path inside the file, for example ``text_config.hidden_size``.
        value: What stands there.
    """

    field: str
    value: object

    def __init__(self, message: str, *, field: str = "", value: object = None) -> None:
        super().__init__(message, field=field, value=value)


class UnknownArchitectureError(SizingError, ValueError):
    """
    The architecture named by config.json is not modelled.

    Attributes:
        architecture: The name in ``architectures``.
    """

    architecture: str

    def __init__(self, message: str, *, architecture: str = "") -> None:
        super().__init__(message, architecture=architecture)


class UnknownNameError(SizingError, ValueError):
    """
    A GPU or model name that the catalog does not hold, or that could be several.

    Attributes:
        name: What was asked for.
        candidates: Names that might have been meant, best first.
    """

    name: str
    candidates: tuple[str, ...]

    def __init__(self, message: str, *, name: str = "", candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message, name=name, candidates=candidates)


class UnsupportedError(SizingError, ValueError):
    """
    vLLM of the chosen version would refuse to start with these settings.

    Attributes:
        field: The parameter at fault, under vLLM's name.
        value: Its value.
    """

    field: str
    value: object

    def __init__(self, message: str, *, field: str = "", value: object = None) -> None:
        super().__init__(message, field=field, value=value)


class SourceError(SizingError):
    """
    Facts about a model or a GPU could not be fetched or read.

    Attributes:
        source: What was asked: a Hub id, a path, a driver.
    """

    source: str

    def __init__(self, message: str, *, source: str = "") -> None:
        super().__init__(message, source=source)


class DetectionError(SizingError):
    """
    The GPUs of this machine could not be read.
    """
