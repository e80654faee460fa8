"""
SARIF 2.1.0: what its schema demands of the parts that we write (tried against the published schema as well).
"""

import json
from pathlib import Path

import jsonschema
import pytest

import vllm_sizing as vs
from vllm_sizing.catalog.check_rules import check_rules

TEXT = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": {"type": "string", "minLength": 1}},
    "additionalProperties": False,
}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
RULE = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "shortDescription": TEXT,
        "defaultConfiguration": {"type": "object", "properties": {"level": LEVEL}, "additionalProperties": False},
    },
    "additionalProperties": False,
}
PLACE = {
    "type": "object",
    "required": ["artifactLocation"],
    "properties": {
        "artifactLocation": {
            "type": "object",
            "properties": {"uri": {"type": "string", "format": "uri-reference"}},
            "additionalProperties": False,
        },
        "region": {
            "type": "object",
            "properties": {"startLine": {"type": "integer", "minimum": 1}},
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
RESULT = {
    "type": "object",
    "required": ["message"],
    "properties": {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": LEVEL,
        "message": TEXT,
        "locations": {
            "type": "array",
            "items": {"type": "object", "properties": {"physicalLocation": PLACE}, "additionalProperties": False},
        },
    },
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool"],
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "version": {"type": "string"},
                                    "rules": {"type": "array", "items": RULE, "uniqueItems": True},
                                },
                                "additionalProperties": False,
                            }
                        },
                    },
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "results": {"type": "array", "items": RESULT},
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("vllm serve Qwen/Qwen3-8B --swap-space 4 --xyzzy\nvllm serve Qwen/Qwen3-32B", "serve.sh"),
        ("echo", "-"),
        ("vllm serve Qwen/Qwen3-8B -tp 2", "a b/ü#?.yaml"),
    ],
)
def test_the_findings_are_valid_sarif(text, source):
    report = vs.check_text(text, source=source, gpu="l4")

    data = json.loads(vs.render.sarif(report))

    jsonschema.validate(data, SCHEMA)
    (run,) = data["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) == len(report.all_findings)
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == [
        result["ruleId"] for result in run["results"]
    ]
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].isascii()


def test_hostile_names_cannot_steer_a_terminal():
    report = vs.check_text("vllm serve '\x1b[2J\u202em' --x\u202e", gpu="l4")

    for shown in (vs.render.sarif(report), vs.render.check_console(report), vs.render.check_json(report)):
        assert "\x1b" not in shown
        assert "\u202e" not in shown


@pytest.mark.parametrize("rule", check_rules().values(), ids=lambda rule: rule.code)
def test_every_rule_says_what_it_means(rule):
    assert rule.severity in {"error", "warning", "info"}
    assert rule.about.endswith(".")


def test_every_rule_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "check-rules.md").read_text()

    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{rule.code}` | {rule.severity} | {rule.about} |" for rule in check_rules().values()]
