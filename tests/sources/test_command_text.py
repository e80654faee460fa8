import contextlib
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_sizing.errors import InvalidValueError
from vllm_sizing.sources.command_text import split_command

PIECES = (
    "a",
    "b",
    " ",
    "\t",
    "\n",
    "\\",
    "\\\n",
    "'",
    '"',
    "$",
    "#",
    "{",
    "}",
    ",",
    "=",
    "é",
    "\u00a0",
    "1",
    "!",
    "*",
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vllm serve m", ("vllm", "serve", "m")),
        ("vllm serve m \\\n  -tp 2 \\\r\n  --seed=7\n", ("vllm", "serve", "m", "-tp", "2", "--seed=7")),
        ("# start\n\nvllm serve m # here\n# done", ("vllm", "serve", "m")),
        ("x 'a b' \"c 'd'\" e\\ f ''", ("x", "a b", "c 'd'", "e f", "")),
        (r'x "a\"b\\c\d\$e"', ("x", r'a"b\c\d$e')),
        ('x "a\\\nb" c\\\nd', ("x", "ab", "cd")),
        ("""x '{"a": "$HOME"}'""", ("x", '{"a": "$HOME"}')),
        ('x a#b a$ $. "$\'"', ("x", "a#b", "a$", "$.", "$'")),
        ("x {} {a} '{a,b}' ~/m *", ("x", "{}", "{a}", "{a,b}", "~/m", "*")),
        ("exec env A=1 vllm serve m", ("vllm", "serve", "m")),
    ],
)
def test_words_are_those_of_a_shell(text, words):
    assert split_command(text).words == words


def test_variables_before_the_command_are_its_environment():
    command = split_command("A=1 B='x y' nohup env C= vllm serve D=4")

    assert command.environment == (("A", "1"), ("B", "x y"), ("C", ""))
    assert command.words == ("vllm", "serve", "D=4")


def test_a_quoted_assignment_is_a_program():
    assert split_command("'A'=1 x").words == ("A=1", "x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no command"),
        ("A=1 B=2", "holds no command"),
        ("# nothing", "holds no command"),
        ("vllm serve $MODEL", r"'\$MODEL' is known to the shell alone"),
        ('vllm serve "${MODEL:-m}"', r"'\$\{MODEL:-m\}' is known to the shell alone"),
        ("vllm serve $(cat m)", "known to the shell alone"),
        ("vllm serve `cat m`", "known to the shell alone"),
        ('vllm serve "`cat m`"', "known to the shell alone"),
        ("vllm serve $1", "known to the shell alone"),
        ("vllm serve $'a'", "needs a shell"),
        ("vllm serve m | tee log", "needs a shell"),
        ("vllm serve m > log", "needs a shell"),
        ("vllm serve m &", "needs a shell"),
        ("vllm serve m; rm -rf /", "needs a shell"),
        ("(vllm serve m)", "needs a shell"),
        ("vllm serve m\nvllm serve n", "begins a second command"),
        ("x {1,2}", "braces that a shell expands"),
        ("x {1..3}", "braces that a shell expands"),
        ('x {"a":1,"b":2}', "put JSON in single quotes"),
        ("x 'a", "no closing '"),
        ('x "a', 'no closing "'),
        ("x a\\", "its next line is missing"),
        ("x" * 1_000_001, "is longer than a command"),
    ],
)
def test_what_only_a_shell_can_know_is_refused(text, reason):
    with pytest.raises(InvalidValueError, match=reason) as error:
        split_command(text)

    assert "\n" not in error.value.message
    assert len(error.value.message) < 200


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text_gives_words_or_one_line(text):
    outcome = []
    try:
        outcome += split_command(text).words
    except InvalidValueError as error:
        outcome.append(error.message)

    assert outcome


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash to compare with")
def test_words_are_those_that_bash_hands_over():
    texts = []

    @given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
    def collect(text):
        with contextlib.suppress(InvalidValueError):
            texts.append((text, split_command(f"show {text}").words[1:]))

    collect()
    # One shell for all: each text is read by eval, as a line of its own.
    script = 'set -f; show() { printf "%s\\0" "$#" "$@"; }; while IFS= read -r -d "" text; do eval "$text"; done'
    given_texts = "".join(f"show {text}\0" for text, _ in texts)
    done = subprocess.run(["bash", "-c", script], input=given_texts.encode(), capture_output=True, check=True)

    fields = iter(done.stdout.decode().split("\0")[:-1])
    for text, words in texts:
        count = int(next(fields))
        assert tuple(next(fields) for _ in range(count)) == words, text
    assert len(texts) > 20
