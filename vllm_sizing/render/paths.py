"""
Files that passed-through arguments name: a container has only what its image and its mounts have.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vllm_sizing.catalog.names import quote
from vllm_sizing.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_PATH = re.compile(r"(?:[\w.-]+=)?((?:/|\./|\.\./|~)[^{}\n]*|[^{}/\n]+\.(?:jinja2?|json|ya?ml|pem|py|tmpl))")


def check_paths(settings: dict[str, Any], target: str) -> tuple[str, ...]:
    """
    Remarks on absolute paths, for the head of an artifact that runs in a container.

    Args:
        settings: What ``extra_args`` set, by name.

    Raises:
        UnsupportedError: A path starts from a folder that is not the container's.

    >>> check_paths({"chat_template": "/templates/t.jinja"}, "compose")
    ('chat_template names /templates/t.jinja, which must be in the image or mounted.',)
    """
    remarks = []
    for name, path in _paths(settings):
        if not path.startswith("/"):
            message = (
                f"{target} runs in a container, where {name} {quote(path)} is another file or none; "
                "give its full path there, or use script, config, systemd"
            )
            raise UnsupportedError(message, field="emit", value=target)
        remarks.append(f"{name} names {path}, which must be in the image or mounted.")
    return tuple(remarks)


def _paths(settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        for item in value if isinstance(value, list) else [value]:
            found = _PATH.fullmatch(item) if isinstance(item, str) else None
            if found:
                yield name, found[1]
