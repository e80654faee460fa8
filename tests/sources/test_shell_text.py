"""
Scripts: which commands stand in them, with which words, and what of them is known.
"""

import contextlib
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_sizing.errors import InvalidValueError
from vllm_sizing.sources.launch import Word
from vllm_sizing.sources.shell_text import parse_script


def words(text, number=-1):
    return [word.text for word in parse_script(text)[number].words]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x a 'b c' \"d e\" f\\ g", ["x", "a", "b c", "d e", "f g"]),
        ("x a \\\n  b\r\n", ["x", "a", "b"]),
        ("x '' \"\"", ["x", "", ""]),
        ("x a # b\n# c", ["x", "a"]),
        ("x a#b", ["x", "a#b"]),
        ('x "a\\"b\\\\c\\$d\\e"', ["x", 'a"b\\c$d\\e']),
        ('x "a\\\nb"', ["x", "ab"]),
        ("x a > log 2>&1", ["x", "a"]),
        ("x a 2> log &", ["x", "a"]),
        ("x a &> log", ["x", "a"]),
        ("x a < in", ["x", "a"]),
        ("A=1; x $A ${A} \"$A\" '$A'", ["x", "1", "1", "1", "$A"]),
        ("A='1 2'; x $A \"$A\" p$A", ["x", "1", "2", "1 2", "p1", "2"]),
        ('A=; x $A "$A" b', ["x", "", "b"]),
        ("export A=1 B=2; x $A$B", ["x", "12"]),
        ("A=1; A=2; x $A", ["x", "2"]),
        ("A=a; B=$A-b; x $B", ["x", "a-b"]),
        ("A=(a 'b c'); x \"${A[@]}\" d", ["x", "a", "b c", "d"]),
        ('A=(a); A+=(b); x "${A[@]}"', ["x", "a", "b"]),
        ('A=(a)\nif true; then A+=(b); fi; x "${A[@]}"', ["x", "a"]),
        ("A=(\n  a # one\n  b\n)\nx ${A[*]}", ["x", "a", "b"]),
        ('x "a $ b"', ["x", "a $ b"]),
        ("x $ a$ $. '$(y)'", ["x", "$", "a$", "$.", "$(y)"]),
        ("cat <<EOF\ny z\nEOF\nx a", ["x", "a"]),
        ("x {} {a,b}", ["x", "{}", "{a,b}"]),
    ],
)  # fmt: skip
def test_words_are_those_of_a_shell(text, expected):
    assert words(text) == expected
    assert not [word for word in parse_script(text)[-1].words if word.unknown]


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("x $A", "$A"),
        ("x ${A:-b}", "${A:-b}"),
        ("x $(y z)", "$(y z)"),
        ("x `y`", "`y`"),
        ("x $((1 + 2))", "$((1 + 2))"),
        ("x $1", "$1"),
        ('x "a $A"', "$A"),
        ("x a$(y)b", "$(y)"),
        ("A=$(y); x $A", "$A"),
        ("A=$B; x $A", "$A"),
        ("if true; then A=1; else A=2; fi; x $A", "$A"),
        ("A=1\nfor i in 1 2; do A=$i; done\nx $A", "$A"),
        ("read A; x $A", "$A"),
        ("A=1; unset A; x $A", "$A"),
        ('x "${A[@]}"', "${A[@]}"),
        ('if true; then A=(b); fi; x "${A[@]}"', "${A[@]}"),
        ("x $'a'", "a"),
    ],
)  # fmt: skip
def test_what_only_a_shell_can_know_is_named(text, unknown):
    assert parse_script(text)[-1].words[1].unknown == unknown


def test_words_have_the_line_on_which_they_stand():
    command = parse_script("# one\n\nx a \\\n  'b\n c' d", first_line=10)[0]

    assert [(word.text, word.line) for word in command.words] == [("x", 12), ("a", 12), ("b\n c", 13), ("d", 14)]


@pytest.mark.parametrize(
    ("text", "sometimes"),
    [("x", False), ("if a; then x; fi", True), ("while a; do\n x\ndone", True), ("f() { x; }", True), ("if a; then b; fi; x", False)],
)  # fmt: skip
def test_commands_in_branches_are_marked(text, sometimes):
    command = next(command for command in parse_script(text) if command.words[0].text == "x")

    assert command.sometimes is sometimes


def test_exported_variables_belong_to_the_commands_behind_them():
    first, second = parse_script("A=1 x\nexport B=2\nC=3\nD=$E y")

    assert [(name, word.text) for name, word in first.environment] == [("A", "1")]
    assert [(name, word.text, word.unknown) for name, word in second.environment] == [("B", "2", ""), ("D", "$E", "$E")]


@pytest.mark.parametrize("text", ["x 'a", 'x "a', "x\ny $'a"])
def test_a_quote_without_its_end_is_refused_with_its_line(text):
    with pytest.raises(InvalidValueError, match=rf"line {text.count(chr(10)) + 1}: .* has no closing"):
        parse_script(text)


def test_a_script_as_long_as_a_book_is_refused():
    with pytest.raises(InvalidValueError, match="at most 500,000 are read"):
        parse_script("x" * 500_001)


PIECES = ("a", "b", " ", "\t", "\n", "\\", "\\\n", "'", '"', "$", "#", "=", "é", "1", "A=x", "$A", '"$A"', "${A}", "; ", "A=(p q)", '"${A[@]}"')  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text_gives_commands_or_one_line(text):
    try:
        commands = parse_script(text)
    except InvalidValueError as error:
        assert "\n" not in error.message  # noqa: PT017
    else:
        assert all(command.words for command in commands)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash to compare with")
def test_known_words_are_those_that_bash_hands_over():
    texts = []

    @given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
    def collect(text):
        script = f"unset A; {text}\nshow end"
        with contextlib.suppress(InvalidValueError):
            shown = [command.words[1:] for command in parse_script(script) if command.words[0].text == "show"]
            if shown and not any(word.unknown for found in shown for word in found):
                texts.append((script, [[word.text for word in found] for found in shown]))

    collect()
    checked = 0
    for script, shown in texts[:60]:
        program = f'set -f; show() {{ printf "%s\\0" "$#" "$@"; }}; {script}'
        done = subprocess.run(["bash", "-c", program], capture_output=True, check=False, input=b"")
        fields = done.stdout.decode(errors="replace").split("\0")[:-1]
        if done.returncode == 0 and fields:
            *_, last = shown
            assert fields[-len(last) :] == last, script
            checked += 1
    assert checked > 5


def test_arguments_of_a_script_are_put_in():
    script = parse_script('x a "$@" b; y "$1"', arguments=[Word("c d", 7)])

    assert [(word.text, word.line) for word in script[0].words] == [("x", 1), ("a", 1), ("c d", 7), ("b", 1)]
    assert script[1].words[1].unknown == "$1"
    assert parse_script('x "$@"')[0].words[1].unknown == "$@"
    assert [word.text for word in parse_script("x $A", known={"A": "1"})[0].words] == ["x", "1"]


def test_a_command_of_nothing_is_none():
    """
    What an empty variable leaves is no word; an empty one in quotes is.
    """
    assert parse_script("A=; $A") == []
    assert words('A=; "$A"') == [""]
