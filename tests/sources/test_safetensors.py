"""
Headers and indexes of safetensors files.
"""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hub_server import safetensors_bytes
from vllm_sizing.errors import ConfigError, SourceError
from vllm_sizing.sources.safetensors import (
    LENGTH_BYTES,
    merge_headers,
    parse_header,
    parse_header_length,
    parse_index,
)


def header(**entry):
    return json.dumps({"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12], **entry}}).encode()


def index(weight_map):
    return json.dumps({"weight_map": weight_map}).encode()


@pytest.mark.parametrize("length", [0, 1, 25_000_001, 2**62, 2**64 - 1])
def test_header_length_out_of_bounds(length):
    with pytest.raises(SourceError, match="claims a header of"):
        parse_header_length(length.to_bytes(8, "little"), where="x")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": 7},
        {"shape": "2x3"},
        {"shape": [2, -3]},
        {"shape": [2.0, 3]},
        {"shape": [True, 6]},
        {"shape": [2**63, 0]},
        {"shape": [1] * 65},
        {"shape": [2, 4]},
        {"data_offsets": [0]},
        {"data_offsets": [12, 0]},
        {"data_offsets": [0, "12"]},
        {"data_offsets": None},
        {"dtype": "F32"},
    ],
)
def test_entry_that_cannot_be(entry):
    with pytest.raises(SourceError, match="describes tensor 'w' as"):
        parse_header(header(**entry), where="x")


@pytest.mark.parametrize("data", [b"[]", b'{"w": 1}', b'{"w": {', b'{"w": {}, "w": {}}'])
def test_header_that_is_no_header(data):
    with pytest.raises(SourceError):
        parse_header(data, where="x")


def test_unknown_dtype_is_taken_at_its_bytes():
    [(tensor, num_bytes)] = parse_header(header(dtype="F5"), where="x")

    assert tensor.dtype == "F5"
    assert num_bytes == 12


def test_metadata_is_no_tensor():
    assert parse_header(b'{"__metadata__": {"format": "pt"}}', where="x") == []


def test_size_of_the_file_is_checked():
    data = header()

    parse_header(data, where="x", file_bytes=LENGTH_BYTES + len(data) + 12)
    with pytest.raises(SourceError, match="has 20 of "):
        parse_header(data, where="x", file_bytes=20)


def test_tensor_in_two_files_counts_once():
    merged = merge_headers([parse_header(header(), where="x")] * 2)

    assert merged.total_bytes == 12
    assert merged.num_files == 2


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "../x.safetensors",
        "/etc/x.safetensors",
        "a/../../x.safetensors",
        "..\\x.safetensors",
        "C:x.safetensors",
        "x.bin",
        "x\n.safetensors",
        "\x1b[31mx.safetensors",
        "",
        7,
        None,
        ["x.safetensors"],
    ],
)
def test_index_that_leaves_its_folder(name):
    with pytest.raises(ConfigError) as caught:
        parse_index(index({"w": name}), where="x")

    assert caught.value.message.isprintable()


@pytest.mark.parametrize("weight_map", [None, {}, [], "x", 7])
def test_index_without_a_map(weight_map):
    with pytest.raises(ConfigError, match="must map tensor names to files"):
        parse_index(index(weight_map), where="x")


def test_index_with_too_many_files():
    with pytest.raises(ConfigError, match=r"names 2,001 files"):
        parse_index(index({str(n): f"{n}.safetensors" for n in range(2001)}), where="x")


@given(st.dictionaries(st.text(max_size=8), st.lists(st.integers(0, 9), max_size=3), max_size=8))
def test_bytes_are_conserved(shapes):
    """
    A header's tensors have as many bytes as the file has behind the header.
    """
    shapes.pop("__metadata__", None)
    tensors = {name: ("F16", shape, 2 * product(shape)) for name, shape in shapes.items()}
    data = safetensors_bytes(tensors)
    length = parse_header_length(data, where="x")
    entries = parse_header(data[8 : 8 + length], where="x", file_bytes=len(data))

    assert merge_headers([entries]).total_bytes == len(data) - 8 - length
    assert merge_headers([entries]).num_elements * 2 == len(data) - 8 - length


def product(shape):
    result = 1
    for size in shape:
        result *= size
    return result


@given(st.binary(max_size=100))
def test_any_bytes_give_a_header_or_our_error(data):
    """
    No bytes lead to another exception.
    """
    with contextlib.suppress(SourceError):
        parse_header(data, where="x")
    with contextlib.suppress(SourceError):
        parse_header_length(data, where="x")
