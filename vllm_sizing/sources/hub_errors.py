"""
What went wrong on the way to the Hub, in one line with the way out.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from vllm_sizing.catalog.models import near_names
from vllm_sizing.catalog.names import quote
from vllm_sizing.errors import SourceError

_DISK = {
    errno.EACCES: "may not be written",
    errno.EPERM: "may not be written",
    errno.EROFS: "is read-only",
    errno.ENOSPC: "is on a full disk",
    errno.EDQUOT: "is over its quota",
    errno.ENOTDIR: "is not a folder",
}


def explain(error: BaseException, *, repo_id: str) -> SourceError:
    """
    Our error for one of huggingface_hub or of the HTTP library below it.
    """
    for link in _chain(error):
        for name in _class_names(link):
            message = _MESSAGES[name](link, repo_id) if name in _MESSAGES else ""
            if message:
                return SourceError(message, source=repo_id)
    message = f"the Hub's answer about {repo_id} cannot be used ({type(error).__name__}); try again"
    return SourceError(message, source=repo_id)


def is_about_connection(error: BaseException) -> bool:
    """
    Whether the server was not reached at all, or not in time.
    """
    names = _class_names(error)
    reached = {"HfHubHTTPError", "UnsupportedProtocol"} & set(names)
    return bool({"TransportError", "ConnectionError"} & set(names)) and not reached


def _chain(error: BaseException) -> Iterator[BaseException]:
    # The client wraps: the cause is nearer to the truth than the wrapper, so it comes first.
    if error.__cause__ is not None:
        yield from _chain(error.__cause__)
    yield error


def _class_names(error: BaseException) -> list[str]:
    """
    The names of an exception's classes, the most special first.

    By name, because the classes of huggingface_hub 1 come from httpx and those of 2 from httpx2.
    """
    return [base.__name__ for base in type(error).__mro__]


def _elsewhere(repo_id: str) -> str:
    """
    What needs no Hub; a name close to one of the catalog was perhaps meant to be that.
    """
    near = near_names(repo_id)
    known = f"a model of the built-in catalog ({' or '.join(near)}?)" if near else "a model of the built-in catalog"
    return f"give {known}, a local folder or a config.json"


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _gated(_: BaseException, repo_id: str) -> str:
    return (
        f"{repo_id} is gated: accept its licence at {_endpoint()}/{repo_id} and set HF_TOKEN to a token of that account"
    )


def _disabled(_: BaseException, repo_id: str) -> str:
    return f"{repo_id} is disabled on the Hub; choose another model"


def _not_found(_: BaseException, repo_id: str) -> str:
    near = near_names(repo_id)
    hint = f"did you mean {' or '.join(near)}?" if near else "check the spelling."
    return f"{repo_id} does not exist on the Hub or is private; {hint} For a private one set HF_TOKEN"


def _no_revision(_: BaseException, repo_id: str) -> str:
    return f"{repo_id} has no such revision; leave revision out for main, or look up its branches and commits"


def _no_file(_: BaseException, repo_id: str) -> str:
    return f"a file that the index of {repo_id} names is missing; its upload may be unfinished"


def _offline(_: BaseException, repo_id: str) -> str:
    return f"{repo_id} is not in the Hub cache and HF_HUB_OFFLINE forbids asking; unset it or {_elsewhere(repo_id)}"


def _no_hub(_: BaseException, repo_id: str) -> str:
    return (
        f"{_endpoint()} does not answer as a Hub about {repo_id} (no X-Repo-Commit or ETag header); "
        "check HF_ENDPOINT and the proxy"
    )


def _no_id(_: BaseException, repo_id: str) -> str:
    return f"{quote(repo_id)} is not a Hub id; one is written owner/name"


def _no_address(_: BaseException, repo_id: str) -> str:
    return f"{_endpoint()} is no web address, or leads to none; check HF_ENDPOINT"


def _timeout(_: BaseException, repo_id: str) -> str:
    return (
        f"{_endpoint()} timed out about {repo_id}; try again, raise HF_HUB_ETAG_TIMEOUT and "
        f"HF_HUB_DOWNLOAD_TIMEOUT (seconds), or {_elsewhere(repo_id)}"
    )


def _cut_off(_: BaseException, repo_id: str) -> str:
    return f"{_endpoint()} broke off in the middle of its answer about {repo_id}; try again"


def _unreached(_: BaseException, repo_id: str) -> str:
    return f"{_endpoint()} cannot be reached; check the network or {_elsewhere(repo_id)}"


def _system(error: BaseException, repo_id: str) -> str:
    if "Consistency check" in str(error):  # http_get of huggingface_hub compares sizes.
        return _cut_off(error, repo_id)
    reason = _DISK.get(getattr(error, "errno", None) or 0)
    if reason is None:
        return ""
    from huggingface_hub import constants

    return f"the Hub cache {constants.HF_HUB_CACHE} {reason}; set HF_HOME to another folder"


def _refused(error: BaseException, repo_id: str) -> str:
    status: int = error.response.status_code  # type: ignore[attr-defined]
    if status == 401:
        return f"the Hub does not accept the token for {repo_id}; renew HF_TOKEN or unset it"
    if status == 403:
        return f"the token may not read {repo_id}; give HF_TOKEN the right to read gated repositories"
    if status == 416:
        return f"{_endpoint()} has fewer bytes of {repo_id} than a safetensors file needs; try again"
    if status == 429:
        return f"the Hub limits how often {repo_id} is asked; wait some minutes or set HF_TOKEN"
    if status >= 500:
        return f"the Hub has a fault of its own about {repo_id} (HTTP {status}); try again later"
    return f"the Hub refuses {repo_id} (HTTP {status}); check the id and HF_ENDPOINT"


_MESSAGES: dict[str, Callable[[BaseException, str], str]] = {
    # huggingface_hub
    "GatedRepoError": _gated,
    "DisabledRepoError": _disabled,
    "RepositoryNotFoundError": _not_found,
    "RevisionNotFoundError": _no_revision,
    "RemoteEntryNotFoundError": _no_file,
    "HfHubHTTPError": _refused,
    "OfflineModeIsEnabled": _offline,
    "FileMetadataError": _no_hub,
    "HFValidationError": _no_id,
    # httpx, httpx2
    "UnsupportedProtocol": _no_address,
    "InvalidURL": _no_address,
    "TooManyRedirects": _no_address,
    "TimeoutException": _timeout,
    "RemoteProtocolError": _cut_off,
    "ReadError": _cut_off,
    "TransportError": _unreached,
    # Python
    "TimeoutError": _timeout,
    "ConnectionError": _unreached,
    "OSError": _system,
}
