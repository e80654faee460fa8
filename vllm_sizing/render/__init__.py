"""
Plans as text: one module per output, each a function ``Plan -> str`` of the module's name.

Nothing here prints, opens a file or looks at the terminal.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm_sizing.render.command import command as command
    from vllm_sizing.render.console import to_text as to_text
    from vllm_sizing.render.html import fragment as html
    from vllm_sizing.render.json import json as json
    from vllm_sizing.render.log_lines import log_lines as log_lines
    from vllm_sizing.render.script import script as script

_RENDERERS = {
    "command": ("command", "command"),
    "html": ("html", "fragment"),
    "json": ("json", "json"),
    "log_lines": ("log_lines", "log_lines"),
    "script": ("script", "script"),
    "to_text": ("console", "to_text"),
}

__all__ = ["command", "html", "json", "log_lines", "script", "to_text"]


def __getattr__(name: str) -> Any:
    if name not in _RENDERERS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    module, function = _RENDERERS[name]
    return getattr(import_module(f"{__name__}.{module}"), function)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Renderers(ModuleType):
    """
    Keeps ``render.json`` the function: importing a submodule would bind the module to that name.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and name in _RENDERERS:
            value = getattr(value, _RENDERERS[name][1])
        super().__setattr__(name, value)


import_module(__name__).__class__ = _Renderers
