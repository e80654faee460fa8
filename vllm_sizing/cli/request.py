"""
From the values of the options to one `PlanRequest`: what is given here wins over the profile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from vllm_sizing.cli.faults import as_options
from vllm_sizing.cli.terminal import note
from vllm_sizing.errors import InvalidValueError
from vllm_sizing.specs.request import PlanRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vllm_sizing.specs.engine import EngineArgs

_TARGETS = {"target_ttft_ms": "ttft_ms", "target_tpot_ms": "tpot_ms", "target_e2el_ms": "e2el_ms"}
_WORKLOAD = ("input_tokens", "output_tokens", "concurrency", "request_rate", "prefix_cache_hit_rate", "acceptance_rate")
_POLICY = ("goal", "headroom_bytes", "overhead_bytes")
_REQUEST = ("revision", "num_nodes", "interconnect", "memory_bytes", "params_b", "vllm_version")


def gather(values: Mapping[str, Any]) -> PlanRequest:
    """
    The request that the values of the options make.

    Raises:
        click.UsageError: Options contradict each other, or a value is out of range.

        SourceError: The profile cannot be read.
    """
    unread = "MODEL" if values.get("params_b") and values["profile"] is None else None
    base = _base(values["profile"], values["model"] or unread)
    if base.engine_args.trust_remote_code and values.get("trust_remote_code") is None:
        message = (
            "the profile lets vLLM run code of the model's repository; a file cannot agree to that for you: "
            "give --trust-remote-code or --no-trust-remote-code"
        )
        raise click.UsageError(message, click.get_current_context())
    target, workload = base.workload.target, base.workload
    try:
        target = attrs.evolve(target, **{_TARGETS[name]: value for name, value in _given(values, _TARGETS).items()})
        return attrs.evolve(
            base,
            **_given(values, _REQUEST),
            **_hardware(values),
            workload=attrs.evolve(workload, **_given(values, _WORKLOAD), target=target),
            policy=attrs.evolve(base.policy, **_given(values, _POLICY)),
            engine_args=_engine_args(base, values),
        )
    except InvalidValueError as error:
        raise click.UsageError(as_options(error.message), click.get_current_context()) from None


def _engine_args(base: PlanRequest, values: Mapping[str, Any]) -> EngineArgs:
    given = _given(values, ("trust_remote_code", "extra_args"))
    if "max_model_len" in values:  # The command line has a flag of vLLM, or may have one.
        from vllm_sizing.cli.engine import read_flags

        given |= read_flags(values)
    return attrs.evolve(base.engine_args, **given)


def _given(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) not in (None, ())}


def _base(profile: str | None, model: str | None) -> PlanRequest:
    """
    The profile's request, or the defaults; MODEL wins over the profile's, and that is told.
    """
    if profile is None:
        if model is None:
            message = "Missing MODEL: a Hub id, a catalog name, a folder or a config.json (or --profile)"
            raise click.UsageError(message, click.get_current_context())
        return PlanRequest(model=model)

    from vllm_sizing.sources.profile import read_profile

    base = read_profile(profile)
    if model is None or model == base.model:
        return base
    note(f"planning {model}, not {base.model} of the profile")
    # A revision or a size belongs to the model that the profile was written for.
    return attrs.evolve(base, model=model, revision=None, params_b=None)


def _hardware(values: Mapping[str, Any]) -> dict[str, Any]:
    count = values["num_gpus"]
    if values["gpu"] is None:
        return {} if count is None else {"num_gpus": count}
    number, name = values["gpu"]
    if None not in (number, count) and number != count:
        message = f"--gpu {number}x{name} and --gpus {count} contradict each other: give one of them"
        raise click.UsageError(message, click.get_current_context())
    if number is None and count is None:
        # Another GPU than the profile's: its number stays, for that is its own option.
        return {"gpu": name}
    return {"gpu": name, "num_gpus": number if count is None else count}
