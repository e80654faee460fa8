"""
The words of a command that may be wrong: each flag on its own, what is wrong with it, what it should be.

vLLM stops at the first fault; here every fault is told, and the rest is still understood.
"""

from __future__ import annotations

import re
import shlex
from json import dumps
from typing import TYPE_CHECKING, NamedTuple

from vllm_sizing.catalog.arguments import parse_engine_args
from vllm_sizing.catalog.check_rules import finding
from vllm_sizing.catalog.flag_replacements import replace_flag, replace_value
from vllm_sizing.catalog.flag_values import MANY, read_json
from vllm_sizing.catalog.flag_words import check_word, read_words
from vllm_sizing.catalog.flags import flag_history
from vllm_sizing.catalog.names import quote
from vllm_sizing.errors import InvalidValueError, SizingError, UnsupportedError
from vllm_sizing.sources.launch import Word

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vllm_sizing.catalog.flag_words import Use
    from vllm_sizing.catalog.flags import Flag, FlagTable
    from vllm_sizing.specs.check import CheckFinding

_NEGATIVE = re.compile(r"-[0-9]+|-[0-9]*\.[0-9]+")
_ONE_STRING = re.compile(r"--?[A-Za-z][\w.-]*\s+\S", re.DOTALL)
_MODEL_AND_MORE = re.compile(r"\S+\s+--?[A-Za-z]")
_CONNECTED = frozenset({"enable_auto_tool_choice", "enable_log_outputs", "kv_transfer_config", "ec_transfer_config"})


class Part(NamedTuple):
    """
    One flag with its values, or a word that belongs to none.

    Attributes:
        words: As they stand in the file.

        use: What vLLM reads; None if it would refuse them, or if a word is not known.

        corrected: The words that should stand there; None: nothing can be said.
    """

    words: tuple[Word, ...]
    dest: str = ""
    use: Use | None = None
    corrected: tuple[str, ...] | None = None
    findings: tuple[CheckFinding, ...] = ()

    @property
    def line(self) -> int:
        """
        Where it begins.
        """
        return self.words[0].line

    @property
    def positional(self) -> bool:
        """
        It belongs to no flag.
        """
        return not self.dest and len(self.words) == 1 and not _is_flag(self.words[0].text)


def read_parts(words: Sequence[Word], table: FlagTable) -> list[Part]:
    """
    The parts of a command, in their order.

    >>> from vllm_sizing.catalog.flags import flag_table
    >>> parts = read_parts([Word("m", 1), Word("--swap-space", 2), Word("4", 2)], flag_table("0.33.0"))
    >>> [(part.line, [found.code for found in part.findings], part.corrected) for part in parts]
    [(1, [], ('m',)), (2, ['removed-flag'], ())]
    """
    separate, parts = _separated([_on_one_line(word) for word in words])
    at = 0
    while at < len(separate):
        word = separate[at]
        at += 1
        if not _is_flag(word.text):
            parts.append(Part((word,), corrected=(word.text,)))
            continue
        following = 0
        while at + following < len(separate) and not _is_flag(separate[at + following].text):
            following += 1
        part = _part(word, separate[at : at + following], table)
        at += len(part.words) - 1
        parts.append(part)
    return parts


def _on_one_line(word: Word) -> Word:
    """
    JSON that is written over several lines, as vLLM reads it.
    """
    if "\n" not in word.text or word.unknown:
        return word
    head, equals, text = word.text.partition("=") if word.text.startswith("--") else ("", "", word.text)
    if not text.lstrip().startswith(("{", "[")):
        return word
    try:
        return word._replace(text=head + equals + dumps(read_json(text)))
    except (ValueError, RecursionError):
        return word


def _separated(words: Sequence[Word]) -> tuple[list[Word], list[Part]]:
    """
    Words that are several in one string, divided; each such string is a fault.
    """
    separate: list[Word] = []
    parts: list[Part] = []
    for number, word in enumerate(words):
        text = word.text.strip()
        several = _ONE_STRING.match(text) or (number == 0 and _MODEL_AND_MORE.match(text))
        if not several or "=" in text.split(maxsplit=1)[0]:
            separate.append(word)
            continue
        try:
            pieces = shlex.split(text)
        except ValueError:
            pieces = text.split()
        message = f"{quote(word.text)} is one argument, which vLLM does not know"
        hint = f"give {len(pieces)} arguments: {', '.join(map(quote, pieces[:3]))}{', ...' if pieces[3:] else ''}"
        parts.append(
            Part((word,), corrected=(), findings=(finding("args-in-one-string", message, line=word.line, hint=hint),))
        )
        separate += [Word(piece, word.line, word.unknown if word.unknown in piece else "") for piece in pieces]
    return separate, parts


def _is_flag(text: str) -> bool:
    return text.startswith("-") and text not in ("-", "--") and not _NEGATIVE.fullmatch(text)


def _part(word: Word, following: Sequence[Word], table: FlagTable) -> Part:
    if word.unknown and "=" not in word.text:
        return _unknown((word,))
    try:
        check_word(word.text)
        flag = _flag(word.text, table)
    except UnsupportedError as error:
        return _gone(word, following, table, error)
    except InvalidValueError as error:
        return Part((word,), corrected=(), findings=(finding("value-refused", error.message, line=word.line),))
    words = (word, *following[: _arity(flag, word.text, following, table)])
    if any(item.unknown for item in words):
        return _unknown(words, flag)
    texts = [item.text for item in words]
    if flag.dest == "config" and "=" in word.text:
        message = f"{quote(word.text)} is not read: vLLM wants --config and the file as two words"
        corrected = tuple(word.text.split("=", 1))
        found = finding("config-file-ignored", message, line=word.line, hint=_write(corrected))
        return Part(words, "config", None, corrected, (found,))
    if flag.dest == "model" and (len(texts) > 1 or "=" in word.text):
        return Part(words, "model", None, tuple(texts))
    problem: str | None
    code = "value-refused"
    uses: list[Use] = []
    try:
        stray, uses = read_words(texts, table, complete=False)
        problem = _refused_value(texts, table)
        if stray is not None:
            code, problem = "stray-word", f"{flag.dest} takes no value, and {quote(stray)} stands behind it"
    except SizingError as error:
        problem = error.message
    if problem is None:
        kept = () if "secret" in flag.marks else tuple(texts)
        return Part(words, flag.dest, uses[0], kept, tuple(_remarks(texts, table, word.line)))
    values = [word.text.partition("=")[2]] if "=" in word.text else texts[1:]
    replaced = replace_value(flag, values, table.release)
    replaced = None if replaced == (flag.name, *values) else replaced
    return Part(words, flag.dest, None, replaced, (finding(code, problem, line=word.line, hint=_write(replaced)),))


def _flag(text: str, table: FlagTable) -> Flag:
    """
    The flag that a word means.

    Raises:
        UnsupportedError: None of this version, or several.
    """
    if text.startswith("-O"):
        return table.find("--optimization-level" if "--optimization-level" in table.spellings else "-O")[0]
    key = text.partition("=")[0]
    if key.startswith("--"):
        name, _, _ = key.partition(".")
        return table.find(name.replace("_", "-"))[0]
    dotted, _, _ = key.partition(".")
    if dotted in table.spellings:
        return table.find(dotted)[0]
    if text[:2] in table.spellings:
        return table.find(text[:2])[0]  # -q=awq and -qawq; -tp2 is refused, as vLLM refuses it.
    return table.find(key)[0]


def _arity(flag: Flag, text: str, following: Sequence[Word], table: FlagTable) -> int:
    """
    How many of the words behind it belong to a flag.
    """
    if text.startswith("-O"):
        return 1 if text == "-O" else 0
    if flag.kind in ("switch", "set"):
        # A truth value behind a switch is a mistake that people make; the model is not.
        return 1 if following and following[0].text.lower() in ("true", "false") and "=" not in text else 0
    if "=" in text or (text[1] != "-" and text.partition(".")[0] not in table.spellings):  # -n2
        return 0
    return len(following) if flag.kind in MANY else 1


def _write(corrected: tuple[str, ...] | None) -> str:
    if corrected is None:
        return ""
    return f"write {shlex.join(corrected)}" if corrected else "leave it out"


def _refused_value(texts: list[str], table: FlagTable) -> str | None:
    """
    What the engine's configuration would refuse of a flag that the parser accepts.
    """
    try:
        parse_engine_args(["m", *texts], table.version, allow_unsafe=True)
    except SizingError as error:
        return None if getattr(error, "field", "") in _CONNECTED else error.message
    return None


def _remarks(texts: list[str], table: FlagTable, line: int) -> Iterator[CheckFinding]:
    try:
        found = parse_engine_args(["m", *texts], table.version, allow_unsafe=True).findings
    except SizingError:  # It needs another flag beside it.
        return
    for remark in found:
        if remark.message.startswith("trust_remote_code"):
            continue  # Whether that is dangerous depends on the revision.
        code = "secret-in-plain-text" if "is a secret" in remark.message else remark.code
        hint = remark.hint
        if code == "secret-in-plain-text":
            hint = "take it from the environment: VLLM_API_KEY or HF_TOKEN, there from a secret"
        severity = "error" if code == "secret-in-plain-text" else remark.severity
        severity = "warning" if code == "deprecated-flag" else severity
        yield finding(code, remark.message, line=line, hint=hint, severity=severity)


def _unknown(words: tuple[Word, ...], flag: Flag | None = None) -> Part:
    word = next(item for item in words if item.unknown)
    subject = "a word" if flag is None else flag.dest
    message = f"{subject} is {word.unknown}, which is only known when the command runs; it is not taken into account"
    severe = "warning" if flag is None or "memory" in flag.marks or flag.dest in _planned() else "info"
    found = finding("unknown-word", message, line=word.line, hint="put its value in its place", severity=severe)
    return Part(words, flag.dest if flag else "?", None, tuple(item.text for item in words), (found,))


def _planned() -> set[str]:
    from vllm_sizing.specs.engine import EngineArgs

    return set(EngineArgs.__annotations__)


def _gone(word: Word, following: Sequence[Word], table: FlagTable, error: UnsupportedError) -> Part:
    """
    A flag that this version does not have.
    """
    key, equals, value = word.text.partition("=")
    name = key.replace("_", "-") if key.startswith("--") else key
    history = flag_history(name)
    if history is None:
        return _never_known(word, following, equals, error)
    flag = history.flag
    values = [value] if equals else [item.text for item in following[: _arity(flag, name, following, table)]]
    words = (word, *following[: 0 if equals else len(values)])
    code = "removed-flag"
    corrected: tuple[str, ...] | None
    if history.since and table.release < tuple(map(int, history.since.split("."))):
        code, corrected = "flag-too-new", ()
    elif flag.name != name and flag.name in table.spellings:  # another spelling of a flag that is there
        opposite = flag.kind == "switch" and name.partition("-")[2].startswith(("-disable", "-enable", "-no"))
        code, corrected = "renamed-flag", (f"--no-{flag.name[2:]}" if opposite else flag.name, *values)
    else:
        corrected = replace_flag(flag.name, values)
    # What the message says after the release is said better by the words to write.
    message = error.message.removesuffix(f"; {flag.hint}") if flag.hint else error.message
    hint = _write(corrected) if corrected or not flag.hint else flag.hint
    found = finding(code, message, line=word.line, hint=hint)
    return Part(words, flag.dest, None, corrected, (found,))


def _never_known(word: Word, following: Sequence[Word], equals: str, error: UnsupportedError) -> Part:
    words = (word,) if equals else (word, *following[:1])
    code = "ambiguous-flag" if " could be " in error.message else "unknown-flag"
    meant = re.search(r"did you mean (--?[\w-]+)\?", error.message)
    values = [word.text.partition("=")[2]] if equals else [item.text for item in words[1:]]
    corrected = (meant[1], *values) if meant else ()
    hint = _write(corrected) if meant else "leave it out, or write the flag that was meant"
    found = finding(code, error.message, line=word.line, hint=hint)
    return Part(words, word.text.lstrip("-").partition("=")[0] or "?", None, corrected, (found,))
