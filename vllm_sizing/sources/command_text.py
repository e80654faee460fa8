"""
One shell command, divided into words as a POSIX shell divides it; nothing is run or looked up.

What only a shell can know (variables, substitutions, several commands) is refused, not guessed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from vllm_sizing.catalog.names import quote
from vllm_sizing.errors import InvalidValueError

_LONGEST = 1_000_000
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_BRACES = re.compile(r"\{[^{}]*(,|\.\.)[^{}]*\}")
_EXPANSION = re.compile(r"\$(\{[^}]*\}?|\([^)]*\)?|[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-])|`[^`]{0,40}")
_BLANK = " \t\n"
_PLAIN = re.compile(r"[^\\'\"`$ \t\n#|&;<>()]+")
_IN_QUOTES = re.compile(r"[^\\\"`$]+")
_COMMENT = re.compile(r"#[^\n]*")
_BEFORE_COMMANDS = ("command", "env", "exec", "nohup")


class ShellCommand(NamedTuple):
    """
    A simple command.

    Attributes:
        environment: The variables set for it, in order.

        words: The program and its arguments.
    """

    environment: tuple[tuple[str, str], ...]
    words: tuple[str, ...]


class _Word(NamedTuple):
    """
    A word, and the same word with everything that was quoted left out.
    """

    text: str
    bare: str


def split_command(text: str) -> ShellCommand:
    r"""
    A command as people paste it: quotes, ``\`` at the ends of lines, comments, ``NAME=value`` before it.

    Raises:
        InvalidValueError: Not one simple command, or it needs a shell to be known.

    >>> split_command("HF_HOME=/m vllm serve 'my model' \\\n  -tp 2  # two GPUs")
    ShellCommand(environment=(('HF_HOME', '/m'),), words=('vllm', 'serve', 'my model', '-tp', '2'))
    """
    if len(text) > _LONGEST:
        raise _refused(text, f"is longer than a command; at most {_LONGEST} characters are read")
    words = _words(text)
    environment: list[tuple[str, str]] = []
    first = 0
    for word in words:
        assignment = _ASSIGNMENT.fullmatch(word.text)
        if assignment and _ASSIGNMENT.match(word.bare):
            environment.append((assignment[1], assignment[2]))
        elif word.text not in _BEFORE_COMMANDS:
            break
        first += 1
    if first == len(words):
        raise _refused(text, "holds no command; write vllm serve MODEL and its flags")
    return ShellCommand(tuple(environment), tuple(word.text for word in words[first:]))


def _words(text: str) -> list[_Word]:
    """
    The words of the only command in the text.
    """
    words: list[_Word] = []
    text = text.replace("\r\n", "\n")
    at, ended = 0, False
    while at < len(text):
        if text[at] == "#":
            at = _COMMENT.match(text, at).end()  # type: ignore[union-attr]
        elif text[at] in _BLANK:
            ended = ended or (text[at] == "\n" and bool(words))
            at += 1
        elif text.startswith("\\\n", at):
            at += 2
        elif ended:
            raise _refused(text[at:], "begins a second command; give one")
        else:
            word, at = _word(text, at)
            if _BRACES.search(word.bare):
                raise _refused(word.text, "has braces that a shell expands; put JSON in single quotes")
            words.append(word)
    return words


def _word(text: str, at: int) -> tuple[_Word, int]:
    whole: list[str] = []
    bare: list[str] = []
    while at < len(text) and text[at] not in _BLANK:
        char = text[at]
        if plain := _PLAIN.match(text, at):
            whole.append(plain[0])
            bare.append(plain[0])
            at = plain.end()
        elif text.startswith("\\\n", at):
            at += 2
        elif char == "\\" and at + 1 == len(text):
            raise _refused(text[-20:], "ends in the middle; its next line is missing")
        elif char == "\\":
            whole.append(text[at + 1 : at + 2])
            at += 2
        elif char == "'":
            end = _end_of(text, at, "'")
            whole.append(text[at + 1 : end])
            at = end + 1
        elif char == '"':
            quoted, at = _double_quoted(text, at)
            whole.append(quoted)
        else:
            _refuse_expansion(text, at)
            if char not in "$#" or text[at : at + 2] in ("$'", '$"'):
                raise _refused(text[at : at + 20], "needs a shell; give one simple command")
            whole.append(char)
            bare.append(char)
            at += 1
    return _Word("".join(whole), "".join(bare)), at


def _double_quoted(text: str, start: int) -> tuple[str, int]:
    parts: list[str] = []
    at = start + 1
    while at < len(text) and text[at] != '"':
        if plain := _IN_QUOTES.match(text, at):
            parts.append(plain[0])
            at = plain.end()
        elif text[at] == "\\":
            following = text[at + 1 : at + 2]
            parts.append("" if following == "\n" else following if following in '$`"\\' else "\\" + following)
            at += 2
        else:
            _refuse_expansion(text, at)
            parts.append(text[at])
            at += 1
    if at >= len(text):
        raise _refused(text[start:], 'has no closing "')
    return "".join(parts), at + 1


def _end_of(text: str, start: int, mark: str) -> int:
    end = text.find(mark, start + 1)
    if end < 0:
        raise _refused(text[start:], f"has no closing {mark}")
    return end


def _refuse_expansion(text: str, at: int) -> None:
    if expansion := _EXPANSION.match(text, at):
        raise _refused(expansion[0], "is known to the shell alone; put its value in its place")


def _refused(text: str, reason: str) -> InvalidValueError:
    return InvalidValueError(f"{quote(text)} {reason}", field="command", value=text[:200])
