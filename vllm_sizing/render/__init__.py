"""
Plans as text: one module per output, each a function ``Plan -> str`` of the module's name; and what a search found.

Nothing here prints, opens a file or looks at the terminal.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm_sizing.render.bench import bench as bench
    from vllm_sizing.render.check_console import check_console as check_console
    from vllm_sizing.render.check_json import check_json as check_json
    from vllm_sizing.render.command import command as command
    from vllm_sizing.render.compose import compose as compose
    from vllm_sizing.render.config import config as config
    from vllm_sizing.render.console import to_text as to_text
    from vllm_sizing.render.docker import docker as docker
    from vllm_sizing.render.download import download as download
    from vllm_sizing.render.helm import helm as helm
    from vllm_sizing.render.html import fragment as html
    from vllm_sizing.render.json import json as json
    from vllm_sizing.render.keda import keda as keda
    from vllm_sizing.render.kserve import kserve as kserve
    from vllm_sizing.render.kuberay import kuberay as kuberay
    from vllm_sizing.render.kubernetes import kubernetes as kubernetes
    from vllm_sizing.render.kustomize import kustomize as kustomize
    from vllm_sizing.render.llm_d import llm_d as llm_d
    from vllm_sizing.render.log_lines import log_lines as log_lines
    from vllm_sizing.render.lws import lws as lws
    from vllm_sizing.render.markdown import markdown as markdown
    from vllm_sizing.render.page import html_report as html_report
    from vllm_sizing.render.page import search_report as search_report
    from vllm_sizing.render.prometheus import alerts as alerts
    from vllm_sizing.render.prometheus import podmonitor as podmonitor
    from vllm_sizing.render.quadlet import quadlet as quadlet
    from vllm_sizing.render.sarif import sarif as sarif
    from vllm_sizing.render.script import script as script
    from vllm_sizing.render.search import search_json as search_json
    from vllm_sizing.render.search import search_text as search_text
    from vllm_sizing.render.skypilot import skypilot as skypilot
    from vllm_sizing.render.slurm import slurm as slurm
    from vllm_sizing.render.smoke_test import smoke_test as smoke_test
    from vllm_sizing.render.systemd import systemd as systemd

_RENDERERS = {
    "alerts": ("prometheus", "alerts"),
    "bench": ("bench", "bench"),
    "check_console": ("check_console", "check_console"),
    "check_json": ("check_json", "check_json"),
    "command": ("command", "command"),
    "compose": ("compose", "compose"),
    "config": ("config", "config"),
    "docker": ("docker", "docker"),
    "download": ("download", "download"),
    "helm": ("helm", "helm"),
    "html": ("html", "fragment"),
    "html_report": ("page", "html_report"),
    "json": ("json", "json"),
    "keda": ("keda", "keda"),
    "kserve": ("kserve", "kserve"),
    "kuberay": ("kuberay", "kuberay"),
    "kubernetes": ("kubernetes", "kubernetes"),
    "kustomize": ("kustomize", "kustomize"),
    "llm_d": ("llm_d", "llm_d"),
    "log_lines": ("log_lines", "log_lines"),
    "lws": ("lws", "lws"),
    "markdown": ("markdown", "markdown"),
    "podmonitor": ("prometheus", "podmonitor"),
    "quadlet": ("quadlet", "quadlet"),
    "sarif": ("sarif", "sarif"),
    "script": ("script", "script"),
    "search_report": ("page", "search_report"),
    "search_json": ("search", "search_json"),
    "search_text": ("search", "search_text"),
    "skypilot": ("skypilot", "skypilot"),
    "slurm": ("slurm", "slurm"),
    "smoke_test": ("smoke_test", "smoke_test"),
    "systemd": ("systemd", "systemd"),
    "to_text": ("console", "to_text"),
}

__all__ = [
    "alerts",
    "bench",
    "check_console",
    "check_json",
    "command",
    "compose",
    "config",
    "docker",
    "download",
    "helm",
    "html",
    "html_report",
    "json",
    "keda",
    "kserve",
    "kuberay",
    "kubernetes",
    "kustomize",
    "llm_d",
    "log_lines",
    "lws",
    "markdown",
    "podmonitor",
    "quadlet",
    "sarif",
    "script",
    "search_json",
    "search_report",
    "search_text",
    "skypilot",
    "slurm",
    "smoke_test",
    "systemd",
    "to_text",
]


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
