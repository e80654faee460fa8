"""
The picture of the fullest GPU's memory: its parts, which add up to all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vllm_sizing.render.report import Row, clean
from vllm_sizing.units import GIB, format_gib

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Estimate, Plan


class Segment(NamedTuple):
    """
    One part of the picture of a GPU's memory.

    Attributes:
        key: Picks glyph and colour.

        quality: ``exact``, ``modelled``, ``rough`` or ``given``; for people.

        interval: Of a modelled part.
    """

    key: str
    label: str
    num_bytes: int
    quality: str
    interval: Estimate | None = None


def segments(plan: Plan) -> list[Segment]:
    """
    Where the fullest GPU's memory goes.  Parts of 0 bytes are left out.

    The sum is what the driver offers, or more if more is needed than there is.
    """
    memory, gpu = plan.memory, plan.gpu
    weights = "rough" if plan.model.rough else "exact"
    others = 0 if gpu.free_memory_bytes is None else max(0, gpu.memory_bytes - gpu.free_memory_bytes)
    parts = [
        Segment("weights", "Weights", memory.weights_bytes_per_gpu, weights),
        Segment("lora", "LoRA slots", memory.lora_bytes, weights),
        Segment("draft", "Draft model", memory.draft_bytes, weights),
        _modelled(plan, "activation", "Activation peak", "activation_peak_bytes"),
        _modelled(plan, "outside", "Outside PyTorch", "non_torch_bytes"),
        _modelled(plan, "graphs", "CUDA graphs", "cuda_graph_bytes"),
        _modelled(plan, "kv", "KV cache" if plan.kv_cache.groups else "No use for it", "kv_cache_bytes"),
        Segment("others", "Other processes", others, "exact"),
    ]
    left = memory.total_bytes - sum(part.num_bytes for part in parts)
    parts.append(Segment("free", "Left free", max(0, left), "not requested"))
    return [part for part in parts if part.num_bytes > 0]


def _modelled(plan: Plan, key: str, label: str, name: str) -> Segment:
    estimate: Estimate = getattr(plan.memory, f"{name}_interval")
    quality = "rough" if plan.model.rough else "modelled"
    if estimate.low == estimate.high:
        quality = "given"
    return Segment(key, label, max(0, getattr(plan.memory, name)), quality, estimate)


def weight_parts(plan: Plan) -> list[Row]:
    """
    The weights by part of the model: name, GiB, share of the GPU.  What rounds to 0.00 is left out.
    """
    memory = plan.memory
    return [
        Row(clean(part.name), gib(part.num_bytes), share(part.num_bytes, memory.total_bytes))
        for part in memory.weight_parts
        if gib(part.num_bytes) != gib(0)
    ]


def certainty(segment: Segment) -> str:
    """
    How sure a part is, in words.
    """
    if segment.interval is None or segment.quality == "given":
        return segment.quality
    low, high = (max(0.0, end) for end in (segment.interval.low, segment.interval.high))
    return f"{segment.quality}, {gib(low)} to {gib(high)}"


def end_of_gpu(plan: Plan) -> tuple[float, str]:
    """
    Where in the picture the GPU ends, from 0 to 1, and what to say there; 1 and nothing if all is on it.
    """
    total, needed = plan.memory.total_bytes, sum(part.num_bytes for part in segments(plan))
    if needed <= total:
        return 1.0, ""
    return total / needed, f"the GPU ends here: {gib(total)} of {gib(needed)} GiB"


def notes(plan: Plan, *, explain: bool) -> list[str]:
    """
    What the picture does not show.
    """
    notes = []
    if plan.memory.offloaded_bytes_per_gpu:
        notes.append(f"{gib(plan.memory.offloaded_bytes_per_gpu)} GiB of weights lie in host memory.")
    if explain:
        estimate = plan.memory.cuda_graph_estimate_bytes
        notes.append(f"For CUDA graphs vLLM takes {gib(estimate)} GiB from the KV cache beforehand.")
    return notes


def gib(num_bytes: float) -> str:
    """
    GiB without the unit, for columns that name it.
    """
    return f"{num_bytes / GIB:,.2f}"


def share(num_bytes: int, total: int) -> str:
    """
    Percent of a total.
    """
    return f"{100 * num_bytes / total:.1f}"


def title(plan: Plan) -> str:
    """
    How much there is and how much vLLM takes of it.
    """
    memory = plan.memory
    asked = f"{share(memory.requested_bytes, memory.total_bytes)} %, {format_gib(memory.requested_bytes)}"
    which = "of the GPU" if plan.num_gpus == 1 else "of the fullest GPU"
    return f"{which}, {format_gib(memory.total_bytes)}; vLLM requests {asked}"


def basis(plan: Plan) -> list[Row]:
    """
    What each estimate rests on.
    """
    return [Row(part.label, part.quality, clean(part.interval.basis)) for part in segments(plan) if part.interval]
