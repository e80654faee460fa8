"""
Files of sentence-transformers beside a config: that a model pools, and how much text it takes.

Source: vLLM 0.33 ``transformers_utils/config.py:get_pooling_config``,
``get_sentence_transformer_tokenizer_config``, ``config/model.py:get_and_verify_max_len``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from vllm_sizing.sources.documents import MAX_DOCUMENT_BYTES, parse_json
from vllm_sizing.specs.facts import ModelFacts
from vllm_sizing.specs.model import ModelSpec

MODULES_FILE = "modules.json"
LENGTH_FILE = "sentence_bert_config.json"
TOKENIZER_FILE = "tokenizer_config.json"
_POOLING = frozenset((
    "sentence_transformers.models.Pooling", "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
))  # fmt: skip
_MOST_TOKENS = 2**40  # Some tokenizers write 10**30 for "no limit".


def wanted_files(config: Mapping[str, Any]) -> tuple[str, ...]:
    """
    The small files that matter beside such a config.
    """
    absolute = config.get("position_embedding_type") == "absolute"
    return (MODULES_FILE, LENGTH_FILE, *((TOKENIZER_FILE,) if absolute else ()))


def with_sentence_files(facts: ModelFacts, folder: Path, where: str) -> ModelFacts:
    """
    The facts with what lies beside the config in a folder.

    Raises:
        ConfigError: A file is not JSON.
    """
    found = {name: _read(folder / name, f"{name} of {where}") for name in wanted_files(facts.config)}
    used = tuple(f"{name}: {where}" for name, document in found.items() if document is not None)
    if not used:
        return facts
    return attrs.evolve(
        facts,
        pools=parse_pools(found[MODULES_FILE]),
        sequence_limit=parse_limit(found[LENGTH_FILE], "max_seq_length"),
        tokenizer_limit=parse_limit(found.get(TOKENIZER_FILE), "model_max_length"),
        provenance=(*facts.provenance, *used),
    )


def parse_pools(modules: object) -> bool:
    """
    Whether modules.json lists a pooling module.

    >>> parse_pools([{"type": "sentence_transformers.models.Pooling"}])
    True
    """
    entries = modules if isinstance(modules, list) else ()
    return any(isinstance(entry, dict) and entry.get("type") in _POOLING for entry in entries)


def parse_limit(document: object, key: str) -> int | None:
    """
    A number of tokens in a document; None where it sets no limit.

    >>> parse_limit({"max_seq_length": 512}, "max_seq_length")
    512
    """
    value = document.get(key) if isinstance(document, dict) else None
    return value if type(value) is int and 0 < value < _MOST_TOKENS else None


def served(spec: ModelSpec, facts: ModelFacts) -> ModelSpec:
    """
    The model as vLLM serves it beside these files.
    """
    if facts.pools and spec.runner != "pooling":
        spec = attrs.evolve(spec, runner="pooling", convert="embed")
    limit = spec.max_model_len
    if facts.tokenizer_limit is not None and spec.runner == "pooling":
        limit = min(limit, facts.tokenizer_limit)
    return attrs.evolve(spec, max_model_len=facts.sequence_limit or limit)


def _read(path: Path, where: str) -> Any:
    if not os.path.lexists(path):
        return None
    from vllm_sizing.sources.local import read_bytes

    return parse_json(read_bytes(path, where, MAX_DOCUMENT_BYTES), where=where)
