"""
The findings of a check as SARIF 2.1.0, for code hosts and editors.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from vllm_sizing.catalog.check_rules import check_rules
from vllm_sizing.render.report import clean

if TYPE_CHECKING:
    from vllm_sizing.specs.check import CheckFinding, CheckReport

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}
_SAFE = re.compile(r"[A-Za-z0-9._~/-]")


def sarif(check: CheckReport) -> str:
    """
    One run with one result for each finding.

    >>> import json
    >>> from vllm_sizing.checks.check import check_text
    >>> run = json.loads(sarif(check_text("vllm serve m --swap-space 4", gpu="l4")))["runs"][0]
    >>> run["results"][0]["ruleId"], run["results"][0]["level"]
    ('removed-flag', 'error')
    """
    from json import dumps

    import vllm_sizing

    found = sorted(check.all_findings, key=lambda item: (-(item.severity == "error"), item.line))
    codes = list(dict.fromkeys(item.code for item in found))
    driver = {
        "name": "vllm-sizing",
        "version": vllm_sizing.__version__,
        "rules": [_rule(code) for code in codes],
    }
    results = [_result(item, codes.index(item.code), check.source) for item in found]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(code: str) -> dict[str, Any]:
    rule = check_rules().get(code)
    # The others come from the plan: what they say differs with the numbers.
    text = rule.about if rule is not None else f"A remark of the plan: {code.replace('-', ' ')}."
    found: dict[str, Any] = {"id": code, "name": code.replace("-", " ").title().replace(" ", "")}
    found["shortDescription"] = {"text": text}
    if rule is not None:
        found["defaultConfiguration"] = {"level": _LEVELS[rule.severity]}
    return found


def _result(item: CheckFinding, index: int, source: str) -> dict[str, Any]:
    text = clean(item.message) + (f" ({clean(item.hint)})" if item.hint else "")
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(source)}}
    if item.line:
        place["region"] = {"startLine": item.line}
    return {
        "ruleId": item.code,
        "ruleIndex": index,
        "level": _LEVELS[item.severity],
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }


def _uri(source: str) -> str:
    """
    A path as a reference: whatever could be read as something else is escaped.

    >>> _uri("a b/#c.yaml"), _uri("-")
    ('a%20b/%23c.yaml', 'stdin')
    """
    if source == "-":
        return "stdin"
    path = source.replace("\\", "/")
    return "".join(
        char if _SAFE.fullmatch(char) else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "replace"))
        for char in path
    )
