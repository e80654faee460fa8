"""
The place that a server is given: GPUs, shared memory, time to stop; whatever the format of the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_sizing.catalog.check_rules import finding
from vllm_sizing.units import ceil_div, format_gib

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vllm_sizing.catalog.flags import Release
    from vllm_sizing.checks.needs import Needs
    from vllm_sizing.sources.launch import Launch
    from vllm_sizing.specs.check import CheckFinding, ServerCheck

_DRAIN_SINCE: Release = (0, 18, 0)
_MOST_SHARED = 0.95
_CONTAINERS = ("docker", "compose", "kubernetes")


def about_gpus(launch: Launch, used: int, given: int | None, num_nodes: int) -> Iterator[CheckFinding]:
    """
    Whether the GPUs are as many as the command uses.

    Args:
        used: Over all nodes.

        given: To one node; None: not said.
    """
    if given is None:
        return
    line, each = launch.gpu_line or launch.line, ceil_div(used, num_nodes)
    nodes = f" on each of {num_nodes} nodes" if num_nodes > 1 else ""
    if given < each:
        message = f"the command uses {each} GPUs{nodes} and gets {given}: vLLM refuses to start"
        yield finding("gpu-count", message, line=line, hint=f"give it {each}, or lower tensor_parallel_size")
    elif given > each:
        message = f"the command uses {each} of {given} GPUs{nodes}; {given - each} stay idle"
        hint = f"give it {each}, or raise tensor_parallel_size or data_parallel_size"
        yield finding("gpus-idle", message, line=line, hint=hint)


def about_sharing(launches: Sequence[Launch], servers: Sequence[ServerCheck]) -> Iterator[CheckFinding]:
    """
    Services of one file on the same GPUs: each takes its share of the whole memory.
    """
    shares: dict[str, list[tuple[float, str, int]]] = {}
    for launch, server in zip(launches, servers, strict=False):
        if server.plan is not None and server.plan.engine_args.gpu_memory_utilization is not None:
            for device in launch.devices:
                share = server.plan.engine_args.gpu_memory_utilization
                shares.setdefault(device, []).append((share, launch.name, launch.gpu_line))
    for device, users in shares.items():
        total = sum(share for share, _, _ in users)
        if len(users) > 1 and total > _MOST_SHARED:
            names = ", ".join(name for _, name, _ in users)
            message = f"{names} take {total:.2f} of GPU {device} together"
            hint = "let gpu_memory_utilization add up to 0.95 or less, and start one after the other"
            yield finding("gpu-shared", message, line=users[-1][2], hint=hint)


def about_shared_memory(launch: Launch, needs: Needs) -> Iterator[CheckFinding]:
    """
    Whether /dev/shm holds the rings between the server's processes.
    """
    if launch.kind not in (*_CONTAINERS, "kuberay", "helm") or launch.shm_bytes is None or not needs.rings_bytes:
        return
    given, line = format_gib(launch.shm_bytes), launch.shm_line
    hint = f"give it {format_gib(needs.shm_bytes)} or more: "
    hint += "emptyDir with medium Memory at /dev/shm" if launch.kind == "kubernetes" else "shm_size"
    if launch.shm_bytes < needs.rings_bytes:
        message = (
            f"shared memory has {given}, the processes of the server need {format_gib(needs.rings_bytes)} to start"
        )
        yield finding("shared-memory", message, line=line, hint=hint)
    elif launch.shm_bytes < needs.shm_bytes:
        message = f"shared memory has {given}; with NCCL the server wants {format_gib(needs.shm_bytes)}"
        yield finding("shared-memory-tight", message, line=line, hint=hint)


def about_stopping(
    launch: Launch, values: Mapping[str, Any], release: Release, needs: Needs, pre_stop_s: float
) -> Iterator[CheckFinding]:
    """
    Whether running requests may finish when the server is told to stop.
    """
    if launch.wrapped and launch.kind in _CONTAINERS:
        message = "a shell starts the server, and does not hand the signal to stop on to it"
        hint = "give the arguments as a list without a shell, or write exec before vllm serve"
        yield finding("shell-wrapper", message, line=launch.words[0].line if launch.words else launch.line, hint=hint)
    if launch.grace_s is None or values.get("headless") or launch.kind not in (*_CONTAINERS, "kserve"):
        return
    drain = values.get("shutdown_timeout")
    if release >= _DRAIN_SINCE and not drain:
        message = "shutdown_timeout is 0: running requests are aborted when the server is told to stop"
        yield finding("no-drain", message, line=launch.line, hint=f"add --shutdown-timeout {needs.drain_s}")
    wanted = pre_stop_s + float(drain or 0)
    if drain and launch.grace_s < wanted + 5:
        message = (
            f"the server is killed {launch.grace_s:g} s after the wish to stop, but pauses and drains {wanted:g} s"
        )
        yield finding("grace-short", message, line=launch.grace_line, hint=f"allow {wanted + 15:g} s")
