"""
What is known of a model before anybody interprets it: its config files and tensor headers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import attrs

from vllm_sizing.specs.value import Value


class TensorHeader(NamedTuple):
    """
    One tensor as a safetensors header lists it: no data, only what it is.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SafetensorsHeaders(Value):
    """
    The headers of all safetensors files of a checkpoint.

    Attributes:
        tensors: Sorted by name.

        bytes_by_dtype: Stored bytes by safetensors dtype (``BF16``, ``F8_E4M3``, ``U8``...).

        num_files: How many files they are spread over.
    """

    tensors: tuple[TensorHeader, ...]
    bytes_by_dtype: tuple[tuple[str, int], ...]
    num_files: int

    @property
    def total_bytes(self) -> int:
        """
        Bytes of all tensors.

        >>> headers = SafetensorsHeaders(tensors=(), bytes_by_dtype=(("BF16", 8), ("F32", 4)), num_files=1)
        >>> headers.total_bytes
        12
        """
        return sum(num_bytes for _, num_bytes in self.bytes_by_dtype)

    @property
    def num_elements(self) -> int:
        """
        Elements as stored: a ``U8`` that packs two 4-bit weights counts once.

        >>> tensors = (TensorHeader("embed", "BF16", (4, 3)), TensorHeader("scale", "F32", ()))
        >>> SafetensorsHeaders(tensors=tensors, bytes_by_dtype=(("BF16", 24),), num_files=1).num_elements
        13
        """
        return sum(math.prod(tensor.shape) for tensor in self.tensors)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ModelFacts(Value):
    """
    The files of one checkpoint as they were found, checked for form but not for meaning.

    Attributes:
        name: What ``vllm serve`` would be given: a Hub id or a path.

        config: config.json.

        hf_quant_config: hf_quant_config.json, the second file of ModelOpt checkpoints.

        headers: None where no safetensors header was read.

        checkpoint_bytes: Of the safetensors files; None where unknown.

        pools: The files say that the model is for sentence-transformers: vLLM pools with it.

        sequence_limit: Tokens of ``sentence_bert_config.json``, which replace the config's own limit.

        tokenizer_limit: Tokens of ``tokenizer_config.json``, read for absolute positions.

        revision: Commit hash on the Hub.

        provenance: What was used, best first, then what was not to be had and why.
    """

    name: str
    config: Mapping[str, Any]
    hf_quant_config: Mapping[str, Any] | None = None
    headers: SafetensorsHeaders | None = None
    checkpoint_bytes: int | None = None
    pools: bool = False
    sequence_limit: int | None = None
    tokenizer_limit: int | None = None
    revision: str | None = None
    provenance: tuple[str, ...] = ()
