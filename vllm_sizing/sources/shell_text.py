"""
A shell script as the commands that stand in it, with lines; nothing is run, looked up or guessed.

Variables and arrays that the script itself sets once, to plain text, are known.  What else a shell would
put into a word (the environment, the output of a program, a choice) stays unknown and is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from vllm_sizing.catalog.names import quote
from vllm_sizing.errors import InvalidValueError
from vllm_sizing.sources.launch import Word

_LONGEST = 500_000
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_ASSIGNMENT = re.compile(rf"({_NAME})(\+?)=")
_VARIABLE = re.compile(rf"\$(?:\{{({_NAME})(\[[@*]\])?\}}|({_NAME})|[0-9@*#?$!-])")
_PLAIN = re.compile(r"[^\\'\"`$ \t\n#|&;<>()]+")
_IN_QUOTES = re.compile(r"[^\\\"`$]+")
_OPERATOR = re.compile(r"&&|\|\||;;&?|<<-?|>>|[<>]&|&>>?|>\||<>|\|&|[|&;<>()]")
_HEREDOC = re.compile(r"<<-?[ \t]*(['\"]?)([A-Za-z_][A-Za-z0-9_]*)\1")
_OPENS = frozenset({"if", "for", "while", "until", "case", "select", "{", "then", "else", "elif", "do"})
_DEPTH = {"if": 1, "for": 1, "while": 1, "until": 1, "case": 1, "select": 1, "{": 1, "fi": -1, "done": -1, "esac": -1}
_DEPTH |= {"}": -1}
_DECLARES = frozenset({"export", "readonly", "local", "declare", "typeset"})


class Command(NamedTuple):
    """
    One simple command.

    Attributes:
        environment: The variables exported before it or set for it, with their words.

        words: The program and its arguments.

        line: Where it begins.

        sometimes: It stands in a branch or a loop.
    """

    environment: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    line: int
    sometimes: bool = False


class _Token(NamedTuple):
    """
    A word in parts, an operator, or the end of a line.

    Attributes:
        parts: Text, or the name of a variable behind ``$`` (``$@`` for all items of an array), quoted or not.
    """

    kind: str
    line: int
    parts: tuple[tuple[str, str, bool], ...] = ()
    text: str = ""

    @property
    def bare(self) -> str:
        """
        What it begins with, unquoted.
        """
        kind, part, quoted = self.parts[0] if self.parts else ("", "", True)
        return part if kind == "text" and not quoted else ""


def parse_script(
    text: str,
    *,
    first_line: int = 1,
    known: Mapping[str, str] | None = None,
    arguments: Sequence[Word] | None = None,
) -> list[Command]:
    r"""
    The simple commands of a script, in their order.

    Args:
        known: Variables whose values are known from elsewhere.

        arguments: Of the script, for ``"$@"``; None: not known.

    Raises:
        InvalidValueError: It is too long, or a quote is not closed.

    >>> command = parse_script("M=Qwen/Qwen3-8B\nPORT=1 vllm serve $M \\\n  --seed $SEED  # note")[0]
    >>> [(word.text, word.line, word.unknown) for word in command.words[2:]]
    [('Qwen/Qwen3-8B', 2, ''), ('--seed', 3, ''), ('$SEED', 3, '$SEED')]
    """
    if len(text) > _LONGEST:
        message = f"the script has {len(text):,} characters; at most {_LONGEST:,} are read"
        raise InvalidValueError(message, field="command", value=len(text))
    values: dict[str, tuple[Word, ...] | None] = {}
    for name, value in (known or {}).items():
        values[name] = (Word(value, first_line),)
    if arguments is not None:
        values["@"] = tuple(arguments)
    return _Script(_tokens(text.replace("\r\n", "\n"), first_line), values).commands


class _Script:
    """
    Walks the tokens once and remembers what variables are set to.
    """

    def __init__(self, tokens: list[_Token], values: dict[str, tuple[Word, ...] | None]) -> None:
        self.commands: list[Command] = []
        self._values = values
        self._exported: dict[str, Word] = {}
        self._depth = 0
        line: list[_Token] = []
        at = 0
        while at < len(tokens):
            token = tokens[at]
            if token.kind == "word":
                array = _ASSIGNMENT.fullmatch(token.bare) if token.bare.endswith("=") else None
                opens = at + 1 < len(tokens) and tokens[at + 1].kind == "end" and tokens[at + 1].text == "("
                if array and opens and all(word.bare in _OPENS for word in line):
                    self._command(line)
                    line = []
                    at = self._array(array[1], array[2] == "+", tokens, at + 2)
                    continue
                line.append(token)
            elif token.kind == "redirect":
                at += 1  # and the word behind it
            else:
                self._command(line)
                line = []
                if token.text in ("(", ")"):
                    self._depth += 1 if token.text == "(" else -1
            at += 1
        self._command(line)

    def _array(self, name: str, more: bool, tokens: list[_Token], at: int) -> int:  # noqa: FBT001
        words: list[Word] = []
        while at < len(tokens) and tokens[at].text != ")":
            if tokens[at].kind == "word":
                words += self._expand(tokens[at])
            at += 1
        if more:
            before = self._values.get(name)
            if self._depth > 0:
                return at + 1  # Of a branch: the words before it are there in any case.
            words = [*(before or ()), *words]
        self._values[name] = tuple(words) if self._depth == 0 else None
        return at + 1

    def _command(self, tokens: list[_Token]) -> None:
        while tokens and not tokens[0].parts[1:] and tokens[0].bare in (*_OPENS, *_DEPTH):
            self._depth += _DEPTH.get(tokens[0].bare, 0)
            tokens = [] if tokens[0].bare in ("for", "case", "select") else tokens[1:]
        sometimes = self._depth > 0
        if not tokens:
            return
        declares = tokens[0].bare in _DECLARES
        exports = tokens[0].bare == "export"
        environment: list[tuple[str, Word]] = []
        while tokens and (declares or _ASSIGNMENT.match(tokens[0].bare)):
            if found := _ASSIGNMENT.match(tokens[0].bare):
                environment.append((found[1], self._joined(tokens[0], found.end())))
            tokens = tokens[1:]
        if not tokens:
            for name, word in environment:
                self._values[name] = (word,) if self._depth == 0 else None
                if exports:
                    self._exported[name] = word
            return
        if tokens[0].text in ("read", "unset", "mapfile", "getopts", "eval", "source", "."):
            for token in tokens[1:]:
                self._values[token.text] = None
        words = [word for token in tokens for word in self._expand(token)]
        if words:
            given = tuple({**self._exported, **dict(environment)}.items())
            self.commands.append(Command(given, tuple(words), words[0].line, sometimes))

    def _joined(self, token: _Token, start: int) -> Word:
        """
        The value of an assignment as one word.
        """
        (kind, text, quoted), *rest = token.parts
        parts = ((kind, text[start:], quoted), *rest)
        text, unknown = "", ""
        for kind, part, _ in parts:
            value = self._value(part) if kind == "variable" else part
            text += part if value is None else value
            unknown = unknown or (part if kind == "unknown" or value is None else "")
        return Word(text, token.line, unknown)

    def _value(self, name: str) -> str | None:
        words = self._values.get(name.strip("${}"))
        return words[0].text if words and len(words) == 1 and not words[0].unknown else None

    def _expand(self, token: _Token) -> list[Word]:
        """
        The words that a token becomes: several for an array or for an unquoted variable with blanks.
        """
        words: list[tuple[str, str]] = [("", "")]
        if [kind for kind, part, _ in token.parts if part] == ["array"]:
            return self._items(token.text, token.line)
        for kind, part, quoted in token.parts:
            text, unknown = words[-1]
            value = self._value(part) if kind == "variable" else part
            if kind in ("unknown", "array") or value is None:
                words[-1] = (text + part, unknown or part)
            elif kind == "variable" and not quoted and re.search(r"[\s*?\[]", value):
                pieces = value.split()
                words[-1] = (text + (pieces[0] if pieces else ""), unknown)
                words += [(piece, "") for piece in pieces[1:]]
            else:
                words[-1] = (text + value, unknown)
        if words == [("", "")] and not any(quoted for _, _, quoted in token.parts):
            return []  # An unquoted variable that is empty is no word.
        return [Word(text, token.line, unknown) for text, unknown in words]

    def _items(self, expansion: str, line: int) -> list[Word]:
        items = self._values.get("@" if expansion == "$@" else expansion[2 : expansion.index("[")])
        return [Word(expansion, line, expansion)] if items is None else list(items)


def _tokens(text: str, first_line: int) -> list[_Token]:
    tokens: list[_Token] = []
    bodies: list[str] = []  # of here-documents that begin behind this line
    at, line = 0, first_line
    while at < len(text):
        if text[at] == "\n":
            tokens.append(_Token("end", line, text="\n"))
            at, line = at + 1, line + 1
            for mark in bodies:
                body = re.compile(rf"^[ \t]*{mark}[ \t]*$", re.MULTILINE).search(text, at)
                end = body.end() if body else len(text)
                line += text.count("\n", at, end)
                at = end
            bodies = []
        elif text[at] in " \t":
            at += 1
        elif text.startswith("\\\n", at):
            at, line = at + 2, line + 1
        elif text[at] == "#":
            at = (text.find("\n", at) + 1 or len(text) + 1) - 1
        elif heredoc := _HEREDOC.match(text, at):
            bodies.append(re.escape(heredoc[2]))
            at = heredoc.end()
        elif found := _OPERATOR.match(text, at):
            redirect = found[0][0] in "<>" or found[0].startswith("&>")
            if redirect and tokens and tokens[-1].kind == "word" and tokens[-1].text in ("1", "2"):
                tokens.pop()
            tokens.append(_Token("redirect" if redirect else "end", line, text=found[0]))
            at = found.end()
        else:
            token, at = _word(text, at, line)
            line += text.count("\n", token[1], at)
            tokens.append(token[0])
    return tokens


def _word(text: str, start: int, line: int) -> tuple[tuple[_Token, int], int]:
    parts: list[tuple[str, str, bool]] = []
    at = start

    def add(kind: str, part: str, *, quoted: bool) -> None:
        if kind == "text" and parts and parts[-1][::2] == ("text", quoted):
            parts[-1] = (kind, parts[-1][1] + part, quoted)
        else:
            parts.append((kind, part, quoted))

    while at < len(text) and text[at] not in " \t\n":
        char = text[at]
        if found := _PLAIN.match(text, at):
            add("text", found[0], quoted=False)
            at = found.end()
        elif text.startswith("\\\n", at):
            at += 2
        elif char == "\\":
            add("text", text[at + 1 : at + 2], quoted=True)
            at += 2
        elif char == "'" or text.startswith("$'", at):
            begin = at + (1 if char == "'" else 2)
            end = _close(text, begin, "'", line)
            add("text" if char == "'" else "unknown", text[begin:end], quoted=True)
            at = end + 1
        elif char == '"':
            at = _double(text, at + 1, line, add)
        elif char in "$`" or text.startswith(("<(", ">("), at):
            kind, part, at = _expansion(text, at)
            add(kind, part, quoted=False)
        elif char == "#":
            add("text", "#", quoted=False)
            at += 1
        else:
            break
    whole = "".join(part for _, part, _ in parts)
    return (_Token("word", line, tuple(parts) or (("text", "", True),), whole), start), at


def _double(text: str, at: int, line: int, add: Callable[..., None]) -> int:
    start = at
    put: list[str] = []

    def flush() -> None:
        add("text", "".join(put), quoted=True)
        put.clear()

    while at < len(text) and text[at] != '"':
        if found := _IN_QUOTES.match(text, at):
            put.append(found[0])
            at = found.end()
        elif text[at] == "\\":
            following = text[at + 1 : at + 2]
            put.append("" if following == "\n" else following if following in '$`"\\' else "\\" + following)
            at += 2
        else:
            kind, part, at = _expansion(text, at)
            if kind == "text":
                put.append(part)
                continue
            flush()
            add(kind, part, quoted=True)
    if at >= len(text):
        raise _unclosed(text, start, '"', line)
    flush()
    return at + 1


def _expansion(text: str, at: int) -> tuple[str, str, int]:
    """
    What begins with ``$`` or a backquote: its kind, how it is written, and where it ends.
    """
    if found := _VARIABLE.match(text, at):
        name = found[1] or found[3]
        kind = "array" if found[2] or found[0] == "$@" else "variable" if name else "unknown"
        return kind, found[0], found.end()
    if text[at] == "`":
        end = text.find("`", at + 1)
        end = len(text) if end < 0 else end + 1
        return "unknown", text[at:end][:80], end
    opening = text[at + 1 : at + 2]
    if opening not in ("{", "("):
        return "text", text[at], at + 1
    closing = "}" if opening == "{" else ")"
    depth, end = 0, at + 1
    while end < len(text):
        depth += (text[end] == opening) - (text[end] == closing)
        end += 1
        if depth == 0:
            break
    return "unknown", text[at:end][:80], end


def _close(text: str, at: int, mark: str, line: int) -> int:
    end = text.find(mark, at)
    if end < 0:
        raise _unclosed(text, at, mark, line)
    return end


def _unclosed(text: str, at: int, mark: str, line: int) -> InvalidValueError:
    message = f"line {line}: {quote(text[at : at + 200])} has no closing {mark}"
    return InvalidValueError(message, field="command", value=text[at : at + 80])
