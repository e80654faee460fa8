"""
The report of a check for programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_sizing.serialize import plan_to_dict, to_plain

if TYPE_CHECKING:
    from vllm_sizing.specs.check import CheckReport, ServerCheck


def check_json(check: CheckReport) -> str:
    """
    JSON with the names of the Python API; each plan as ``plan --json`` prints it.

    >>> import json
    >>> from vllm_sizing.checks.check import check_text
    >>> json.loads(check_json(check_text("vllm serve Qwen/Qwen3-8B", gpu="h100-sxm")))["fits"]
    True
    """
    from json import dumps

    data = {
        "fits": check.fits,
        "worst": check.worst,
        "source": check.source,
        "kind": check.kind,
        "servers": [_server(server) for server in check.servers],
        "findings": to_plain(check.findings),
    }
    return dumps(data, indent=2, allow_nan=False) + "\n"


def _server(server: ServerCheck) -> dict[str, Any]:
    import attrs

    data = {
        field.name: to_plain(getattr(server, field.name))
        for field in attrs.fields(type(server))
        if field.name != "plan"
    }
    return {"fits": server.fits, **data, "plan": None if server.plan is None else plan_to_dict(server.plan)}
