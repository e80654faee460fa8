"""
Quantization methods as the planner meets them: what loads where, on-line methods, kernel padding.
"""

from __future__ import annotations

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.defaults import Rules
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.specs.quantization import Scheme

Online = tuple[Scheme | None, Scheme | None, Scheme | None]


def online_schemes_for(model: ModelSpec, quantization: str | None, rules: Rules) -> Online | None:
    """
    The schemes that ``quantization`` converts plain matrices to; None: load as stored.
    """
    if quantization is None or quantization == model.quantization:
        return None
    message = f"quantization is {quantization!r}, which is not a method that converts while loading"
    raise UnsupportedError(message, field="quantization", value=quantization)


def check_method(model: ModelSpec, quantization: str | None, gpu: GpuSpec, rules: Rules) -> None:
    """
    Refuse a method that this GPU or release does not load.
    """


def expert_padding(
    model: ModelSpec, gpu: GpuSpec, rules: Rules, layout: Layout
) -> tuple[tuple[str, int, int], ...]:
    """
    (rule, intermediate multiple, hidden multiple) of the fused-expert kernels that pad.
    """
    return ()
