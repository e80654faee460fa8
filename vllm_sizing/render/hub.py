"""
Models as ``hf://`` addresses, for targets that fetch the weights themselves.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vllm_sizing.catalog.names import quote
from vllm_sizing.errors import UnsupportedError

if TYPE_CHECKING:
    from vllm_sizing.render.deployment import Deployment

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def hub_address(wanted: Deployment, target: str) -> str:
    """
    The model's address.

    Raises:
        UnsupportedError: The name is no id of the Hub.
    """
    if not _ID.fullmatch(wanted.model):
        name = quote(wanted.model)
        message = f"{target} fetches models by their Hub id, owner/name, which {name} is not; kubernetes can"
        raise UnsupportedError(message, field="emit", value=target)
    return f"hf://{wanted.model}"
