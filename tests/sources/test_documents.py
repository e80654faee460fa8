"""
JSON from strangers.
"""

import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_sizing.errors import ConfigError
from vllm_sizing.sources.documents import parse_json_object, quoted


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"{", "ends in the middle"),
        (b'{"a": 1, "b', "ends in the middle"),
        (b'{"a": 1}}', "is not JSON: Extra data at line 1, column 9"),
        (b"{'a': 1}", "is not JSON: Expecting property name"),
        (b"<html>", "is a web page"),
        (b"[1]", "holds [1]; it must hold a JSON object"),
        (b"null", "holds None; it must hold a JSON object"),
        (b'"text"', "holds 'text'; it must hold a JSON object"),
        (b'{"a": NaN}', "NaN is no value"),
        (b'{"a": {"b": 1, "b": 2}}', "key 'b' stands there twice"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not usable JSON"),
        (b'{"a": "\xff"}', "is not UTF-8 text (byte 7)"),
        (b'\xef\xbb\xbf{"a": 1}', "has a byte-order mark"),
        ('{"a": 1}'.encode("utf-16"), "is UTF-16"),
        ('{"a": 1}'.encode("utf-16-le"), "is UTF-16"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nests deeper than 64 levels"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nests deeper than 64 levels"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ],
)
def test_refused_in_one_line(data, said):
    with pytest.raises(ConfigError) as caught:
        parse_json_object(data, where="config.json of x")

    assert caught.value.message.startswith("config.json of x ")
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_bound_on_size():
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        parse_json_object(b'{"abc": 12}', where="x", max_bytes=10)
    assert parse_json_object(b'{"abc": 1}', where="x", max_bytes=10) == {"abc": 1}


def test_infinity_is_real():
    assert parse_json_object(b'{"time_step_limit": [0.0, Infinity]}', where="x")["time_step_limit"][1] == math.inf


def test_deepest_that_is_read():
    nested = b'{"a":' * 63 + b"1" + b"}" * 63
    assert parse_json_object(nested, where="x")


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=20)))
def test_every_object_round_trips(value):
    """
    What json writes is read back as it was.
    """
    assert parse_json_object(json.dumps(value).encode(), where="x") == value


@given(st.binary(max_size=200))
def test_any_bytes_give_an_object_or_our_error(data):
    """
    No bytes lead to another exception.
    """
    with contextlib.suppress(ConfigError):
        assert isinstance(parse_json_object(data, where="x"), dict)


@given(st.one_of(st.text(), st.lists(st.integers())))
def test_quoted_is_short_and_plain(value):
    """
    Nothing of a stranger's value reaches a terminal.
    """
    text = quoted(value)

    assert len(text) <= 80
    assert text.isascii()
    assert text.isprintable()
