"""
YAML with lines, and what is refused of it.
"""

import pytest

from vllm_sizing.errors import SourceError
from vllm_sizing.sources.yaml_nodes import parse_nodes

TEXT = """\
a: &a
  b: [1, "2", 1e3]
  c: |
    x
    y
---
# nothing
---
d: {<<: {e: 1, f: 2}, f: 3}
g: !Ref h
i: 2026-01-01
"""


def test_every_value_has_its_line():
    first, second = parse_nodes(TEXT)

    assert first.get("a", "b", 2).line == 2
    assert (first.get("a", "c").line, first.get("a", "c").first_line) == (3, 4)
    assert second.key_line("g") == 10
    assert second.key_line("missing") == second.line == 9


def test_values_are_read_and_tags_are_not_constructed():
    first, second = parse_nodes(TEXT)

    assert first.plain() == {"a": {"b": [1, "2", "1e3"], "c": "x\ny\n"}}
    assert second.plain() == {"d": {"e": 1, "f": 3}, "g": "h", "i": "2026-01-01"}


def test_paths_that_are_not_there_give_nothing():
    node = parse_nodes("a: {b: [1], c: null, d: x}")[0]

    assert node.get("a", "x", "y") is None
    assert node.get("a", "b", 7) is None
    assert node.get("a", 0) is None
    assert (node.string("a", "c"), node.string("a", "b"), node.string("z")) == ("", "", "")
    assert (node.number("a", "d"), node.number("a", "b")) == (None, None)
    assert (node.words("a"), node.words("a", "c"), [word.text for word in node.words("a", "d")]) == ([], [], ["x"])
    assert (node.items("a"), node.entries("a", "b")) == ([], {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [*a]", "an alias inside what it names, in line 1"),
        ("a: b: c", "mapping values are not allowed here in line 1"),
        ("{a: 1,\na: 2}", "the key 'a' twice, in lines 1 and 2"),
        ("? [1]\n: 2", "a key that is no word, in line 1"),
        ("a: " + "[" * 100 + "]" * 100, "nests deeper than 64 levels"),
        ("a: " + "[" * 5000, "nests deeper than 64 levels"),
        ("a: \x07", "is not usable YAML"),
        ("x" * 500_001, "at most 500,000 are read"),
        ("a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(f"{n}: &{n} [{','.join([f'*{o}'] * 10)}]\n" for o, n in zip("abcdef", "bcdefg", strict=True)),
         "unfolds to more than 100,000 values"),
    ],
)  # fmt: skip
def test_what_no_deployment_has_is_refused_in_one_line(text, reason):
    with pytest.raises(SourceError, match=reason) as error:
        parse_nodes(text, where="f.yaml")

    assert error.value.message.startswith("f.yaml ")
    assert "\n" not in error.value.message


def test_the_first_line_may_be_another():
    assert parse_nodes("a: 1\nb: 2", first_line=7)[0].get("b").line == 8
    with pytest.raises(SourceError, match="line 8"):
        parse_nodes("a: 1\nb: c: 2", first_line=7)
