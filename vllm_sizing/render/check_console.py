"""
The report of a check for people: per server the verdict, what it holds, what is wrong where, the command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.render import report
from vllm_sizing.render.console import NARROWEST, SEVERITY, Page
from vllm_sizing.render.report import Row, clean
from vllm_sizing.units import format_gib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vllm_sizing.specs.check import CheckFinding, CheckReport, Measured, ServerCheck
    from vllm_sizing.specs.plan import Estimate

_RANK = {"error": 0, "warning": 1, "info": 2}


def check_console(check: CheckReport, *, width: int = 80, color: bool = False, ascii_only: bool = False) -> str:
    r"""
    The report of `check`.

    Args:
        width: Columns; no line but the command is longer.  Less than 40 is taken as 40.

        color: With ANSI colours.

        ascii_only: For terminals and logs that know nothing else.

    >>> from vllm_sizing.checks.check import check_text
    >>> report = check_text("vllm serve Qwen/Qwen3-8B --max-model-len 16k", gpu="l4")
    >>> print(check_console(report).splitlines()[0])
    FITS with ... GiB per GPU to spare; risk of running out of memory: low
    """
    page = Page(max(NARROWEST, width), color=color, ascii_only=ascii_only)
    parts = []
    for server in check.servers:
        _server(page, server, check)
        parts.append(page.text() + _command(server, ascii_only=ascii_only))
        page = Page(max(NARROWEST, width), color=color, ascii_only=ascii_only)
    if check.findings:
        page.line(page.words("The file", "bold"))
        _findings(page, check.findings, check.source)
    page.line(page.words(_summary(check), "dim"))
    return "\n".join([*parts, page.text()])


def _server(page: Page, server: ServerCheck, check: CheckReport) -> None:
    plan = server.plan
    if plan is None:
        page.line(page.words("NOT KNOWN", "bold yellow"), page.words(" whether it fits", "bold"))
        page.flow([clean(server.model or "no model"), f"vLLM {server.vllm_version}"])
    else:
        word, rest = report.verdict(plan)
        page.line(page.words(word, "bold green" if plan.fits else "bold red"), page.words(f" {rest}", "bold"))
        if way_out := report.way_out(plan):
            page.line(page.words(way_out, "bold"))
        page.flow([report.model_name(plan), *report.subject(plan)])
    if any(item.severity == "error" and not item.code.startswith("does-not-fit") for item in server.findings):
        numbers = "; the numbers are of the corrected command" if plan is not None else ""
        page.line(page.words(f"It does not work as it stands{numbers}", "bold yellow"))
    place = f"{clean(check.source)}, line {server.line}" if check.source != "-" else f"line {server.line}"
    name = server.name if server.name == server.kind else f"{server.kind} {server.name}"
    said = [
        f"{what}: {clean(who)}" for what, who in (("version", server.version_source), ("GPU", server.gpu_source)) if who
    ]
    page.flow([clean(name), place, *said], "dim")
    if plan is not None:
        page.title("Memory per GPU")
        memory = plan.memory
        page.rows(
            [
                Row(
                    "Weights",
                    format_gib(memory.weights_bytes_per_gpu + memory.lora_bytes + memory.draft_bytes),
                    "exact",
                ),
                Row("KV cache", format_gib(memory.kv_cache_bytes), _interval(memory.kv_cache_bytes_interval)),
                Row("Taken by vLLM", format_gib(memory.requested_bytes), f"of {format_gib(memory.total_bytes)}"),
            ]
        )
        page.title("Capacity", report.capacity_title(plan))
        page.rows(report.capacity(plan))
    if server.waste:
        page.title("Wasted")
        page.rows([Row(item.name, format_gib(item.num_bytes), clean(item.message)) for item in server.waste])
    if server.measured:
        page.title("Log", "predicted and printed")
        page.rows([_measured(item) for item in server.measured])
    if server.findings:
        page.title("Findings")
        _findings(page, server.findings, check.source)


def _interval(estimate: Estimate) -> str:
    if estimate.low == estimate.high:
        return "exact"
    return f"{format_gib(estimate.low)} to {format_gib(estimate.high)}"


def _measured(item: Measured) -> Row:
    def text(value: float) -> str:
        if item.unit == "bytes":
            return format_gib(value)
        return f"{value:,.0f}" if item.unit == "tokens" else f"{value:,.2f}"

    said = "as predicted" if item.inside else "outside"
    remark = f"{said}: {text(item.predicted.low)} to {text(item.predicted.high)}"
    return Row(
        item.name.replace("_", " "), text(item.printed), f"{remark}; {clean(item.remark)}" if item.remark else remark
    )


def _findings(page: Page, found: Sequence[CheckFinding], source: str) -> None:
    for item in sorted(found, key=lambda item: (_RANK[item.severity], item.line)):
        line = f"line {item.line}: " if item.line else ""
        advice = page.words(f"\n→ {clean(item.hint)}" if item.hint else "", "dim")
        code = page.words(f" [{item.code}]", "dim")
        words = page.words(f"{line}{clean(item.message)}").append_text(code).append_text(advice)
        page.grid([(page.words(item.severity, SEVERITY[item.severity]), words)], (len("warning"),))


def _command(server: ServerCheck, *, ascii_only: bool) -> str:
    """
    As it should be; not wrapped and without frame, so that it can be copied.
    """
    if not server.corrected_text:
        return ""
    text = clean(server.corrected_text)
    if ascii_only and not text.isascii():
        text = "No command: ASCII cannot write it."
    return f"\n{text}\n"


def _summary(check: CheckReport) -> str:
    counts = [sum(item.severity == severity for item in check.all_findings) for severity in _RANK]
    words = [
        f"{count} {name}{'' if count == 1 else 's'}"
        for count, name in zip(counts, ("error", "warning", "remark"), strict=True)
    ]
    servers = len(check.servers)
    return f"{servers} server{'' if servers == 1 else 's'} in {clean(check.source)}: {', '.join(words)}"
