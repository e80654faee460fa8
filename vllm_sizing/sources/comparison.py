"""
A model's tensor list beside the headers of its checkpoint: where config and files disagree.

Both sides are summed by module, so that vLLM's fused tensors (q, k and v in one) meet the parts that
the files hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import attrs

from vllm_sizing.sizing.layout import Layout
from vllm_sizing.sizing.weights import Loading, tensor_bytes
from vllm_sizing.specs.facts import SafetensorsHeaders
from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.specs.value import Value
from vllm_sizing.units import MIB, format_gib

# Bytes of an element; the names are safetensors'.
_DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_OUTER = ("model", "language_model", "text_model", "transformer", "thinker")
_NUMBER = re.compile(r"\.\d+(?=\.|$)")
TOLERANCE = 0.001


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Module(Value):
    """
    The tensors of one module, over all layers.

    Attributes:
        name: For example ``layers.*.self_attn``.

        planned_bytes: What our list says is loaded.

        stored_bytes: What the files hold.
    """

    name: str
    planned_bytes: int
    stored_bytes: int

    @property
    def differs(self) -> bool:
        """
        By more than a thousandth, and by more than norms and scales can.
        """
        gap = abs(self.planned_bytes - self.stored_bytes)
        return gap > MIB and gap > TOLERANCE * max(self.planned_bytes, self.stored_bytes)


def compare_headers(model: ModelSpec, headers: SafetensorsHeaders) -> tuple[Module, ...]:
    """
    Every module of either side, the largest first.
    """
    loading, layout = Loading(dtype=model.dtype), Layout()
    planned = _summed(
        (module_name(tensor.name), tensor_bytes(tensor, layout, loading) * max(len(tensor.layers), 1) * tensor.count)
        for tensor in model.tensors
        if tensor.role != "buffer"
    )
    stored = _summed(
        (module_name(tensor.name), math.prod(tensor.shape) * _element_bytes(tensor.dtype)) for tensor in headers.tensors
    )
    names = sorted({*planned, *stored}, key=lambda name: -max(planned.get(name, 0), stored.get(name, 0)))
    return tuple(
        Module(name=name, planned_bytes=planned.get(name, 0), stored_bytes=stored.get(name, 0)) for name in names
    )


def explain_differences(model: ModelSpec, headers: SafetensorsHeaders) -> tuple[Finding, ...]:
    """
    One remark that names the modules which differ; none if config and files agree.
    """
    different = [module for module in compare_headers(model, headers) if module.differs]
    if not different:
        return ()
    shown = "; ".join(
        f"{module.name}: {format_gib(module.planned_bytes)} planned, {format_gib(module.stored_bytes)} stored"
        for module in different[:4]
    )
    more = f" and {len(different) - 4} more" if len(different) > 4 else ""
    # Modules that only the files have are draft layers and the like: vLLM leaves them out as well.
    missing = any(module.stored_bytes < module.planned_bytes for module in different)
    return (
        Finding(
            code="headers-differ-from-config",
            severity="warning" if missing else "info",
            message=f"the safetensors headers differ from what config.json gives: {shown}{more}",
            hint="the plan follows config.json, as vLLM does when it builds the model",
        ),
    )


def module_name(tensor: str) -> str:
    """
    The module that a tensor belongs to, whichever side named it.

    >>> module_name("model.layers.11.self_attn.q_proj.weight"), module_name("lm_head.weight")
    ('layers.*.self_attn', 'lm_head')
    """
    words = _NUMBER.sub(".*", tensor.split(" ", maxsplit=1)[0]).split(".")
    while len(words) > 2 and words[0] in _OUTER:
        words = words[1:]
    if words[0] == "layers" and len(words) > 3:
        return ".".join(words[:3])
    if any("vis" in word for word in words[:2]):
        return "vision"
    return words[0]


def _element_bytes(dtype: str) -> int:
    return _DTYPE_BYTES.get(dtype, 1)  # The others are 8-bit floats.


def _summed(amounts: Iterable[tuple[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for name, amount in amounts:
        total[name] = total.get(name, 0) + amount
    return total
