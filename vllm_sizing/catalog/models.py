"""
Models that people serve: what of their config.json decides memory and speed.

``models.jsonl`` holds one model a line, ``id`` first, sorted.  ``like`` names the entry whose config
a line builds on (a null there takes a key away); ``quantized_from`` the model that a line is a
quantization of.  It is read once, and only the lines that are asked for are parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from vllm_sizing.catalog.names import fold, quote, suggest
from vllm_sizing.errors import UnknownNameError
from vllm_sizing.specs.value import Value

_FILE = "models.jsonl"
_ID = '{"id":"'
_cache: dict[str, str] = {}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CatalogModel(Value):
    """
    One model of the catalog.

    Attributes:
        id: Hub id.

        config: Of its config.json, what decides memory and speed.

        hf_quant_config: The second file of ModelOpt checkpoints, where vLLM reads it.

        gated: The Hub asks for a licence before it gives the files.

        num_parameters: Without the second copy that some files hold of tied embeddings, scales
            not counted; None where no published total confirms it.

        checkpoint_bytes: Of the safetensors files' tensors; None where not known exactly.

        quantized_from: Hub id of the model that this one is a quantization of; None: of none.

        pools: It has sentence-transformers' files, with which vLLM pools.

        sequence_limit: Tokens of a text by those files, where they say.

        source: Where the facts come from.
    """

    id: str
    config: Mapping[str, Any]
    hf_quant_config: Mapping[str, Any] | None = None
    gated: bool = False
    num_parameters: int | None = None
    checkpoint_bytes: int | None = None
    quantized_from: str | None = None
    pools: bool = False
    sequence_limit: int | None = None
    source: str = ""


def model_names() -> tuple[str, ...]:
    """
    The Hub ids of all models, sorted.

    >>> "Qwen/Qwen3-32B" in model_names()
    True
    """
    return tuple(_lines())


def find_model(name: str) -> CatalogModel:
    """
    A model by its Hub id, or by the part behind the slash where that is one model's only.

    Case does not matter, nor do hyphens behind the slash where that part stands alone.

    Raises:
        UnknownNameError: No model has that name, or several have.

    >>> find_model("qwen3-32b").num_parameters
    32762123264
    """
    found = look_up(name)
    if found is None:
        near = near_names(name)
        hint = f"did you mean {' or '.join(near)}?" if near else "model_names() lists all."
        message = f"no model {quote(name)} in the catalog; {hint}"
        raise UnknownNameError(message, name=name, candidates=near)
    return found


def look_up(name: str) -> CatalogModel | None:
    """
    As `find_model`, but None for a name that the catalog does not hold.
    """
    wanted = name.strip().casefold()
    names = _names()
    ids = {model_id for known, model_id in names if known == wanted}
    if not ids and "/" not in wanted:
        ids = {model_id for known, model_id in names if fold(known.partition("/")[2]) == fold(wanted)}
    if len(ids) > 1:
        candidates = tuple(sorted(ids))
        message = f"{quote(name)} could be {' or '.join(candidates)}; give one of them"
        raise UnknownNameError(message, name=name, candidates=candidates)
    return _load(ids.pop()) if ids else None


def near_names(name: str) -> tuple[str, ...]:
    """
    Up to three ids that might have been meant, best first.

    >>> near_names("Qwen/Qwen3-32")[0]
    'Qwen/Qwen3-32B'
    """
    ids = dict(_names())
    ids |= {known.partition("/")[2]: model_id for known, model_id in ids.items()}
    near = suggest(name, ids, limit=6)
    return tuple(dict.fromkeys(ids[known] for known in near))[:3]


def siblings(model_id: str) -> tuple[str, ...]:
    """
    The other catalog ids that are the same model in another quantization, sorted.

    >>> siblings("Qwen/Qwen3-14B")
    ('Qwen/Qwen3-14B-AWQ', 'Qwen/Qwen3-14B-FP8', 'RedHatAI/Qwen3-14B-FP8-dynamic')
    """
    roots = {known: _field(line, "quantized_from") or known for known, line in _lines().items()}
    root = roots.get(model_id)
    return tuple(known for known in roots if root == roots[known] and known != model_id)


def _load(model_id: str) -> CatalogModel:
    import json

    entry = json.loads(_lines()[model_id])
    config = entry.pop("config")
    like = entry.pop("like", None)
    entry.pop("aliases", None)
    if like is not None:
        taken = {key for key, value in config.items() if value is None}
        config = {key: value for key, value in {**_load(like).config, **config}.items() if key not in taken}
    return CatalogModel(config=config, **entry)


def _lines() -> dict[str, str]:
    """
    Lines by id.
    """
    if not _cache:
        # The loader reads from wheels and zip files alike; importlib.resources costs more than all else here.
        loader: Any = __spec__.loader
        text = loader.get_data(__file__.removesuffix("models.py") + _FILE).decode("ascii")
        _cache.update((line[len(_ID) :].partition('"')[0], line) for line in text.splitlines())
    return _cache


def _names() -> list[tuple[str, str]]:
    """
    Every id and alias in lower case, with the id that it means.
    """
    names = [(model_id.casefold(), model_id) for model_id in _lines()]
    for model_id, line in _lines().items():
        aliases = _field(line, "aliases")
        names += [(alias.casefold(), model_id) for alias in aliases.split('","') if alias]
    return names


def _field(line: str, key: str) -> str:
    """
    The string under a key, or the strings of a list; both stand before ``config``.
    """
    value = line.partition('"config":')[0].partition(f'"{key}":')[2]
    end = value.find("]") if value.startswith("[") else value.find('"', 1)
    return value[:end].strip('["')
