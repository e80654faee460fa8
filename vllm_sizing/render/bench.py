"""
The plan's workload as a benchmark of the running server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.argv import served_name
from vllm_sizing.render.deployment import deployment, plan_notes
from vllm_sizing.render.report import figure
from vllm_sizing.render.shell import bash_array, bash_script
from vllm_sizing.specs.serving import resolve_serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.specs.plan import Estimate, Plan

_LEAST_PROMPTS = 100


def bench(plan: Plan) -> str:
    """
    A script around ``vllm bench serve``, with what the plan expects in its head.

    Raises:
        UnsupportedError: The model generates nothing.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "bench", container=False)
    if resolve_serving(plan.model, plan.engine_args)[0] == "pooling":
        message = "bench measures generated tokens, and a pooling model has none; smoke-test can ask it"
        raise UnsupportedError(message, field="emit", value="bench")
    head = (
        f"Measures the server on {_url(wanted.port)}, or on the address given as the first argument.",
        "VLLM_API_KEY, if set, is sent along.",
        "",
        *_expected(plan),
        "",
        *plan_notes(plan),
    )
    return bash_script(
        head,
        bash_array("args", _options(plan, wanted.model)),
        'if [ -n "${VLLM_API_KEY:-}" ]; then export OPENAI_API_KEY="$VLLM_API_KEY"; fi\n'
        f'exec vllm bench serve --base-url "${{1:-{_url(wanted.port)}}}" "${{args[@]}}"\n',
    )


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _options(plan: Plan, model: str) -> Iterator[tuple[str, ...]]:
    workload, target = plan.workload, plan.workload.target
    yield "--model", model
    yield "--served-model-name", served_name(plan)
    yield "--endpoint", "/v1/completions"
    yield "--dataset-name", "random"
    yield "--random-input-len", str(workload.input_tokens)
    yield "--random-output-len", str(workload.output_tokens)
    yield ("--ignore-eos",)  # answers as long as planned
    yield "--num-prompts", str(max(_LEAST_PROMPTS, 5 * workload.concurrency))
    if workload.request_rate:
        yield "--request-rate", f"{workload.request_rate:g}"
    else:
        yield "--max-concurrency", str(workload.concurrency)
    yield "--percentile-metrics", "ttft,tpot,itl,e2el"
    limits = (("ttft", target.ttft_ms), ("tpot", target.tpot_ms), ("e2el", target.e2el_ms))
    goals = [f"{name}:{limit:g}" for name, limit in limits if limit is not None]
    if goals:
        yield "--goodput", *goals


def _expected(plan: Plan) -> Iterator[str]:
    speed = plan.performance
    if speed is None:
        yield "The plan expects no figures: performance was not estimated."
        return
    yield "Expected (80 % intervals):"
    yield _line("TTFT", speed.ttft_ms, "ms")
    yield _line("TPOT", speed.tpot_ms, "ms")
    yield _line("Output", speed.output_tokens_per_s, "tokens/s")


def _line(name: str, estimate: Estimate, unit: str) -> str:
    return f"  {name} {figure(estimate.mid)} {unit} ({figure(estimate.low)} to {figure(estimate.high)})"
