"""
What the report says, as short texts and numbers; console and HTML only arrange it.

All text that came from outside (names, reasons, findings) has passed `clean`.
"""

from __future__ import annotations

import math
from json import dumps
from typing import TYPE_CHECKING, NamedTuple

from vllm_sizing.errors import SizingError
from vllm_sizing.specs.engine import thaw
from vllm_sizing.units import GIB, format_gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.specs.plan import Estimate, Percentiles, Performance, Plan

# The longest name on the Hub has 96 characters; what is longer is a path, and the command has it whole.
_LONGEST_NAME = 120


class Row(NamedTuple):
    """
    One line of a table: what, how much, and what to know about it.
    """

    label: str
    value: str
    remark: str = ""


def clean(text: str) -> str:
    r"""
    Text that cannot steer a terminal: controls, line breaks and invisible marks become visible escapes.

    >>> print(clean("a\x1b[31mb\nc"))
    a\x1b[31mb\nc
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def model_name(plan: Plan) -> str:
    """
    The model's name, its middle left out if it is absurdly long.
    """
    name = clean(plan.model.name)
    if len(name) <= _LONGEST_NAME:
        return name
    half = _LONGEST_NAME // 2
    return f"{name[:half]}…{name[-half:]}"


def verdict(plan: Plan) -> tuple[str, str]:
    """
    Whether it fits, and the number that matters.
    """
    missing = plan.shortfall_bytes
    if plan.fits:
        risk = f"risk of running out of memory: {plan.oom_risk}"
        return "FITS", f"with {format_gib(-missing)} per GPU to spare; {risk}"
    if missing <= 0:
        return "DOES NOT FIT:", "vLLM would refuse to start, although there is memory enough"
    return "DOES NOT FIT:", f"{format_gib(missing)} per GPU missing"


def way_out(plan: Plan) -> str:
    """
    The first change that would make it fit; empty if it fits or none is known.
    """
    if plan.fits or not plan.alternatives:
        return ""
    return f"It would fit with {clean(plan.alternatives[0].change)}"


def subject(plan: Plan) -> list[str]:
    """
    What was planned: the model, the GPUs, the version.
    """
    model, args, cluster = plan.model, plan.engine_args, plan.cluster
    dtype = model.dtype if args.dtype in {None, "auto"} else args.dtype
    quantization = args.quantization or model.quantization
    nodes = f" on {cluster.num_nodes} nodes" if cluster.num_nodes > 1 else ""
    sizes = (
        ("TP", args.tensor_parallel_size),
        ("PP", args.pipeline_parallel_size),
        ("DP", args.data_parallel_size),
        ("DCP", args.decode_context_parallel_size),
    )
    layout = [f"{name} {size}" for name, size in sizes if (size or 1) > 1]
    if args.enable_expert_parallel:
        layout.append("EP")
    size = _parameters(model.num_parameters) + (" (rough)" if model.rough else "")
    return [
        clean(item)
        for item in (
            ", ".join(word for word in (size, dtype, quantization) if word),
            ", ".join((f"{plan.num_gpus} x {plan.gpu.name}{nodes}", *layout)),
            f"vLLM {plan.vllm_version}",
        )
    ]


def demand(plan: Plan) -> list[str]:
    """
    What was asked of it: the workload, the goal, the limits.
    """
    workload = plan.workload
    targets = (
        ("TTFT", workload.target.ttft_ms),
        ("TPOT", workload.target.tpot_ms),
        ("end to end", workload.target.e2el_ms),
    )
    rate = workload.request_rate
    return [
        f"{rate:g} requests/s" if rate else _counted(workload.concurrency, "request") + " at once",
        f"{workload.input_tokens:,} tokens in, {workload.output_tokens:,} out",
        f"goal {plan.policy.goal}",
        *(f"{name} at most {limit:g} ms" for name, limit in targets if limit is not None),
    ]


def longest_request(plan: Plan) -> int:
    """
    max_model_len as planned.
    """
    length = plan.engine_args.max_model_len
    return plan.model.max_model_len if length is None or length < 1 else length


def capacity_title(plan: Plan) -> str:
    """
    Which of the figures can be held against vLLM's log.
    """
    return "tokens and maximum concurrency as vLLM will log them" if plan.kv_cache.groups else ""


def capacity(plan: Plan) -> list[Row]:
    """
    What the KV cache holds.
    """
    kv, workload = plan.kv_cache, plan.workload
    length = longest_request(plan)
    if not kv.groups:
        return [Row("KV cache", "none", "the model keeps nothing from one step to the next")]
    one = Row("One long request", format_gib(kv.bytes_per_request), f"per GPU, for {length:,} tokens")
    dtype = Row("KV dtype", clean(kv.kv_cache_dtype), f"blocks of {_counted(kv.block_size, 'token')}")
    if kv.size_tokens <= 0:
        return [Row("KV cache", "none", "no memory is left for it"), one, dtype]
    size = kv.size_tokens_interval
    quality = "rough" if plan.model.rough else "modelled"
    sure = "exact" if size.low == size.high else f"{quality}, {size.low:,.0f} to {size.high:,.0f}"
    wanted = "" if workload.request_rate else f"; {workload.concurrency:,} wanted"
    each = f"of the workload's {workload.tokens_per_request:,} tokens"
    growth = kv.bytes_per_token
    rows = [
        Row("KV cache", _counted(kv.size_tokens, "token"), sure),
        Row("Requests at once", f"{kv.max_concurrency_at_workload:,}", each + wanted),
        Row("", f"{kv.max_concurrency:,.2f}", f'of {length:,} tokens, "Maximum concurrency"'),
        *_longest(plan),
        one,
        Row(
            "One GiB of cache",
            _counted(GIB // growth, "token") if growth else "any length",
            f"{growth / 1024:,.1f} KiB per token and GPU" if growth else "requests do not grow with their tokens",
        ),
        dtype,
    ]
    if kv.max_num_seqs_limit is not None:
        rows.append(Row("Recurrent states", _counted(kv.max_num_seqs_limit, "request"), "at most, one state each"))
    if len(kv.groups) > 1:
        rows += [
            Row(
                "" if number else "Cache groups",
                _counted(group.num_layers, "layer"),
                f"{clean(group.kind)}: {_counted(group.blocks_per_request, 'block')} a long request",
            )
            for number, group in enumerate(kv.groups)
        ]
    return rows


def _longest(plan: Plan) -> Iterator[Row]:
    kv, concurrency = plan.kv_cache, plan.workload.concurrency
    yield Row("Longest request", _counted(kv.max_model_len_that_fits, "token"), "if it is alone")
    if concurrency > 1:
        shared = kv.max_model_len_at_concurrency
        yield Row("", _counted(shared, "token") if shared else "none", f"with {concurrency:,} at once")


def performance_title(plan: Plan) -> str:
    """
    What the figures rest on.
    """
    if not plan.fits:
        return "none, as the server does not start"
    if plan.performance is None:
        return "not estimated"
    return f"modelled, 80 % intervals; limited by {clean(plan.performance.limit)}"


def performance(plan: Plan) -> list[Row]:
    """
    How fast it will be.
    """
    speed = plan.performance
    if speed is None or not plan.fits:
        return []
    each = f"; {figure(1e3 / speed.tpot_ms.mid)} tokens/s each" if speed.tpot_ms.mid > 0 else ""
    shared = f", {figure(speed.output_tokens_per_s_per_gpu.mid)}/GPU" if plan.num_gpus > 1 else ""
    running = f"; {speed.num_running:,} running{shared}"
    return [
        _time("Time to first token", speed.ttft_ms, _p99(speed.ttft_percentiles_ms)),
        _time("Time per output token", speed.tpot_ms, each),
        _time("Whole request", speed.e2el_ms, _p99(speed.e2el_percentiles_ms)),
        _rate("Output, all requests", speed.output_tokens_per_s, "tokens/s", running),
        _rate("Prompts alone", speed.prefill_tokens_per_s, "tokens/s", "; one replica"),
        _rate("Requests", speed.requests_per_s, "per s"),
        *_at_target(speed),
    ]


def _p99(spread: Percentiles) -> str:
    unit, scale = ("s", 1e3) if spread.p99 >= 1e3 else ("ms", 1.0)
    return f"; p99 {figure(spread.p99 / scale)} {unit}"


def _at_target(speed: Performance) -> Iterator[Row]:
    most, rate = speed.max_concurrency_at_target, speed.max_request_rate_at_target
    if most == 0:
        yield Row("Within the targets", "none", "not even a request alone")
    elif most is not None and rate is not None:
        yield Row("Within the targets", f"{most:,} at once", f"or {figure(rate)} requests/s at random")


def _time(label: str, estimate: Estimate, remark: str = "") -> Row:
    unit, scale = ("s", 1e3) if estimate.mid >= 1e3 else ("ms", 1.0)
    low, mid, high = (figure(value / scale) for value in (estimate.low, estimate.mid, estimate.high))
    return Row(label, f"{mid} {unit}", f"{low} to {high} {unit}{remark}")


def _rate(label: str, estimate: Estimate, unit: str, remark: str = "") -> Row:
    low, mid, high = (figure(value) for value in (estimate.low, estimate.mid, estimate.high))
    return Row(label, f"{mid} {unit}", f"{low} to {high}{remark}")


def flags(plan: Plan, *, explain: bool) -> list[Row]:
    """
    The recommended flags, each with its reason.
    """
    rows = []
    for decision in plan.decisions:
        source = f" [{clean(decision.source)}]" if explain and decision.source else ""
        flag = "--" + clean(decision.flag).replace("_", "-")
        rows.append(Row(flag, clean(_value(decision.value)), clean(decision.reason) + source))
    return rows


def _value(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "on", False: "off"}[value]
    plain = thaw(value)
    return str(plain) if isinstance(plain, (str, int, float)) else dumps(plain)


def basis(plan: Plan) -> list[Row]:
    """
    Where the facts and the speed come from.
    """
    rows = [
        Row("Model", clean(plan.model.architecture), clean(", ".join(plan.model.provenance))),
        Row("GPU", clean(plan.gpu.name), clean(plan.gpu.source)),
    ]
    if plan.performance is not None:
        rows.append(Row("Performance", "modelled", clean(plan.performance.tpot_ms.basis)))
    return rows


def findings(plan: Plan) -> list[Row]:
    """
    Errors first, then warnings, then the rest: severity, message, hint.
    """
    order = ("error", "warning", "info")
    return [
        Row(found.severity, clean(found.message), clean(found.hint))
        for found in sorted(plan.findings, key=lambda found: order.index(found.severity))
    ]


def alternatives(plan: Plan) -> list[Row]:
    """
    What would fit, best first: number, change, what it gives.
    """
    rows = []
    for number, other in enumerate(plan.alternatives, start=1):
        nodes = f" on {other.num_nodes} nodes" if other.num_nodes > 1 else ""
        gives = (
            f"{other.num_gpus * other.num_nodes} x {clean(other.gpu_name)}{nodes}, "
            f"{format_gib(other.kv_cache_bytes)} of KV cache per GPU, "
            f"{_counted(other.max_concurrency_at_workload, 'request')} of this workload at once"
        )
        rows.append(Row(f"{number}.", clean(other.change), gives))
    return rows


def command_text(plan: Plan) -> str:
    """
    The command, safe to print; why there is none, if it cannot be written.
    """
    # Here, because it loads the table of vLLM's flags, and a plan that does not fit has no command.
    from vllm_sizing.render.command import command

    try:
        text = command(plan)
    except SizingError as error:
        text = f"No command: {error.message}"
    return "".join(f"{clean(line)}\n" for line in text.splitlines())


def figure(value: float) -> str:
    """
    Three digits that count.

    >>> figure(18_934.2), figure(16.73), figure(0.0512)
    ('18,900', '16.7', '0.0512')
    """
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _parameters(number: int) -> str:
    if not number:
        return ""
    return f"{figure(number / 1e9)}B" if number >= 1e9 else f"{figure(number / 1e6)}M"
