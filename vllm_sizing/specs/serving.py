"""
What a model is served for: text generation, or pooling (embeddings, labels, scores).

Source: vLLM 0.33 ``config/model.py:_get_runner_type``, ``_get_convert_type``.
"""

from __future__ import annotations

from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.model import ModelSpec

_CONVERTS = {"embed": "embed", "classify": "classify", "reward": "embed"}


def resolve_serving(model: ModelSpec, args: EngineArgs) -> tuple[str, str]:
    """
    (runner, convert) that these arguments give: ``generate`` or ``pooling``; ``none``, ``embed`` or ``classify``.
    """
    convert = None if args.convert in (None, "auto") else args.convert
    runner = None if args.runner in (None, "auto") else args.runner
    if runner is None:
        runner = "pooling" if convert in _CONVERTS else model.runner
    if convert is not None:
        return runner, _CONVERTS.get(convert, "none")
    if runner != "pooling":
        return runner, "none"
    return runner, model.convert if model.runner == "pooling" else "embed"
