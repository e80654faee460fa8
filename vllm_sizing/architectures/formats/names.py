"""
Which modules the rules of a quantization config name.

Rules come from files of unknown origin: their number and length are bounded, and a regular expression
that could take long to match is refused.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from vllm_sizing.architectures.config import Config
from vllm_sizing.errors import ConfigError

MAX_RULES = 2**16  # MiniMax-M3-NVFP4 names 22,422 modules one by one.
MAX_RULE_LENGTH = 1000
# Steps that matching one name may take: three unbounded repeats, 64 characters each.
_MAX_PATTERN_COST = 2**18
_MAX_TOTAL_COST = 2**22
_LAYER = re.compile(r"\.\d+(?=\.)")
_NUMBERED = re.compile(r"(?<![A-Za-z_0-9])\d|[\[?]")
# A regular expression that cannot tell layer 1 from layer 23: letters, whole-name wildcards.
_LAYER_BLIND = re.compile(r"(?:[A-Za-z_]\d*|[|()^$-]|\(\?:|\\\.|\.[*+]|\.(?=[A-Za-z_]))*")

_Rule = TypeVar("_Rule")
Renames = Sequence[tuple[str, str]]


def read_names(section: Config, *keys: str) -> list[str]:
    """
    A list of module names or patterns; empty where there is none.
    """
    found = section.items(*keys, maximum=MAX_RULES)
    if found is None:
        return []
    key = next(key for key in keys if section.has(key))
    if not all(isinstance(name, str) and len(name) <= MAX_RULE_LENGTH for name in found):
        raise section.refuse(key, f"a list of strings of at most {MAX_RULE_LENGTH} characters")
    return found


def renamed(name: str, prefixes: Renames) -> str:
    """
    A checkpoint's module name as vLLM calls it: every prefix in turn.

    Source: vLLM 0.33 ``model_executor/models/utils.py:WeightsMapper``.

    >>> renamed("model.language_model.layers.0.mlp", (("model.language_model.", "language_model.model."),))
    'language_model.model.layers.0.mlp'
    """
    for old, new in prefixes:
        if name.startswith(old):
            name = new + name[len(old) :]
    return name


def shards(prefix: str, fused: Sequence[str]) -> list[str]:
    """
    The names that the parts of a fused layer have in the checkpoint.
    """
    last = prefix.rsplit(".", 1)[-1]
    return [prefix.replace(last, part) for part in fused]


def named(prefix: str, fused: Sequence[str], match: Callable[[str], bool]) -> bool:
    """
    Whether a rule names a layer, or all parts that it is fused of.

    Raises:
        ConfigError: It names some of the parts only.
    """
    if match(prefix):
        return True
    if not fused:
        return False
    found = [match(name) for name in shards(prefix, fused)]
    if any(found) and not all(found):
        message = (
            f"config.json: quantization_config names some but not all of {', '.join(fused)} for {prefix}; "
            "vLLM fuses them and needs one format"
        )
        raise ConfigError(message, field="quantization_config", value=prefix)
    return all(found)


class Patterns:
    """
    Rules in their four spellings, fast for thousands of rules that each name a layer.

    Attributes:
        varies: Some rule can tell one layer from another.
    """

    def __init__(
        self,
        *,
        exact: Iterable[str] = (),
        parts: Iterable[str] = (),
        globs: Iterable[str] = (),
        regexes: Iterable[str] = (),
    ) -> None:
        self.exact = frozenset(exact)
        parts, globs, regexes = tuple(parts), tuple(globs), tuple(regexes)
        self._parts = by_layer((part, part) for part in parts)
        self._globs = by_layer((glob, _glob(glob)) for glob in globs)
        self._regexes = AnyOf(regexes)
        self.varies = any(map(_NUMBERED.search, (*self.exact, *parts, *globs))) or not all(
            map(_LAYER_BLIND.fullmatch, regexes)
        )

    def match(self, name: str) -> bool:
        """
        Whether a rule equals the name, is a part of it, or matches it.
        """
        if name in self.exact or self._regexes.match(name):
            return True
        for key in layer_keys(name):
            if any(part in name for part in self._parts.get(key, ())):
                return True
            if any(glob(name) for glob in self._globs.get(key, ())):
                return True
        return False


def _glob(text: str) -> Callable[[str], object]:
    head = text[:-1]
    if text.endswith("*") and not any(char in head for char in "*?["):
        return lambda name: name.startswith(head)
    return re.compile(fnmatch.translate(text)).match


class AnyOf:
    """
    Regular expressions, tried at once where they can be.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.patterns = compile_regexes(texts)
        try:
            self._joined: tuple[re.Pattern[str], ...] = (
                re.compile("|".join(f"(?:{pattern.pattern})" for pattern in self.patterns)),
            )
        except re.error:  # Flags or group names that do not go together.
            self._joined = self.patterns
        if not self.patterns:
            self._joined = ()

    def match(self, name: str) -> bool:
        """
        Whether any of them matches the beginning of a name.
        """
        return any(pattern.match(name) for pattern in self._joined)


def layer_keys(name: str) -> set[str]:
    """
    Where `by_layer` may have put the rules for a name.
    """
    return {"", *_LAYER.findall(name)}


def by_layer(rules: Iterable[tuple[str, _Rule]]) -> dict[str, list[_Rule]]:
    """
    Rules by the first layer number that any name they match must contain; ``""``: none.
    """
    found: dict[str, list[_Rule]] = {}
    for text, rule in rules:
        number = _LAYER.search(re.split(r"[*?\[]", text, maxsplit=1)[0])
        found.setdefault(number.group() if number else "", []).append(rule)
    return found


def compile_regexes(texts: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """
    Regular expressions that are cheap to match.

    Raises:
        ConfigError: One is malformed, or could take too long: a repeat inside a repeat, or too many
            repeats and choices in a row.
    """
    compiled, total = [], 0
    for text in dict.fromkeys(texts):
        try:
            pattern = re.compile(_greedless(text))
        except (re.error, OverflowError, RecursionError) as error:
            raise _refused(text, f"not a regular expression ({error})") from None
        cost = _cost(pattern.pattern)
        total += cost
        if cost > _MAX_PATTERN_COST or total > _MAX_TOTAL_COST:
            raise _refused(text, "too costly to match: too many repeats or choices")
        compiled.append(pattern)
    return tuple(compiled)


def _refused(text: str, why: str) -> ConfigError:
    shown = text if len(text) <= 60 else text[:57] + "..."
    message = f"config.json: the pattern {shown!r} of quantization_config is {why}; correct or remove it"
    return ConfigError(message, field="quantization_config", value=text)


_WILDCARDS = re.compile(r"\^?(?:[\w-]|\\\.|\.)*\$?")


def _greedless(text: str) -> str:
    """
    A pattern of words and ``.*`` so that no ``.*`` but the last is tried twice.

    The first place where a word fits leaves most room for the rest, so nothing else needs trying.
    """
    if not _WILDCARDS.fullmatch(text.replace(".*", "")):
        return text
    first, *words = text.split(".*")
    if not words:
        return text
    return first + "".join(f"(?>.*?{word})" for word in words[:-1]) + ".*" + words[-1]


# Words of which a name can hold only one at a place.
_WORDS = re.compile(r"\((?:\?:)?(?:\w|\\\.)+(?:\|(?:\w|\\\.)+)*\)(?![*+{])")
_SYNTAX = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\((?:\?[^)]?)?|[*+?][?+]?|\{\d*,?\d*\}|.", re.DOTALL)


def _cost(text: str) -> int:
    """
    A bound for the ways in which a pattern can be tried on a name of 64 characters.
    """
    text = re.sub(r"\(\?>\.\*\?[^()]*\)", "", text)  # What `_greedless` made: tried once.
    text = _WORDS.sub("", re.sub(r"(?:\.\*\$?)+\Z", "", text))  # A last ".*" is tried once.
    cost, groups, group_repeats = 1, [False], False
    for part in _SYNTAX.findall(text):
        if part[0] in "*+?{":
            if group_repeats and part[0] != "?":
                return _MAX_TOTAL_COST + 1  # A repeat inside a repeat: exponential.
            groups[-1] = True
            cost *= 2 if part[0] == "?" else 64
        elif part == "|":
            groups[-1] = True
            cost *= 2
        elif part[0] == "(":
            groups.append(False)
        group_repeats = part == ")" and len(groups) > 1 and groups.pop()
        groups[-1] = groups[-1] or group_repeats
        if cost > _MAX_PATTERN_COST:
            break
    return cost
