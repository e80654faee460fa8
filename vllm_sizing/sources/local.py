"""
A model on this machine: a folder as `huggingface_hub` or git leaves it, or a config file alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vllm_sizing.architectures.mistral_format import config_from_params
from vllm_sizing.errors import SourceError
from vllm_sizing.sources.documents import MAX_DOCUMENT_BYTES, parse_json_object
from vllm_sizing.sources.safetensors import (
    INDEX_FILE,
    LENGTH_BYTES,
    MAX_INDEX_BYTES,
    SINGLE_FILE,
    FileHeader,
    describe,
    merge_headers,
    parse_header,
    parse_header_length,
    parse_index,
)
from vllm_sizing.sources.sentence import with_sentence_files
from vllm_sizing.specs.facts import ModelFacts, SafetensorsHeaders

# Below, os.path.lexists and not Path.exists: a link that leads nowhere is a fault to be told, not an absence.
CONFIG_FILE = "config.json"
PARAMS_FILE = "params.json"  # Mistral's own format.
QUANT_FILE = "hf_quant_config.json"


def fetch_local_facts(path: Path, *, name: str, where: str | None = None) -> ModelFacts:
    """
    The facts of a model folder or of a single config file.

    Args:
        where: What provenance and errors call the folder; default: its path.

    Raises:
        SourceError: A file is missing or unreadable.
        ConfigError: A file is not what it should be.
    """
    if not is_folder(path):
        if path.suffix == ".gguf":
            return _gguf_facts(path, name, where or str(path))
        if path.name != CONFIG_FILE:
            label = str(where or path)
            return ModelFacts(name=name, config=read_document(path, label), provenance=(f"config: {label}",))
        path = path.parent
    where = where or str(path)
    own = not os.path.lexists(path / CONFIG_FILE) and os.path.lexists(path / PARAMS_FILE)
    if not own and not os.path.lexists(path / CONFIG_FILE):
        raise SourceError(no_config(where, list_names(path)), source=where)
    file = PARAMS_FILE if own else CONFIG_FILE
    config = read_document(path / file, f"{file} of {where}")
    if own:
        config = config_from_params(config)
    used, missed = [f"{file}: {where}"], []
    quant = None
    if os.path.lexists(path / QUANT_FILE):
        quant = read_document(path / QUANT_FILE, f"{QUANT_FILE} of {where}")
        used.append(f"{QUANT_FILE}: {where}")
    headers = read_folder_headers(path, where)
    if isinstance(headers, SafetensorsHeaders):
        used.insert(0, describe(headers))
    else:
        missed.append(f"safetensors headers: not read, {headers}")
    found = headers if isinstance(headers, SafetensorsHeaders) else None
    facts = ModelFacts(
        name=name,
        config=config,
        hf_quant_config=quant,
        headers=found,
        checkpoint_bytes=found.total_bytes if found else None,
        provenance=(*used, *missed),
    )
    return with_sentence_files(facts, path, where)


def read_folder_headers(folder: Path, where: str) -> SafetensorsHeaders | str:
    """
    The headers of a folder's safetensors files, or the reason why there are none to read.
    """
    if os.path.lexists(folder / INDEX_FILE):
        index = read_bytes(folder / INDEX_FILE, f"{INDEX_FILE} of {where}", MAX_INDEX_BYTES)
        names = parse_index(index, where=f"{INDEX_FILE} of {where}")
    elif os.path.lexists(folder / SINGLE_FILE):
        names = (SINGLE_FILE,)
    else:
        return f"there is neither {SINGLE_FILE} nor {INDEX_FILE}"
    missing = [name for name in names if not os.path.lexists(folder / name)]
    if missing:
        return f"{missing[0]} is missing ({len(missing)} of {len(names)} files)"
    files: list[FileHeader] = []
    for name in names:
        header = _read_header(folder / name, f"{name} of {where}")
        if header is None:
            return f"{name} is a Git LFS pointer"
        files.append(header)
    return merge_headers(files)


def read_document(path: Path, where: str) -> dict[str, Any]:
    """
    The JSON object in a file.
    """
    return parse_json_object(read_bytes(path, where, MAX_DOCUMENT_BYTES), where=where)


def read_bytes(path: Path, where: str, max_bytes: int) -> bytes:
    """
    All of a regular file; one byte more than max_bytes if it is larger.
    """
    try:
        # A pipe or a device named config.json would never end.
        if not stat.S_ISREG(path.stat().st_mode):
            message = f"{where} is not a regular file; give a folder with config.json or a JSON file"
            raise SourceError(message, source=str(path))
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise _unreadable(where, path, error) from None


def is_folder(path: Path) -> bool:
    """
    Whether path leads to a folder.
    """
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        raise _unreadable(str(path), path, error) from None


def list_names(folder: Path) -> list[str]:
    """
    The names in a folder.
    """
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError as error:
        raise _unreadable(str(folder), folder, error) from None


def no_config(where: str, names: Iterable[str]) -> str:
    """
    Why there is no config.json, from the names that are there instead.

    >>> no_config("models/x", ["model-Q4_K_M.gguf"])
    'models/x has no config.json but GGUF files; give the path of one, or the model that they were made from'
    """
    there = set(names)
    if "adapter_config.json" in there:
        hint = "a LoRA adapter; give its base model (base_model_name_or_path in adapter_config.json)"
    elif any(name.endswith(".gguf") for name in there):
        hint = "GGUF files; give the path of one, or the model that they were made from"
    elif "model_index.json" in there:
        hint = "a diffusion pipeline; vLLM's memory for those is not modelled"
    else:
        return f"{where} has no config.json; give a Transformers model's folder, a config file or a Hub id"
    return f"{where} has no config.json but {hint}"


def _read_header(path: Path, where: str) -> FileHeader | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            message = f"{where} is not a regular file; fetch the checkpoint again"
            raise SourceError(message, source=str(path))
        file_bytes = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(LENGTH_BYTES)
            if start == b"version ":
                return None
            length = parse_header_length(start, where=where)
            header = file.read(length)
    except OSError as error:
        raise _unreadable(where, path, error) from None
    if len(header) < length:
        message = f"{where} ends inside its header; its download is unfinished, fetch it again"
        raise SourceError(message, source=where)
    return parse_header(header, where=where, file_bytes=file_bytes)


def _gguf_facts(path: Path, name: str, where: str) -> ModelFacts:
    from vllm_sizing.sources.gguf import (
        FIRST_READ_BYTES,
        MAX_HEADER_BYTES,
        UnfinishedHeaderError,
        gguf_facts,
        parse_gguf,
    )

    data = read_bytes(path, where, FIRST_READ_BYTES)
    file_bytes = path.stat().st_size
    try:
        header = parse_gguf(data, where=where, file_bytes=file_bytes)
    except UnfinishedHeaderError:
        if file_bytes <= len(data):
            raise
        header = parse_gguf(read_bytes(path, where, MAX_HEADER_BYTES), where=where, file_bytes=file_bytes)
    if header.metadata.get("general.architecture") == "gemma3" and any(
        "mmproj" in at for at in list_names(path.parent)
    ):
        message = f"{where} lies beside an mmproj file, with which vLLM takes images: not modelled; move one of them"
        raise SourceError(message, source=where)
    return gguf_facts(header, name=name, where=where)


def _unreadable(where: str, path: Path, error: OSError) -> SourceError:
    if isinstance(error, PermissionError):
        message = f"{where} may not be read by this user; change its mode or run as its owner"
    elif isinstance(error, FileNotFoundError):
        message = f"{where} does not exist (a link may lead nowhere); check the path"
    else:
        message = f"{where} cannot be read: {error.strerror or error}; check the path and the disk"
    return SourceError(message, source=str(path))
