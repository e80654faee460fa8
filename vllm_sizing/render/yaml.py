"""
YAML that every reader takes for the same: text is quoted unless it is plainly text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

# Neither a number, a date, a truth value nor null in YAML 1.1, in 1.2 or in Go.
_PLAIN = re.compile(r"(?=.{2,120}\Z)[A-Za-z][A-Za-z_./-]*[A-Za-z]")
_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


def to_yaml(*documents: Any, comments: Iterable[str] = ()) -> str:
    """
    The documents as YAML, keys in their order, below a block of comments.

    >>> print(to_yaml({"words": ["--port", "8000"], "restart": "unless-stopped"}), end="")
    words:
      - "--port"
      - "8000"
    restart: unless-stopped
    """
    import yaml

    texts = [
        yaml.dump(
            document,
            Dumper=_dumper(),
            sort_keys=False,
            allow_unicode=False,
            default_flow_style=False,
            width=2**20,
        )
        for document in documents
    ]
    return comment_block(comments) + "---\n".join(texts)


def comment_block(lines: Iterable[str]) -> str:
    r"""
    Lines as comments of YAML, shell and unit files; what nobody sees becomes visible escapes.

    >>> comment_block(["one", ""])
    '# one\n#\n'
    """
    from vllm_sizing.render.report import clean

    return "".join(f"# {clean(line)}".rstrip() + "\n" for line in lines)


def _dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        """
        Lists are indented, nothing is an alias, text is quoted.
        """

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002
            super().increase_indent(flow, False)  # noqa: FBT003

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        style = None if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else '"'
        if "\n" in value and value.replace("\n", "").isprintable():
            style = "|"
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    def null(dumper: Any, _: None) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:null", "null")

    Dumper.add_representer(str, text)
    Dumper.add_representer(type(None), null)
    return Dumper
