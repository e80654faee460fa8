"""
The words after ``vllm serve``, divided into flags with their values as vLLM's parser divides them.

Sources: vLLM 0.33 ``utils/argparse_utils.py:FlexibleArgumentParser.parse_args`` (spellings, dotted
JSON, ``-O3``, ``--model``) and Python's argparse (beginnings of flags, ``--flag=value``, several values).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from vllm_sizing.catalog.flag_values import MANY, check_value, read_dotted, read_value
from vllm_sizing.catalog.names import quote
from vllm_sizing.errors import InvalidValueError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_sizing.catalog.flags import Flag, FlagTable

_MOST_WORDS = 2048
_LONGEST_WORD = 65_536
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NEGATIVE = re.compile(r"-[0-9]+|-[0-9]*\.[0-9]+")
_LEVELS = ("0", "1", "2", "3")


class Use(NamedTuple):
    """
    One flag as it stands on a command line.

    Attributes:
        flag: The flag, whatever spelling was used.

        value: What vLLM reads: a bool for a switch, a list for several words.

        words: As they were written.
    """

    flag: Flag
    value: Any
    words: tuple[str, ...]


class _Word(NamedTuple):
    """
    A word in the spelling of the table, and the words that it was written as.

    ``value``: of dotted words put together, the JSON object.
    """

    text: str
    written: tuple[str, ...]
    value: Any = None


def check_word(word: str) -> None:
    """
    Refuse what cannot be an argument or could be shown as something else.

    Raises:
        InvalidValueError: The word is too long or has characters that nobody sees.

    >>> check_word("--max-num-seqs")
    """
    if len(word) > _LONGEST_WORD:
        message = f"a word of the command has {len(word)} characters; at most {_LONGEST_WORD} can be meant"
        raise InvalidValueError(message, field="extra_args", value=word[:80])
    if _HIDDEN.search(word):
        message = f"{quote(word)} has a line break or a control character; take it out"
        raise InvalidValueError(message, field="extra_args", value=word)


def read_words(words: Sequence[str], table: FlagTable, *, complete: bool = True) -> tuple[str | None, list[Use]]:
    """
    The model and the uses of flags, in vLLM's order: of two uses of a flag the last one wins.

    Args:
        complete: The words are all that follows ``vllm serve``, not only further flags.

    Raises:
        UnsupportedError: vLLM of this version would refuse a word.

        InvalidValueError: A value is not what its flag reads.

    >>> from vllm_sizing.catalog.flags import flag_table
    >>> model, uses = read_words(["Qwen/Qwen3-8B", "--max_model_len=32k", "-tp", "2"], flag_table("0.33.0"))
    >>> model, [(use.flag.dest, use.value) for use in uses]
    ('Qwen/Qwen3-8B', [('max_model_len', 32000), ('tensor_parallel_size', 2)])
    """
    if len(words) > _MOST_WORDS:
        message = f"{len(words)} words are more than a command can mean; at most {_MOST_WORDS}"
        raise InvalidValueError(message, field="extra_args", value=len(words))
    for word in words:
        check_word(word)
    ordered = _model_first(list(words))
    if complete:
        _check_first_word(ordered)
    return _divide(_join_dotted(_spell(ordered, table), table), table)


def _model_first(words: list[str]) -> list[str]:
    for at, word in enumerate(words):
        if word == "--model" or (word.startswith("--model=") and word != "--model="):
            if word == "--model" and at + 1 == len(words):
                raise _needs_value(word)
            taken = 2 if word == "--model" else 1
            model = words[at + 1] if taken == 2 else word.removeprefix("--model=")
            return [model, *words[:at], *words[at + taken :]]
    return words


def _check_first_word(words: list[str]) -> None:
    named = any(re.match(r"--served[-_]model[-_]name(=.|$)", word) for word in words)
    if named and words[0].startswith("-") and not any(re.match(r"--config(=.|$)", word) for word in words):
        message = "served_model_name is given but no model; vllm serve wants the model as its first word"
        raise UnsupportedError(message, field="model", value=words[0])


def _spell(words: list[str], table: FlagTable) -> list[_Word]:
    """
    Underscores as dashes in names, ``-O3`` in full.
    """
    spelled = []
    for at, word in enumerate(words):
        after = words[at + 1 : at + 2]
        if word.startswith("--"):
            key, equals, value = word.partition("=")
            name, dot, rest = key.partition(".")
            text = name.replace("_", "-") + dot + rest + equals + value
        elif word.startswith("-O") and word != "-O" and (table.release >= (0, 13, 0) or word[2] != "."):
            text = _level(table) + "=" + word.removeprefix("-O").removeprefix("=")
        elif word == "-O" and after and after[0] in _LEVELS:
            text = _level(table)
        elif word.startswith("-O."):
            text = "--compilation-config" + word.removeprefix("-O")
        else:
            text = word
        spelled.append(_Word(text, (word,)))
    return spelled


def _level(table: FlagTable) -> str:
    if table.release >= (0, 12, 0):
        return "--optimization-level"
    return "--compilation-config." + ("level" if table.release < (0, 11, 1) else "mode")


def _join_dotted(words: list[_Word], table: FlagTable) -> list[_Word]:
    """
    ``--flag.key value`` of one spelling put together, behind everything else as vLLM does it.
    """
    rest: list[_Word] = []
    joined: dict[str, _Word] = {}
    pending = iter(words)
    for word in pending:
        key, equals, text = word.text.partition("=")
        if not key.startswith("-") or "." not in key:
            rest.append(word)
            continue
        written = word.written
        if not equals:
            following = next(pending, None)
            if following is None:
                raise _needs_value(key)
            text, written = following.text, (*written, *following.written)
        listed = key.endswith("+")
        name, *path = key.removesuffix("+").split(".")
        before = joined.get(name, _Word(name, (), {}))
        value = text.split(",") if listed else _dotted_value(name, text, table)
        _put(before.value, path, value)
        joined[name] = before._replace(written=before.written + written)
    return [*rest, *joined.values()]


def _dotted_value(name: str, text: str, table: FlagTable) -> Any:
    try:
        return read_dotted(text)
    except RecursionError:
        field = table.find(name)[0].dest
        message = f"{field} is nested too deeply"
        raise InvalidValueError(message, field=field, value=text[:80]) from None


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = tree.get(name)
        tree[name] = tree = inner if isinstance(inner, dict) else {}
    last = path[-1]
    there = tree.get(last)
    if isinstance(there, list) and isinstance(value, list):
        there.extend(value)
    elif isinstance(there, dict) and isinstance(value, dict):
        for name, item in value.items():
            _put(there, [name], item)
    else:
        tree[last] = value


def _divide(words: list[_Word], table: FlagTable) -> tuple[str | None, list[Use]]:
    model: str | None = None
    uses: list[Use] = []
    queue = [(word, _as_flag(word.text, table)) for word in words]
    for at, (word, _) in enumerate(queue):
        if word.text == "--":
            queue[at:] = [(later, None) for later, _ in queue[at + 1 :]]
            break
    while queue:
        word, found = queue.pop(0)
        if found is None:
            if word.value is not None:
                raise table.unknown(word.text)
            if model is not None:
                raise _stray(word, model)
            model = word.text
            continue
        flag, opposite, own = found
        if word.value is not None:
            uses.append(Use(flag, _object(flag, word.value, table), word.written))
            continue
        taken = [] if own is None else [_Word(own, ())]
        most = _most_values(flag, own)
        while len(taken) < most and queue and queue[0][1] is None:
            taken.append(queue.pop(0)[0])
        uses.append(_use(flag, opposite, word, taken, table))
    return model, uses


def _as_flag(text: str, table: FlagTable) -> tuple[Flag, bool, str | None] | None:
    """
    The flag, whether it is the opposite, and the value after ``=``; None for a value or the model.
    """
    if not text.startswith("-") or text in ("-", "--"):
        return None
    if text in table.spellings:
        return (*table.find(text), None)
    key, equals, value = text.partition("=")
    own = value if equals else None
    if key in table.spellings or (text.startswith("--") and _begins(key, table)):
        return (*table.find(key), own)
    if not text.startswith("--"):
        if text[:2] in table.spellings:
            return (*table.find(text[:2]), text[2:])
        if _begins(text, table):
            return (*table.find(text), None)
    if _NEGATIVE.fullmatch(text) or " " in text:
        return None
    raise table.unknown(key)


def _begins(word: str, table: FlagTable) -> bool:
    return any(spelling.startswith(word) for spelling in table.spellings)


def _most_values(flag: Flag, own: str | None) -> int:
    if flag.kind in ("switch", "set"):
        return 0
    return 1 if own is not None or flag.kind not in MANY else _MOST_WORDS


def _use(flag: Flag, opposite: bool, word: _Word, taken: list[_Word], table: FlagTable) -> Use:  # noqa: FBT001
    written = word.written + tuple(text for value in taken for text in value.written)
    if flag.kind in ("switch", "set"):
        if taken:
            message = f"{flag.dest} takes no value; write {flag.name} alone, or --no-{flag.name[2:]}"
            raise UnsupportedError(message, field=flag.dest, value=taken[0].text)
        return Use(flag, not opposite, written)
    if not taken:
        if flag.kind == "maybe_text":
            return Use(flag, True, written)  # noqa: FBT003
        raise _needs_value(flag.name)
    values = [_checked(flag, value.text, table) for value in taken]
    return Use(flag, values if flag.kind in (*MANY, "append_text") else values[0], written)


def _object(flag: Flag, value: dict[str, Any], table: FlagTable) -> Any:
    if flag.kind not in ("json", "config", "object_or_text"):
        message = f"{flag.dest} has no keys; write {flag.name} with one value"
        raise UnsupportedError(message, field=flag.dest, value=value)
    import json

    return _checked(flag, json.dumps(value), table)


def _checked(flag: Flag, word: str, table: FlagTable) -> Any:
    value = read_value(flag, word)
    check_value(flag, value, table.release)
    return value


def _needs_value(name: str) -> UnsupportedError:
    message = f"{quote(name)} needs a value behind it"
    return UnsupportedError(message, field=name.lstrip("-").replace("-", "_"), value=None)


def _stray(word: _Word, model: str) -> UnsupportedError:
    reason = f"belongs to no flag, and the model is already {quote(model)}"
    if word.text.startswith("-"):
        reason = "belongs to no flag; give flag and value as two words"
    elif word.text.lower() in ("true", "false"):
        reason = "belongs to no flag: a switch takes no value, its opposite begins with --no-"
    message = f"{quote(word.text)} {reason}"
    return UnsupportedError(message, field="extra_args", value=word.text)
