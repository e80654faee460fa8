"""
Profiles: a `PlanRequest` as a small YAML file that people keep, edit and plan again.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm_sizing.errors import InvalidValueError, SourceError

if TYPE_CHECKING:
    import yaml

    from vllm_sizing.specs.request import PlanRequest

PROFILE_VERSION = 1
_MAX_BYTES = 100_000
_PLAIN = re.compile(r"[A-Za-z][\w./-]*", re.ASCII)
_HEAD = """\
# What was asked of vllm-sizing.  Plan it again: vllm-sizing plan --profile FILE
# (options on the command line win over what stands here).
"""


def read_profile(path: str | Path) -> PlanRequest:
    """
    The request that a profile stores.

    Raises:
        SourceError: There is no such file, or it is no profile of a version that is known.

        SizingError: A key is unknown, or a value is not what its field takes.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"profile {str(path)!r} cannot be read: {reason}; give a file that `generate` wrote"
        raise SourceError(message, source=str(path)) from None
    return parse_profile(data, where=f"profile {str(path)!r}")


def parse_profile(data: bytes, *, where: str = "profile") -> PlanRequest:
    r"""
    The request in the text of a profile.

    >>> parse_profile(b"profile_version: 1\nmodel: Qwen/Qwen3-8B\ngpu: l4").gpu
    'l4'
    """
    from vllm_sizing.serialize import request_from_dict

    if len(data) > _MAX_BYTES:
        message = f"{where} is larger than {_MAX_BYTES:,} bytes; it is no profile"
        raise SourceError(message, source=where)
    values = _yaml(data, where)
    version = values.pop("profile_version", None)
    if version != PROFILE_VERSION or isinstance(version, bool):
        said = "does not say its profile_version" if version is None else f"has profile_version {version!r}"
        message = f"{where} {said}; this release reads {PROFILE_VERSION}: write it anew with `generate`"
        raise SourceError(message, source=where)
    try:
        return request_from_dict(values)
    except InvalidValueError as error:
        message = f"{where}: {error.message}"
        raise InvalidValueError(message, field=error.field, value=error.value) from None


def profile_text(request: PlanRequest) -> str:
    """
    The profile that stores a request.

    >>> from vllm_sizing.specs.request import PlanRequest
    >>> request = PlanRequest(model="Qwen/Qwen3-8B", gpu="l4")
    >>> parse_profile(profile_text(request).encode()) == request
    True
    """
    import yaml

    from vllm_sizing.serialize import request_to_dict

    class Dumper(yaml.SafeDumper):
        """
        Quotes every string that some YAML reader could take for something else.
        """

        def represent_str(self, text: str) -> yaml.ScalarNode:
            style = None if _PLAIN.fullmatch(text) else '"'
            return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, Dumper.represent_str)
    values = {"profile_version": PROFILE_VERSION, **request_to_dict(request)}
    text: str = yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return _HEAD + text


def _yaml(data: bytes, where: str) -> dict[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """
        Without aliases (a few lines of them unfold to gigabytes) and without keys that stand twice.
        """

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise yaml.constructor.ConstructorError(None, None, "aliases are not read", mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
            mapping = super().construct_mapping(node, deep)
            if len(mapping) < len(node.value):
                message = "a key stands there twice"
                raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
            return mapping

    try:
        values = yaml.load(data, Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        message = f"{where} is not usable YAML: {error.problem}{line}; correct it there"
        raise SourceError(message, source=where) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        message = f"{where} is not usable YAML: {str(error)[:200]}; write it anew with `generate`"
        raise SourceError(message, source=where) from None
    if not isinstance(values, dict):
        message = f"{where} is no profile: it must hold keys and values; write it anew with `generate`"
        raise SourceError(message, source=where)
    return values
