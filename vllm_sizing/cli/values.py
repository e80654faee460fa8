"""
Values of options: read strictly (ASCII digits, finite, in range), refused with what would be right.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import click

from vllm_sizing.catalog.names import quote, suggest
from vllm_sizing.errors import InvalidValueError
from vllm_sizing.units import GIB, parse_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from click.shell_completion import CompletionItem

    ParamType = click.ParamType[Any, Any]
else:
    ParamType = click.ParamType  # not generic before click 8.4

_MOST = 2**40  # No count of tokens, requests or GPUs is larger; keeps arithmetic cheap and exact.
_COUNT = re.compile(r"[0-9]{1,13}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?")


class Value(ParamType):
    """
    The type of an option whose text a function reads.

    Attributes:
        name: Shown in the help, for example ``TOKENS``.

        read: From text to value; an InvalidValueError says what is wrong.

        words: What a shell may complete to.
    """

    def __init__(self, name: str, read: Callable[[str], Any], words: Callable[[], Iterable[str]] = tuple) -> None:
        self.name = name
        self.read = read
        self.words = words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """
        The value; click turns a failure into a usage error that names the option.
        """
        try:
            return self.read(value)
        except InvalidValueError as error:
            self.fail(error.message, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """
        The words that begin so, whatever their case.
        """
        from click.shell_completion import CompletionItem

        begin = incomplete.casefold()
        return [CompletionItem(word) for word in self.words() if word.casefold().startswith(begin)]


def _count(text: str) -> int:
    if not _COUNT.fullmatch(text) or not 1 <= int(text) <= _MOST:
        raise _wrong(text, "a whole number of at least 1")
    return int(text)


def _tokens(text: str) -> int:
    if len(text) > 30 or not text.isascii():
        raise _wrong(text, "a number of tokens, for example 32768, 32k (32,000) or 32K (32,768)")
    tokens = parse_tokens(text)
    if not 1 <= tokens <= _MOST:
        raise _wrong(text, "at least 1 token and at most 2**40")
    return tokens


def _at_least_0(text: str) -> float:
    if not _NUMBER.fullmatch(text) or not 0 <= float(text) < math.inf:
        raise _wrong(text, "a number of at least 0")
    return float(text)


def _above_0(text: str) -> float:
    if not _NUMBER.fullmatch(text) or not 0 < float(text) < math.inf:
        raise _wrong(text, "a number above 0")
    return float(text)


def _gib(text: str) -> int:
    if _at_least_0(text) > 2**20:
        raise _wrong(text, "a number of GiB for one GPU")
    return round(_at_least_0(text) * GIB)


def _gib_above_0(text: str) -> int:
    if _gib(text) == 0:
        raise _wrong(text, "a number of GiB above 0")
    return _gib(text)


def _word(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise _wrong(text, "a word of printable characters")
    return text


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise _wrong(text, "a path")
    return text


def _gpu(text: str) -> tuple[int | None, str]:
    """
    ``4xH100`` as (4, "H100"), ``H100`` as (None, "H100").
    """
    from vllm_sizing.catalog.gpus import parse_gpu_count

    number, name = parse_gpu_count(_word(text))
    return (None if name == text.strip() else number), name


def _kind_of_gpu(text: str) -> str:
    number, name = _gpu(text)
    if number is not None:
        raise _wrong(text, f"the name of a GPU; give their number with --gpus {number}")
    return name


def _models() -> Iterable[str]:
    from vllm_sizing.catalog.models import model_names

    return model_names()


def _gpus() -> Iterable[str]:
    from vllm_sizing.catalog.gpus import gpu_names

    return ("auto", *gpu_names())


def _wrong(text: str, wanted: str) -> InvalidValueError:
    return InvalidValueError(f"{quote(text)} is not {wanted}", value=text)


def several(value: Value, more: str = "") -> Value:
    """
    One or several of a kind, separated by commas, as a tuple.

    Args:
        more: A word that stands for None.
    """

    def read(text: str) -> tuple[Any, ...]:
        words = [word.strip() for word in text.split(",")]
        return tuple(None if more and word == more else value.read(word) for word in words)

    def words() -> Iterable[str]:
        return (*([more] if more else []), *value.words())

    return Value(f"{value.name},...", read, words)


def _price(text: str) -> tuple[str, float]:
    name, _, usd = text.rpartition("=")
    if not name.strip():
        raise _wrong(text, "NAME=USD, for example h100-sxm=2.50")
    return name.strip(), _above_0(usd.strip())


COUNT = Value("N", _count)
TOKENS = Value("TOKENS", _tokens)
NUMBER = Value("NUMBER", _above_0)
SHARE = Value("NUMBER", _at_least_0)
GIGABYTES = Value("GIB", _gib)
MEMORY = Value("GIB", _gib_above_0)
WORD = Value("TEXT", _word)
PATH = Value("PATH", _path)
MODEL = Value("MODEL", _word, _models)
GPU = Value("GPU", _gpu, _gpus)
GPU_NAME = Value("NAME", _word, _gpus)
KIND_OF_GPU = Value("NAME", _kind_of_gpu, _gpus)
PRICE = Value("NAME=USD", _price)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """
    The way out for a misspelt word: what it may have been, or all there is.

    >>> did_you_mean("jsn", ["json", "script"])
    'Did you mean json?'
    >>> did_you_mean("?", ["json", "script"])
    'There are: json, script.'
    """
    names = list(known)
    near = suggest(word, names, limit=2)
    return f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(names)}."
