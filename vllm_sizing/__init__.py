"""
A model, a GPU and a workload go in; a `Plan` comes out; renderers turn it into text.

This module is the public API and nothing else.  Names load on first use (PEP 562), so that
``import vllm_sizing`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from vllm_sizing import render
    from vllm_sizing.architectures import model_from_config
    from vllm_sizing.catalog.gpus import find_gpu
    from vllm_sizing.catalog.models import CatalogModel, find_model
    from vllm_sizing.catalog.prices import listed_prices
    from vllm_sizing.checks.check import check, check_text
    from vllm_sizing.errors import (
        ConfigError,
        DetectionError,
        InvalidValueError,
        SizingError,
        SourceError,
        UnknownArchitectureError,
        UnknownNameError,
        UnsupportedError,
    )
    from vllm_sizing.render.console import to_text
    from vllm_sizing.sizing.load_curve import load_curve
    from vllm_sizing.sizing.planner import plan
    from vllm_sizing.sizing.search import search, sweep
    from vllm_sizing.sizing.space import count_candidates
    from vllm_sizing.sources.gpus import detect_gpus
    from vllm_sizing.sources.load import load_model
    from vllm_sizing.sources.request import plan_request
    from vllm_sizing.specs.check import CheckFinding, CheckReport, Measured, ServerCheck, Waste
    from vllm_sizing.specs.engine import EngineArgs
    from vllm_sizing.specs.findings import Finding
    from vllm_sizing.specs.gpu import Cluster, GpuSpec
    from vllm_sizing.specs.model import ModelSpec
    from vllm_sizing.specs.plan import (
        Alternative,
        Decision,
        Estimate,
        KvCache,
        KvGroup,
        LoadPoint,
        MemoryBudget,
        MemoryPart,
        Percentiles,
        Performance,
        Plan,
    )
    from vllm_sizing.specs.price import Price
    from vllm_sizing.specs.request import PlanRequest, Policy
    from vllm_sizing.specs.search import Miss, Offer, Refusal, SearchResult, SearchSpace
    from vllm_sizing.specs.workload import LatencyTarget, Workload


__version__ = "0.1.0"

__all__ = [
    "Alternative",
    "CatalogModel",
    "CheckFinding",
    "CheckReport",
    "Cluster",
    "ConfigError",
    "Decision",
    "DetectionError",
    "EngineArgs",
    "Estimate",
    "Finding",
    "GpuSpec",
    "InvalidValueError",
    "KvCache",
    "KvGroup",
    "LatencyTarget",
    "LoadPoint",
    "Measured",
    "MemoryBudget",
    "MemoryPart",
    "Miss",
    "ModelSpec",
    "Offer",
    "Percentiles",
    "Performance",
    "Plan",
    "PlanRequest",
    "Policy",
    "Price",
    "Refusal",
    "SearchResult",
    "SearchSpace",
    "ServerCheck",
    "SizingError",
    "SourceError",
    "UnknownArchitectureError",
    "UnknownNameError",
    "UnsupportedError",
    "Waste",
    "Workload",
    "__version__",
    "check",
    "check_text",
    "count_candidates",
    "detect_gpus",
    "find_gpu",
    "find_model",
    "listed_prices",
    "load_curve",
    "load_model",
    "model_from_config",
    "plan",
    "plan_request",
    "render",
    "search",
    "sweep",
    "to_text",
]

_NAMES_BY_MODULE = {
    "architectures": "model_from_config",
    "catalog.gpus": "find_gpu",
    "catalog.models": "CatalogModel find_model",
    "catalog.prices": "listed_prices",
    "checks.check": "check check_text",
    "errors": (
        "ConfigError DetectionError InvalidValueError SizingError SourceError "
        "UnknownArchitectureError UnknownNameError UnsupportedError"
    ),
    "render.console": "to_text",
    "sizing.load_curve": "load_curve",
    "sizing.planner": "plan",
    "sizing.search": "search sweep",
    "sizing.space": "count_candidates",
    "sources.gpus": "detect_gpus",
    "sources.load": "load_model",
    "sources.request": "plan_request",
    "specs.check": "CheckFinding CheckReport Measured ServerCheck Waste",
    "specs.engine": "EngineArgs",
    "specs.findings": "Finding",
    "specs.gpu": "Cluster GpuSpec",
    "specs.model": "ModelSpec",
    "specs.plan": (
        "Alternative Decision Estimate KvCache KvGroup LoadPoint MemoryBudget MemoryPart Percentiles Performance Plan"
    ),
    "specs.price": "Price",
    "specs.request": "PlanRequest Policy",
    "specs.search": "Miss Offer Refusal SearchResult SearchSpace",
    "specs.workload": "LatencyTarget Workload",
}
_HOMES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "render":
        return import_module("vllm_sizing.render")
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
