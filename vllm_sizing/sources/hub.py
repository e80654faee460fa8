"""
A model on the Hub, through huggingface_hub: its small files, and the headers of its weights.

Endpoint, token, cache, offline mode, retries and time-outs are huggingface_hub's own (``HF_ENDPOINT``,
``HF_TOKEN``, ``HF_HOME``, ``HF_HUB_OFFLINE``, ``HF_HUB_ETAG_TIMEOUT``, ``HF_HUB_DOWNLOAD_TIMEOUT``).
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs

from vllm_sizing.errors import SizingError, SourceError
from vllm_sizing.sources.documents import MAX_DOCUMENT_BYTES
from vllm_sizing.sources.hub_errors import explain, is_about_connection
from vllm_sizing.sources.local import (
    CONFIG_FILE,
    PARAMS_FILE,
    QUANT_FILE,
    fetch_local_facts,
    no_config,
    read_bytes,
    read_document,
)
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
from vllm_sizing.sources.sentence import wanted_files
from vllm_sizing.specs.facts import ModelFacts, SafetensorsHeaders
from vllm_sizing.specs.value import Value

_log = logging.getLogger("vllm_sizing")

# huggingface_hub reads as much at first: most headers are shorter (hf_api.py,
# parse_safetensors_file_metadata).  Its own reader is not used because it takes whatever a server
# sends that ignores the range, which would be the weights, and because it does not bound the header.
_FIRST_READ_BYTES = 100_000

_CONNECTIONS = 8


@attrs.frozen(eq=False, repr=False)
class _Repository(Value):
    repo_id: str
    revision: str
    token: str | bool | None


def fetch_hub_facts(repo_id: str, *, revision: str | None = None, token: str | bool | None = None) -> ModelFacts:
    """
    The facts of a repository at one commit.

    Args:
        revision: Branch, tag or commit; default: ``main``.

        token: As in huggingface_hub; default: ``HF_TOKEN`` or the stored one.

    Raises:
        SourceError: The Hub, the network or the cache has no answer; says which.
        ConfigError: A file is not what it should be.
    """
    client = _client()
    repository = _Repository(repo_id, revision or "main", token)
    try:
        unreachable = _try_connection(client, repository)
        if unreachable is None:
            return _fetch_online(client, repository)
        return _fetch_cached(client, repository, unreachable)
    except SizingError:
        raise
    except Exception as error:  # noqa: BLE001 - the client's HTTP library may raise what it likes
        _log.debug("huggingface_hub failed", exc_info=True)
        raise explain(error, repo_id=repo_id) from None


def _client() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.file_download
        import huggingface_hub.utils
    except (ImportError, ValueError) as error:
        # ValueError: HF_HUB_ETAG_TIMEOUT and alike are read as numbers while importing.
        message = f"huggingface_hub does not start: {error}; check the HF_ environment variables"
        raise SourceError(message, source="huggingface_hub") from None
    return huggingface_hub


def _url(client: Any, repository: _Repository, filename: str) -> str:
    url: str = client.hf_hub_url(repository.repo_id, filename, revision=repository.revision)
    return url


def _try_connection(client: Any, repository: _Repository) -> Exception | None:
    """
    One question without retries: what hinders the connection, or None.

    A download would wait minutes for a network that is not there before it looks into the cache.
    What the server itself refuses is left to the download, which knows what to retry.
    """
    url = _url(client, repository, CONFIG_FILE)
    try:
        client.get_hf_file_metadata(url, token=repository.token, timeout=client.constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:
        if is_about_connection(error):
            return error
        if not isinstance(error, client.errors.HfHubHTTPError):
            raise
    return None


def _fetch_online(client: Any, repository: _Repository) -> ModelFacts:
    path = _download(client, repository, CONFIG_FILE, MAX_DOCUMENT_BYTES)
    if path is None:
        path = _download(client, repository, PARAMS_FILE, MAX_DOCUMENT_BYTES)
    if path is None:
        raise SourceError(_why_no_config(client, repository), source=repository.repo_id)
    commit = path.parent.name  # The cache keeps files under snapshots/<commit>/.
    pinned = attrs.evolve(repository, revision=commit)
    where = f"{repository.repo_id} at {commit[:12]}"
    _download(client, pinned, QUANT_FILE, MAX_DOCUMENT_BYTES)
    for name in wanted_files(read_document(path, f"{path.name} of {where}")):
        _download(client, pinned, name, MAX_DOCUMENT_BYTES)
    facts = attrs.evolve(fetch_local_facts(path.parent, name=repository.repo_id, where=where), revision=commit)
    if facts.headers is not None:  # The weights lie in the cache.
        return facts
    used = tuple(line for line in facts.provenance if not line.startswith("safetensors headers"))
    try:
        headers = _fetch_headers(client, pinned, where)
    except SizingError:
        raise
    except Exception as error:  # noqa: BLE001 - as in fetch_hub_facts
        # The config alone gives the same numbers; what was not reached is put on record.
        reason = explain(error, repo_id=repository.repo_id).message
        return attrs.evolve(facts, provenance=(*used, f"safetensors headers: not read, {reason}"))
    if headers is None:
        note = f"safetensors headers: not read, there is neither {SINGLE_FILE} nor {INDEX_FILE}"
        return attrs.evolve(facts, provenance=(*used, note))
    return attrs.evolve(
        facts,
        headers=headers,
        checkpoint_bytes=headers.total_bytes,
        provenance=(describe(headers), *used),
    )


def _fetch_cached(client: Any, repository: _Repository, unreachable: Exception) -> ModelFacts:
    reason = explain(unreachable, repo_id=repository.repo_id)
    found = client.try_to_load_from_cache(repository.repo_id, CONFIG_FILE, revision=repository.revision)
    if not isinstance(found, str):
        raise reason
    folder = Path(found).parent
    where = f"{repository.repo_id} at {folder.name[:12]} (cached)"
    facts = fetch_local_facts(folder, name=repository.repo_id, where=where)
    notes = [f"Hub: not asked, {reason.message}"]
    if client.try_to_load_from_cache(repository.repo_id, QUANT_FILE, revision=folder.name) is None:
        notes.append(f"{QUANT_FILE}: not known whether there is one")
    return attrs.evolve(facts, revision=folder.name, provenance=(*facts.provenance, *notes))


def _download(client: Any, repository: _Repository, filename: str, max_bytes: int) -> Path | None:
    """
    A small file in the cache, or None where the repository has none.
    """
    where = f"{filename} of {repository.repo_id}"

    class Meter(client.utils.tqdm):  # type: ignore[misc]
        """
        Shows no bar, and stops a download that is larger than any real file.
        """

        def __init__(self, *args: Any, **options: Any) -> None:
            self.received_bytes = 0
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: int = 1) -> None:
            self.received_bytes += n
            if self.received_bytes > max_bytes:
                message = f"{where} is larger than {max_bytes:,} bytes; no real one is, check the id"
                raise SourceError(message, source=repository.repo_id)

    try:
        found = client.hf_hub_download(
            repository.repo_id,
            filename,
            revision=repository.revision,
            token=repository.token,
            tqdm_class=Meter,
        )
    except client.errors.RemoteEntryNotFoundError:
        return None
    return Path(found)


def _why_no_config(client: Any, repository: _Repository) -> str:
    where = f"{repository.repo_id} at {repository.revision}"
    try:
        names = client.list_repo_files(repository.repo_id, revision=repository.revision, token=repository.token)
    except Exception:  # noqa: BLE001 - the list only makes the message better
        names = []
    return no_config(where, names)


def _fetch_headers(client: Any, repository: _Repository, where: str) -> SafetensorsHeaders | None:
    index = _download(client, repository, INDEX_FILE, MAX_INDEX_BYTES)
    if index is None:
        try:
            return merge_headers([_fetch_header(client, repository, SINGLE_FILE, where)])
        except client.errors.RemoteEntryNotFoundError:
            return None
    label = f"{INDEX_FILE} of {where}"
    names = parse_index(read_bytes(index, label, MAX_INDEX_BYTES), where=label)
    pool = ThreadPoolExecutor(_CONNECTIONS)
    try:
        pending = [pool.submit(_fetch_header, client, repository, name, where) for name in names]
        return merge_headers([future.result() for future in pending])
    finally:
        pool.shutdown(cancel_futures=True)


def _fetch_header(client: Any, repository: _Repository, filename: str, where: str) -> FileHeader:
    where = f"{filename} of {where}"
    start, file_bytes = _read_start(client, repository, filename, _FIRST_READ_BYTES)
    end = LENGTH_BYTES + parse_header_length(start, where=where)
    if end > len(start):
        start, file_bytes = _read_start(client, repository, filename, end)
    if end > len(start):
        message = f"{where} was answered with {len(start):,} of {end:,} bytes; try again"
        raise SourceError(message, source=repository.repo_id)
    return parse_header(start[LENGTH_BYTES:end], where=where, file_bytes=file_bytes)


def _read_start(client: Any, repository: _Repository, filename: str, num_bytes: int) -> tuple[bytes, int | None]:
    """
    The first bytes of a file and its size, where the server tells it.  Hangs up after num_bytes.
    """
    headers = client.utils.build_hf_headers(token=repository.token)
    headers |= {"Range": f"bytes=0-{num_bytes - 1}", "Accept-Encoding": "identity"}
    # Retried as huggingface_hub's own downloads are when a stream is opened (file_download.py, http_get).
    with client.utils.http_stream_backoff(
        "GET",
        _url(client, repository, filename),
        headers=headers,
        timeout=client.constants.HF_HUB_DOWNLOAD_TIMEOUT,
        retry_on_exceptions=(),
        retry_on_status_codes=(408, 429),
    ) as response:
        client.utils.hf_raise_for_status(response)
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
        if response.status_code == 200:  # The range was ignored: this is the start of the whole file.
            size = response.headers.get("Content-Length", "")
        received = bytearray()
        for piece in response.iter_bytes():
            received += piece
            if len(received) >= num_bytes:
                break
    return bytes(received[:num_bytes]), int(size) if size.isdecimal() else None
