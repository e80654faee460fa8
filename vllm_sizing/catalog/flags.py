"""
The flags of ``vllm serve`` by version: which exist, what they read, what became of the others.

The facts stand in ``flags.tsv``, one flag per line; a new vLLM release changes lines there.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

from vllm_sizing.catalog.names import quote
from vllm_sizing.errors import InvalidValueError, UnsupportedError

Release = tuple[int, int, int]

NEWEST: Release = (0, 33, 0)
_OLDEST: Release = (0, 8, 0)
_VERSION = re.compile(
    r"v?([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?"
    r"(?:\.[0-9]{1,4})?(?:[-._]?(?:a|b|rc|post|dev)[0-9]{0,9})*(?:\+[A-Za-z0-9.]{1,40})?"
)
_SWAPPED = {"--enable-": "--disable-", "--disable-": "--enable-"}


class Flag(NamedTuple):
    """
    One flag of ``vllm serve``.

    Attributes:
        name: Long spelling, ``--max-model-len``.

        kind: What it reads: ``int``, ``float``, ``text``, ``name``, ``tokens``, ``tokens_or_auto``,
            ``json``, ``config``, ``object_or_text``, ``switch``, ``set``; ``ints``, ``texts``, ``loras``,
            ``append_text`` and ``maybe_text`` take several words, or perhaps none.

        optional: The word ``None`` is read as no value.

        default: Of vLLM 0.33.0 as JSON text; empty: none, or left to vLLM.

        values: Words that vLLM 0.33.0 allows; for a ``config`` its keys; empty: any.

        marks: ``code``, ``reach``, ``secret``, ``memory``, ``deprecated``.

        hint: What to write instead.
    """

    name: str
    kind: str
    optional: bool
    default: str
    values: tuple[str, ...]
    marks: frozenset[str]
    hint: str

    @property
    def dest(self) -> str:
        """
        The name in vLLM's Python API.

        >>> check_flag("-tp", "0.33.0").dest
        'tensor_parallel_size'
        """
        return self.name[2:].replace("-", "_")


class FlagTable(NamedTuple):
    """
    The flags of one release.

    Attributes:
        version: The release, ``0.33.0``.

        release: Its three numbers.

        spellings: Every spelling that the release reads, with the name of the flag and whether the
            spelling is its opposite.
    """

    version: str
    release: Release
    spellings: dict[str, tuple[str, bool]]

    @property
    def names(self) -> tuple[str, ...]:
        """
        The long spellings, one per flag.
        """
        return tuple(dict.fromkeys(name for name, _ in self.spellings.values()))

    def find(self, word: str) -> tuple[Flag, bool]:
        """
        The flag that a spelling or an unambiguous beginning of one means, and if it is the opposite.

        Raises:
            UnsupportedError: vLLM of this version would refuse the word.

        >>> flag_table("0.33.0").find("--gpu-mem")[0].name
        '--gpu-memory-utilization'
        >>> flag_table("0.33.0").find("--no-enable-lora")[1]
        True
        """
        if word not in self.spellings:
            matches = [spelling for spelling in self.spellings if spelling.startswith(word)]
            if len(matches) != 1 or len(word) == 1:
                raise self._refusal(word, matches)
            word = matches[0]
        name, opposite = self.spellings[word]
        return _flag(name), opposite

    def unknown(self, word: str) -> UnsupportedError:
        """
        The error for a word that is no flag of this version: where it exists, or what is near.
        """
        return UnsupportedError(
            f"{quote(word)} is not a flag of vLLM {self.version}{self._way_out(word)}",
            field=_field(word),
            value=word,
        )

    def _refusal(self, word: str, matches: list[str]) -> UnsupportedError:
        if not matches or word in _rows():
            return self.unknown(word)
        near = ", ".join(matches[:6]) + (", ..." if len(matches) > 6 else "")
        message = f"{quote(word)} could be {near}; write the flag in full"
        return UnsupportedError(message, field=_field(word), value=word)

    def _way_out(self, word: str) -> str:
        name = _owner(word)
        if name is None:
            from difflib import get_close_matches

            near = get_close_matches(word[:80], self.spellings, n=2, cutoff=0.75)
            return f"; did you mean {' or '.join(near)}?" if near else ""
        _, _, _, since, until, *_ = _rows()[name]
        if until and self.release > _release(until):
            return f": {until} was the last to have it; {_flag(name).hint}"
        if since and self.release < _release(since):
            hint = _flag(name).hint
            return f": it came with {since}" + (f"; {hint}" if hint.startswith("before it") else "")
        if word.startswith("--") and self.release < NEWEST:
            return f": only 0.33 knows this opposite; write --no-{name[2:]}"
        return f": write {name}"


def flag_table(version: str) -> FlagTable:
    """
    The flags that ``vllm serve`` of a version (0.8.0 to 0.33.0) reads.

    Raises:
        InvalidValueError: Not a release that is known.

    >>> "--swap-space" in flag_table("0.33.0").spellings, "--swap-space" in flag_table("0.11.0").spellings
    (False, True)
    """
    match = _VERSION.fullmatch(version.strip())
    release = (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (0, 0, 0)
    if not _OLDEST <= release <= NEWEST:
        message = f"vllm_version is {quote(version)}; flags are known from {_dotted(_OLDEST)} to {_dotted(NEWEST)}"
        raise InvalidValueError(message, field="vllm_version", value=version)
    return _table(_dotted(release))


class History(NamedTuple):
    """
    A flag over all releases.

    Attributes:
        since, until: First and last release that declare it; empty: before 0.8.1, and still.
    """

    flag: Flag
    since: str
    until: str


def flag_history(word: str) -> History | None:
    """
    The flag that some release spells so; None if none does.

    >>> history = flag_history("--swap-space")
    >>> history.until, history.flag.kind
    ('0.17.1', 'float')
    """
    name = _owner(word)
    return None if name is None else History(_flag(name), *_rows()[name][3:5])


def check_flag(name: str, version: str) -> Flag:
    """
    The flag of that name: ``max_model_len``, ``--max-model-len`` or ``-tp``, written in full.

    Raises:
        UnsupportedError: The version does not have it; the message names one that does, or the
            nearest flag.

        InvalidValueError: The version is not known.

    >>> check_flag("max_num_seqs", "0.33.0").kind
    'int'
    """
    table = flag_table(version)
    word = name if name.startswith("-") else f"--{name}"
    word = word.replace("_", "-")
    if word not in table.spellings:
        raise table.unknown(word)
    return table.find(word)[0]


@cache
def _table(version: str) -> FlagTable:
    release = _release(version)
    spellings: dict[str, tuple[str, bool]] = {}
    for name, row in _rows().items():
        since, until = row[3], row[4]
        if (not since or _release(since) <= release) and (not until or release <= _release(until)):
            spellings.update(_spellings(name, release))
    return FlagTable(version, release, spellings)


def _spellings(name: str, release: Release) -> dict[str, tuple[str, bool]]:
    """
    What a release reads as one flag.
    """
    # Opposites: vLLM 0.33 utils/argparse_utils.py:EnableDisableAction; before it the --no- form alone.
    found = {name: (name, False)}
    row = _rows()[name]
    for alias in row[5].split():
        spelling, _, since = alias.partition("@")
        if not since or _release(since) <= release:
            found[spelling] = (name, False)
    if row[1] != "switch":
        return found
    found[f"--no-{name[2:]}"] = (name, True)
    for prefix, swapped in _SWAPPED.items():
        if name.startswith(prefix) and release >= NEWEST:
            found[swapped + name.removeprefix(prefix)] = (name, True)
    return found


def _owner(word: str) -> str | None:
    """
    The flag that some release spells so.
    """
    rows = _rows()
    if word in rows:
        return word
    return next((name for name in rows if word in _spellings(name, NEWEST)), None)


@cache
def _flag(name: str) -> Flag:
    _, kind, default, _, _, _, values, marks, hint = _rows()[name]
    return Flag(
        name=name,
        kind=kind.removesuffix("?"),
        optional=kind.endswith("?"),
        default=default,
        values=tuple(values.split()),
        marks=frozenset(marks.split()),
        hint=hint,
    )


@cache
def _rows() -> dict[str, list[str]]:
    rows = (line.split("\t") for line in _text().splitlines() if not line.startswith("#"))
    return {row[0]: row for row in rows}


def _text() -> str:
    # importlib.resources would take ten times as long to import as the file takes to read.
    loader: Any = __spec__.loader
    data: bytes = loader.get_data(__file__.removesuffix(".py") + ".tsv")
    return data.decode()


@cache
def _release(text: str) -> Release:
    major, minor, patch = map(int, text.split("."))
    return major, minor, patch


def _dotted(release: Release) -> str:
    return ".".join(map(str, release))


def _field(word: str) -> str:
    return word.lstrip("-").replace("-", "_")
