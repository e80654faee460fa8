"""
The GGUF format: metadata and a list of tensors, then the data that we never read.

Source: the format's description in llama.cpp's ggml, ``docs/gguf.md``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import attrs

from vllm_sizing.architectures.formats.gguf import BLOCKS, PLAIN
from vllm_sizing.architectures.gguf_format import Tensors, config_from_gguf
from vllm_sizing.errors import SourceError
from vllm_sizing.sources.documents import quoted
from vllm_sizing.specs.facts import ModelFacts
from vllm_sizing.specs.value import Value

SUFFIX = ".gguf"
FIRST_READ_BYTES = 16 * 2**20  # A vocabulary of 150,000 tokens with its merges is some 6 MB.
MAX_HEADER_BYTES = 128 * 2**20

_MAX_TENSORS = 2**17
_MAX_KEYS = 2**16
_MAX_STRING = 2**24
_SHORT = 2**10
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
# Numbers of the types, with those that vLLM has no kernel for: they are told by name.
_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip
_SIZES = {**BLOCKS, **PLAIN}


class UnfinishedHeaderError(SourceError):
    """
    The header goes on after the bytes that were given.
    """


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GgufHeader(Value):
    """
    What a file says before its data.

    Attributes:
        metadata: Of an array only its ``length``.

        tensors: Name -> (type, shape as torch has it).

        num_bytes: Of the tensors of types whose size is known.
    """

    metadata: Mapping[str, Any]
    tensors: Tensors
    num_bytes: int


class _Reader:
    """
    Numbers and strings one after the other; an end too early is an `UnfinishedHeaderError`.
    """

    def __init__(self, data: bytes, where: str) -> None:
        self.data, self.where, self.at = data, where, 0

    def number(self, form: str) -> Any:
        end = self.at + struct.calcsize(form)
        self._need(end)
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at = end
        return value

    def skip(self, num_bytes: int) -> None:
        self._need(self.at + num_bytes)
        self.at += num_bytes

    def text(self) -> str:
        length = self.number("<Q")
        if length > _MAX_STRING:
            raise self.damaged(f"a string of {length:,} bytes")
        start = self.at
        self.skip(length)
        return self.data[start : min(self.at, start + _SHORT)].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise self.damaged(f"a value of type {kind}")
        kind, length = self.number("<I"), self.number("<Q")
        if length > MAX_HEADER_BYTES or kind not in (*_SCALARS, _STRING):
            raise self.damaged(f"an array of {length:,} values of type {kind}")
        if kind == _STRING:
            self._skip_strings(length)
        else:
            self.skip(length * struct.calcsize(_SCALARS[kind]))
        return {"length": length}

    def _skip_strings(self, number: int) -> None:
        unpack, data, at = struct.Struct("<Q").unpack_from, self.data, self.at  # Vocabularies are long.
        last = len(data) - 8
        for _ in range(number):
            if at > last:
                self._need(at + 8)
            at += 8 + unpack(data, at)[0]
        self._need(at)
        self.at = at

    def damaged(self, what: str) -> SourceError:
        message = f"{self.where} holds {what}; it is no GGUF file or is damaged, fetch it again"
        return SourceError(message, source=self.where)

    def _need(self, end: int) -> None:
        if end > len(self.data):
            message = f"{self.where} ends inside its header; its download is unfinished, fetch it again"
            raise UnfinishedHeaderError(message, source=self.where)


def parse_gguf(data: bytes, *, where: str, file_bytes: int | None = None) -> GgufHeader:
    """
    The header of a file, from its first bytes.

    Args:
        file_bytes: Size of the whole file, where known: a file that ends early is refused.

    Raises:
        UnfinishedHeaderError: More bytes are needed.

        SourceError: It is no such file.
    """
    reader = _Reader(data, where)
    if data[:4] != b"GGUF":
        raise reader.damaged(f"{quoted(data[:4])} where GGUF stands in such files")
    reader.skip(4)
    version = reader.number("<I")
    if version not in (2, 3):
        raise reader.damaged(f"version {version} of the format (2 and 3 are read, numbers low byte first)")
    num_tensors, num_keys = reader.number("<Q"), reader.number("<Q")
    if num_tensors > _MAX_TENSORS or num_keys > _MAX_KEYS:
        raise reader.damaged(f"{num_tensors:,} tensors and {num_keys:,} keys")
    metadata = {}
    for _ in range(num_keys):
        key = reader.text()
        metadata[key] = reader.value(reader.number("<I"))
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    total = end = 0
    for _ in range(num_tensors):
        name, stored, shape, offset = _tensor(reader)
        if name in tensors:
            raise reader.damaged(f"the tensor {quoted(name)} twice")
        tensors[name] = (stored, shape)
        block, block_bytes = _SIZES.get(stored, (1, 0))
        num_bytes = math.prod(shape) // block * block_bytes
        total, end = total + num_bytes, max(end, offset + num_bytes)
    if file_bytes is not None and file_bytes < reader.at + end:
        message = f"{where} has {file_bytes:,} of {reader.at + end:,} bytes; its download is unfinished, fetch it again"
        raise SourceError(message, source=where)
    return GgufHeader(metadata=metadata, tensors=tensors, num_bytes=total)


def _tensor(reader: _Reader) -> tuple[str, str, tuple[int, ...], int]:
    name = reader.text()
    num_axes = reader.number("<I")
    if num_axes > 4:
        raise reader.damaged(f"a tensor with {num_axes} axes")
    shape = tuple(reversed([reader.number("<Q") for _ in range(num_axes)]))
    number, offset = reader.number("<I"), reader.number("<Q")
    if number not in _TYPES:
        raise reader.damaged(f"the tensor {quoted(name)} in the unknown type {number}")
    if any(size >= 2**40 for size in shape) or offset >= 2**50:
        raise reader.damaged(f"the tensor {quoted(name)} of shape {shape} at {offset:,}")
    return name, _TYPES[number], shape, offset


def gguf_facts(header: GgufHeader, *, name: str, where: str) -> ModelFacts:
    """
    The facts of a model that is one such file.
    """
    return ModelFacts(
        name=name,
        config=config_from_gguf(header.metadata, header.tensors),
        checkpoint_bytes=header.num_bytes,
        provenance=(f"GGUF header: {where}, {len(header.tensors):,} tensors, {header.num_bytes:,} bytes",),
    )
