"""
The safetensors format: 8 bytes of header length, a JSON header, then the data that we never read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from vllm_sizing.errors import ConfigError, SourceError
from vllm_sizing.sources.documents import parse_json_object, quoted
from vllm_sizing.specs.facts import SafetensorsHeaders, TensorHeader

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

LENGTH_BYTES = 8

# huggingface_hub's own bound (constants.py, SAFETENSORS_MAX_HEADER_LENGTH).
MAX_HEADER_BYTES = 25_000_000

# The index of a mixture of 384 experts in 61 layers, with scales, is some 15 MB.
MAX_INDEX_BYTES = 64_000_000

# The checkpoints with most files have about 200.
MAX_FILES = 2_000

_DTYPE_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8,
    "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
}  # fmt: skip

FileHeader = list[tuple[TensorHeader, int]]


def parse_header_length(data: bytes, *, where: str) -> int:
    """
    The header's length in bytes, from the first eight bytes of the file.

    >>> parse_header_length((64).to_bytes(8, "little"), where="model.safetensors")
    64
    """
    if len(data) < LENGTH_BYTES:
        message = f"{where} ends after {len(data)} bytes; fetch the file again"
        raise SourceError(message, source=where)
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        message = (
            f"{where} claims a header of {length:,} bytes (at most {MAX_HEADER_BYTES:,} are sensible); "
            "it is no safetensors file or is damaged, fetch it again"
        )
        raise SourceError(message, source=where)
    return length


def parse_header(data: bytes, *, where: str, file_bytes: int | None = None) -> FileHeader:
    """
    The tensors of one file, each with its bytes.

    Args:
        data: The JSON header without its length.

        file_bytes: Size of the whole file, where known: a file that ends early is refused.

    >>> parse_header(b'{"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}', where="x")
    [(TensorHeader(name='w', dtype='BF16', shape=(2, 3)), 12)]
    """
    try:
        entries = parse_json_object(data, where=f"the header of {where}", max_bytes=MAX_HEADER_BYTES)
    except ConfigError as error:
        raise SourceError(error.message, source=where) from None
    entries.pop("__metadata__", None)
    found = [_tensor(name, entry, where) for name, entry in entries.items()]
    end = max((stop for *_, stop in found), default=0)
    needed = LENGTH_BYTES + len(data) + end
    if file_bytes is not None and file_bytes < needed:
        message = f"{where} has {file_bytes:,} of {needed:,} bytes; its download is unfinished, fetch it again"
        raise SourceError(message, source=where)
    return [(tensor, stop - start) for tensor, start, stop in found]


def parse_index(data: bytes, *, where: str) -> tuple[str, ...]:
    """
    The files that an index names, sorted; a name that leaves the folder is refused.

    >>> parse_index(b'{"weight_map": {"w": "a.safetensors", "v": "a.safetensors"}}', where="index")
    ('a.safetensors',)
    """
    weight_map = parse_json_object(data, where=where, max_bytes=MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        message = f"{where} has weight_map {quoted(weight_map)}; it must map tensor names to files"
        raise ConfigError(message, field="weight_map", value=weight_map)
    for name in weight_map.values():
        if not isinstance(name, str) or not _stays_inside(name):
            message = f"{where} names the file {quoted(name)}; only .safetensors files in its folder are read"
            raise ConfigError(message, field="weight_map", value=name)
    names = sorted(set(weight_map.values()))
    if len(names) > MAX_FILES:
        message = f"{where} names {len(names):,} files; more than {MAX_FILES:,} are not read"
        raise ConfigError(message, field="weight_map", value=len(names))
    return tuple(names)


def merge_headers(files: Iterable[FileHeader]) -> SafetensorsHeaders:
    """
    The headers of all files as one; a tensor that two files hold counts once, as when loading.
    """
    tensors: dict[str, tuple[TensorHeader, int]] = {}
    num_files = 0
    for entries in files:
        num_files += 1
        for tensor, num_bytes in entries:
            tensors[tensor.name] = (tensor, num_bytes)
    by_dtype: dict[str, int] = {}
    for tensor, num_bytes in tensors.values():
        by_dtype[tensor.dtype] = by_dtype.get(tensor.dtype, 0) + num_bytes
    return SafetensorsHeaders(
        tensors=tuple(tensors[name][0] for name in sorted(tensors)),
        bytes_by_dtype=tuple(sorted(by_dtype.items())),
        num_files=num_files,
    )


def describe(headers: SafetensorsHeaders) -> str:
    """
    One line of provenance.
    """
    files = "1 file" if headers.num_files == 1 else f"{headers.num_files} files"
    return f"safetensors headers: {len(headers.tensors):,} tensors, {headers.total_bytes:,} bytes in {files}"


def _tensor(name: str, entry: Any, where: str) -> tuple[TensorHeader, int, int]:
    entry = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    sensible = (
        isinstance(dtype, str)
        and isinstance(shape, list)
        and isinstance(offsets, list)
        and len(offsets) == 2
        and len(shape) <= 64  # torch's own bound
        and all(type(number) is int and 0 <= number < 2**63 for number in (*shape, *offsets))
        and offsets[0] <= offsets[1]
    )
    if sensible and dtype in _DTYPE_BITS:
        sensible = math.prod(shape) * _DTYPE_BITS[dtype] == 8 * (offsets[1] - offsets[0])
    if not sensible:
        message = f"{where} describes tensor {quoted(name)} as {quoted(entry)}; the file is damaged"
        raise SourceError(message, source=where)
    return TensorHeader(name, dtype, tuple(shape)), offsets[0], offsets[1]


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        name.isprintable()
        and path.suffix == ".safetensors"
        and not path.is_absolute()
        and ".." not in path.parts
        and "\\" not in name
        and ":" not in name
    )
