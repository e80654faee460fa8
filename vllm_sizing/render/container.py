"""
What all container targets share: the mount of a model's folder, and which secrets are referred to.
"""

from __future__ import annotations

import re
from posixpath import normpath
from typing import TYPE_CHECKING, NamedTuple

from vllm_sizing.errors import UnsupportedError

if TYPE_CHECKING:
    from vllm_sizing.render.deployment import Deployment

# Always by reference: no output ever holds their values.
SECRETS = ("HF_TOKEN", "VLLM_API_KEY")
SECRETS_FROM_ENVIRONMENT = "Secrets come from the environment: HF_TOKEN for gated models, VLLM_API_KEY for clients."
WORK_FOLDER = "/models"
_SYSTEM = re.compile(r"/(bin|boot|dev|etc|lib\w*|proc|root|run|sbin|sys|usr|var/run|var/lib/docker)(/.*)?|/|/var")
_SHALLOW = re.compile(r"/(home|data|mnt|opt|srv|tmp|var|media)|/home/[^/]+")


class Mount(NamedTuple):
    """
    A folder of the host, read-only.

    Attributes:
        source: On the host, as the model is named.

        target: In the container, such that the model's name means it there too.

        work_folder: The working directory that this needs; None: any.
    """

    source: str
    target: str
    work_folder: str | None


def folder_mount(wanted: Deployment, target: str, *, relative: bool = True) -> Mount | None:
    """
    How the model's folder comes into the container; None for a repository on the Hub.

    Args:
        relative: The target knows a folder that a relative path starts from.

    Raises:
        UnsupportedError: The path is no model's folder, or means different folders at different times.
    """
    if not wanted.folder:
        return None
    path = normpath(wanted.model)
    if path.startswith(("~", "..")) or (not path.startswith("/") and (path == "." or not relative)):
        message = f"{target} cannot tell which folder {wanted.model!r} is; name the model by its full path"
        raise UnsupportedError(message, field="emit", value=target)
    if _SYSTEM.fullmatch(path) or _SHALLOW.fullmatch(path):
        message = f"{target} would mount {path} into a container; put the model into a folder of its own"
        raise UnsupportedError(message, field="emit", value=target)
    if path.startswith("/"):
        return Mount(path, path, None)
    return Mount(f"./{path}", f"{WORK_FOLDER}/{path}", WORK_FOLDER)
