"""
What a reference to a model means, and the way from there to a `ModelSpec`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

import attrs

from vllm_sizing.architectures import model_from_config
from vllm_sizing.catalog.models import CatalogModel, look_up, near_names
from vllm_sizing.errors import InvalidValueError, SourceError, UnknownArchitectureError, UnknownNameError
from vllm_sizing.specs.facts import ModelFacts
from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.model import ModelSpec

# Linux's PATH_MAX; Hub ids are shorter.
_MAX_REFERENCE = 4096

_HUB_ID = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+"
_REVISION = r"[A-Za-z0-9_][A-Za-z0-9_./+-]{0,199}"
_URL = r"[A-Za-z][A-Za-z0-9+.-]*://"
_HUB_URL = r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)"


def load_model(
    reference: str | PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    hf_overrides: Mapping[str, Any] | None = None,
    draft: str | None = None,
    draft_method: str | None = None,
) -> ModelSpec:
    """
    The model that a reference means.

    Args:
        reference: Folder, config or GGUF file, name in the built-in catalog, or Hub id; the first that
            it can be, counts.

        revision: Branch, tag or commit; makes the Hub the source even for a catalog name.

        token: For the Hub; default: ``HF_TOKEN`` or the stored one.

        hf_overrides: Values that replace those of config.json, as ``--hf-overrides`` does.

        draft: Reference of the draft that speculative_config names as ``model``.

        draft_method: ``draft_model``, ``eagle`` or ``eagle3``; None: as vLLM guesses.

    Raises:
        SizingError: The reference means nothing, its source does not answer, or its files are
            not what they should be.

    >>> load_model("Qwen/Qwen3-32B").num_layers
    64
    """
    facts = fetch_model_facts(reference, revision=revision, token=token)
    try:
        spec = model_from_config(
            facts.config,
            name=facts.name,
            hf_quant_config=facts.hf_quant_config,
            provenance=facts.provenance,
            hf_overrides=hf_overrides,
        )
    except UnknownArchitectureError as refusal:
        if facts.headers is None:
            raise
        message = f"{refusal}; the safetensors files hold {facts.headers.num_elements / 1e9:.2f} billion elements"
        raise UnknownArchitectureError(message, architecture=refusal.architecture) from None
    if facts.pools or facts.sequence_limit or facts.tokenizer_limit:
        from vllm_sizing.sources.sentence import served

        spec = served(spec, facts)
    spec = attrs.evolve(
        spec,
        revision=facts.revision,
        checkpoint_bytes=facts.checkpoint_bytes,
        findings=(*spec.findings, *_compare(spec, facts)),
    )
    if draft is None:
        return spec
    from vllm_sizing.architectures.drafts import with_draft

    own = fetch_model_facts(draft, token=token)
    return with_draft(spec, own.config, name=draft, method=draft_method, hf_quant_config=own.hf_quant_config)


def fetch_model_facts(
    reference: str | PathLike[str], *, revision: str | None = None, token: str | bool | None = None
) -> ModelFacts:
    """
    The files of the model that a reference means, as `load_model` reads them.

    >>> fetch_model_facts("qwen3-32b").name
    'Qwen/Qwen3-32B'
    """
    text = _checked(reference)
    _check_revision(revision)
    # os.path, not pathlib: a name from the catalog is not to wait for an import that it does not need.
    path = os.path.expanduser(text) if text.startswith("~/") else text  # noqa: PTH111
    if os.path.lexists(path):
        return _from_path(path, text, revision)
    if re.match(_URL, text):
        raise SourceError(_no_url(text), source=text)
    remote = re.fullmatch(rf"({_HUB_ID})(?:/[^/]+\.gguf|:[A-Za-z0-9_+-]+)", text)
    if remote:
        message = (
            f"{text} is a GGUF file on the Hub, which is not read; fetch it (hf download {remote[1]}) and give its path"
        )
        raise SourceError(message, source=text)
    if _looks_like_path(text):
        message = f"{text} does not exist here; give a folder, a config file, a catalog name or a Hub id"
        raise SourceError(message, source=text)
    known = look_up(text)
    if known is not None and revision is None:
        return _from_catalog(known)
    repo_id = known.id if known is not None else text
    if not re.fullmatch(_HUB_ID, repo_id):
        raise _unknown(text)

    from vllm_sizing.sources.hub import fetch_hub_facts

    return fetch_hub_facts(repo_id, revision=revision, token=token)


def _compare(spec: ModelSpec, facts: ModelFacts) -> tuple[Finding, ...]:
    """
    A remark where the files hold something else than the config asks for.
    """
    if facts.headers is None:
        return ()
    from vllm_sizing.sources.comparison import explain_differences

    return explain_differences(spec, facts.headers)


def _checked(reference: str | PathLike[str]) -> str:
    try:
        text = os.fspath(reference)
    except TypeError:
        text = None
    if not isinstance(text, str) or not text.strip() or len(text) > _MAX_REFERENCE:
        shown = ascii(reference)[:60]
        message = f"model is {shown}; it must be a folder, a config file, a catalog name or a Hub id"
        raise InvalidValueError(message, field="model", value=reference)
    if not text.isprintable():
        message = f"model is {ascii(text)[:80]}; it holds control characters, type it anew"
        raise InvalidValueError(message, field="model", value=text)
    if text.startswith("-"):
        message = f"model is {text[:80]!r}, which looks like an option; write ./{text[:80]} for a folder"
        raise InvalidValueError(message, field="model", value=text)
    return text


def _check_revision(revision: object) -> None:
    if revision is None:
        return
    if not isinstance(revision, str) or not re.fullmatch(_REVISION, revision) or ".." in revision:
        message = f"revision is {ascii(revision)[:80]}; it must be a branch, a tag or a commit hash"
        raise InvalidValueError(message, field="revision", value=revision)


def _looks_like_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or text.endswith(".json") or text.count("/") > 1 or "\\" in text


def _from_path(path: str, text: str, revision: str | None) -> ModelFacts:
    from pathlib import Path

    from vllm_sizing.sources.local import fetch_local_facts

    if revision is not None:
        message = (
            f"revision is {revision!r} but {text} is on this machine, where there is only one; "
            "leave revision out, or run in a folder that has no such entry"
        )
        raise InvalidValueError(message, field="revision", value=revision)
    facts = fetch_local_facts(Path(path), name=text)
    if look_up(text) is None and not re.fullmatch(_HUB_ID, text):
        return facts
    note = f"{text} is taken as the local path; a model of that name may be in the catalog or on the Hub"
    return attrs.evolve(facts, provenance=(*facts.provenance, note))


def _from_catalog(model: CatalogModel) -> ModelFacts:
    return ModelFacts(
        name=model.id,
        config=model.config,
        hf_quant_config=model.hf_quant_config,
        checkpoint_bytes=model.checkpoint_bytes,
        pools=model.pools,
        sequence_limit=model.sequence_limit,
        provenance=(f"built-in catalog: {model.id}, {model.source}",),
    )


def _no_url(text: str) -> str:
    hub = re.match(_HUB_URL, text)
    if hub:
        return f"{text[:120]} is a web address; give the Hub id {hub[1]}"
    return f"{text[:120]} is an address that is not read; give a folder, a catalog name or a Hub id"


def _unknown(text: str) -> UnknownNameError:
    near = near_names(text)
    hint = f"did you mean {' or '.join(near)}?" if near else "a Hub id is written owner/name."
    message = f"{text[:80]!r} is neither in the catalog nor a Hub id; {hint}"
    return UnknownNameError(message, name=text, candidates=near)
