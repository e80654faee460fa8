"""
A model as vLLM's adapters turn it for pooling: no LM head, for labels a score head instead.

Source: vLLM 0.33 ``model_executor/models/adapters.py``, ``config/model.py``.
"""

from __future__ import annotations

from functools import lru_cache

import attrs

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.specs.serving import resolve_serving

_KNOWN = ("auto", "none", "embed", "classify", "reward")


def converted(model: ModelSpec, args: EngineArgs) -> ModelSpec:
    """
    The model as it is served; its ``runner`` is the one that runs.

    Raises:
        UnsupportedError: vLLM refuses the runner or the conversion.
    """
    if args.convert is not None and args.convert not in _KNOWN:
        message = f"convert is {args.convert!r}; it must be one of {', '.join(_KNOWN)}"
        raise UnsupportedError(message, field="convert", value=args.convert)
    return _converted(model, *resolve_serving(model, args))


@lru_cache(maxsize=64)
def _converted(model: ModelSpec, runner: str, convert: str) -> ModelSpec:
    if runner == model.runner == "generate" and convert == "none":
        return model
    if runner != "pooling":
        message = f"runner is {runner!r}, which vLLM refuses for {model.architecture}; leave it out or use pooling"
        if convert != "none":
            message = f"convert is {convert!r}, which needs the pooling runner, not {runner}; leave runner out"
        raise UnsupportedError(message, field="runner", value=runner)
    if model.runner == "pooling" and model.convert == "none":
        return model  # The class pools as it is, whatever --convert says.
    if convert == "none":
        message = f"convert is 'none', but {model.architecture} does not pool by itself; use embed or classify"
        raise UnsupportedError(message, field="convert", value=convert)
    kept = tuple(tensor for tensor in model.tensors if tensor.role != "lm_head")
    return attrs.evolve(
        model,
        tensors=kept + (model.score if convert == "classify" else ()),
        traits=model.traits - {"lora_tied_head", "tied_embeddings"},
        runner="pooling",
        convert=convert,
    )
