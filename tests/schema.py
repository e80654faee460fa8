"""
The JSON Schemas of a plan and of a search's result, made from the classes: ``python -m tests.schema`` writes them.

Types come from the annotations, descriptions from the ``Attributes`` of the docstrings.
"""

import inspect
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

import attrs

from vllm_sizing import serialize
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.specs.plan import Plan
from vllm_sizing.specs.search import Offer, SearchResult

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
PLACE = REFERENCE / "plan.schema.json"
SWEEP_PLACE = REFERENCE / "sweep.schema.json"
NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}


def plan_schema():
    """
    The schema of what `vllm_sizing.render.json` writes, with and without ``full``.
    """
    definitions = {}
    reference(Plan, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A plan of vllm-sizing",
        **definitions.pop("Plan"),
        "$defs": dict(sorted(definitions.items())),
    }


def sweep_schema():
    """
    The schema of what `vllm_sizing.render.search_json` writes.
    """
    definitions = {}
    reference(SearchResult, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What a sweep of vllm-sizing found",
        **definitions.pop("SearchResult"),
        "$defs": dict(sorted(definitions.items())),
    }


def reference(cls, definitions):
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = None
        definitions[cls.__name__] = define(cls, definitions)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def define(cls, definitions):
    kinds = typing.get_type_hints(cls)
    kinds = {field.name: kinds[field.name] for field in attrs.fields(cls)}
    if cls is Plan:
        getters = {name: getattr(cls, name).fget for name in serialize._PROPERTIES}
        kinds |= {name: typing.get_type_hints(getter)["return"] for name, getter in getters.items()}
    if cls is Offer:
        kinds |= {"meets": bool, "command": str}
    if cls is ModelSpec:
        # For reading back, with `full`: what they look like inside is no promise.
        kinds |= dict.fromkeys(serialize._MODEL_PARTS, Any)
    words = descriptions(cls)
    return {
        "description": inspect.getdoc(cls).split("\n\n")[0].replace("\n", " "),
        "type": "object",
        "properties": {
            name: ({"description": words[name]} if name in words else {}) | typed(kind, definitions)
            for name, kind in kinds.items()
        },
        "required": [name for name in kinds if cls is not ModelSpec or name not in serialize._MODEL_PARTS],
        "additionalProperties": False,
    }


def typed(kind, definitions):
    if kind in {Any, object}:
        return {}
    if kind in NAMES:
        return {"type": NAMES[kind]}
    if attrs.has(kind):
        return reference(kind, definitions)
    return compound(kind, [typed(arg, definitions) for arg in typing.get_args(kind) if arg is not ...])


def compound(kind, parts):
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if serialize._holds_pairs(kind):
        return {"type": "object", "additionalProperties": parts[0]["prefixItems"][1]}
    if origin is frozenset or args[-1] is ...:
        return {"type": "array", "items": parts[0]}
    if origin is tuple:
        return {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
    if all(part.keys() == {"type"} for part in parts):
        return {"type": [part["type"] for part in parts]}
    return {"anyOf": parts}


def descriptions(cls):
    """
    The ``Attributes`` of a docstring, by name; two names may share a sentence.
    """
    _, _, text = inspect.getdoc(cls).partition("Attributes:\n")
    found = {}
    for entry in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if match := re.match(r"([a-z0-9_]+(?:, [a-z0-9_]+)*):\s+(.+)", entry, re.DOTALL):
            sentence = re.sub(r"\s+", " ", match[2]).replace("``", "").replace("`", "")
            found |= dict.fromkeys(match[1].split(", "), sentence)
    return found


def text(schema):
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    PLACE.write_text(text(plan_schema()))
    SWEEP_PLACE.write_text(text(sweep_schema()))
