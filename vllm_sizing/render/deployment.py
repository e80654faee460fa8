"""
What a deployment of a plan needs besides the arguments: names, sizes and times, each with its formula.

The numbers that no plan can know (the bandwidth of a download, the time of compilation) stand here
as constants, and every artifact says them in its head.
"""

from __future__ import annotations

import re
from hashlib import sha256
from math import ceil
from typing import TYPE_CHECKING

import attrs

from vllm_sizing.catalog.arguments import unsafe_reasons
from vllm_sizing.catalog.flags import flag_table
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.argv import extra_settings, is_folder, model_word, pinned, plan_argv
from vllm_sizing.render.command import DOES_NOT_FIT
from vllm_sizing.render.drain import drain
from vllm_sizing.render.nodes import count_nodes
from vllm_sizing.render.paths import check_paths
from vllm_sizing.render.start import bytes_per_gpu, processes, server_environment, start_budget
from vllm_sizing.units import GB, GIB, ceil_div, format_gib

if TYPE_CHECKING:
    from typing import Any

    from vllm_sizing.catalog.flags import Release
    from vllm_sizing.specs.plan import Plan

IMAGE = "vllm/vllm-openai"
UID = 2000
PRE_STOP_S = 15
ANY_NODES = ("command", "script", "config", "slurm")

_LARGEST_SHARD_BYTES = 60 * GB  # 1.2 x the 50 GB that transformers 5 writes into one file
_RING_BYTES = 16 * 10 * 2**20  # vLLM 0.33 distributed/device_communicators/shm_broadcast.py: the broadcast's ring
_WORKER_RING_BYTES = 24 * 10 * 2**20  # and each worker's answers
_SERVE_SINCE: Release = (0, 11, 2)
_USER_SINCE: Release = (0, 22, 0)
_ELSEWHERE = ("config", "headless", "host", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "uds")


@attrs.frozen(kw_only=True)
class Deployment:
    """
    A plan as something to be deployed; sizes are those of one node.

    Attributes:
        name: For objects: RFC 1123, at most 47 characters, different for different models.

        model: As vLLM is given it.

        folder: The model is a folder on the host, not a repository on the Hub.

        revision: The commit that is pinned, if any.

        words: What follows the model on the command line: one argument each.

        port: Of the server.

        num_nodes, gpus: How many nodes, and GPUs on each.

        start_s: Longest start that is not a fault.

        drain_s: Time for running requests to end; 0 where vLLM aborts them.

        grace_s: From the wish to stop until the kill.

        shm_bytes, memory_bytes, memory_limit_bytes, disk_bytes: Host memory and disk.

        cpus: Hardware threads.

        user: The image has an account for it, so that it need not be root.

        home: Of the account in the image.

        products: Names of the GPU as the driver reports them.

        environment: Settings that are no secrets.

        notes: The formulas, for the head of an artifact.
    """

    name: str
    model: str
    folder: bool
    revision: str | None
    words: tuple[str, ...]
    image: str
    positional: bool
    port: int
    num_nodes: int
    gpus: int
    start_s: int
    drain_s: int
    grace_s: int
    shm_bytes: int
    memory_bytes: int
    memory_limit_bytes: int
    disk_bytes: int
    cpus: int
    user: bool
    home: str
    products: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    @property
    def args(self) -> tuple[str, ...]:
        """
        What the image's entrypoint is given: ``vllm serve`` since 0.11.2, before it the API server.
        """
        return (*(() if self.positional else ("--model",)), self.model, *self.words)

    @property
    def cache(self) -> str:
        """
        The folder in the container where weights and compiled graphs outlive it.
        """
        return f"{self.home}/.cache"


def deployment(
    plan: Plan, target: str, *, nodes: tuple[str, ...] = (), folders: bool = True, container: bool = True
) -> Deployment:
    """
    The numbers of a plan for one target.

    Args:
        nodes: Targets that can run the plan, if it needs several nodes and this one cannot; empty: it can.

        folders: The target can mount a folder of its host.

        container: The server runs in vLLM's image, and others must reach it.

    Raises:
        UnsupportedError: The target cannot express the plan; the message names those that can.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    model = model_word(plan.model.name)
    num_nodes = count_nodes(plan)
    if num_nodes > 1 and nodes:
        raise _refusal(target, f"runs on one node and the plan needs {num_nodes}", nodes)
    folder = is_folder(model)
    if folder and not folders:
        able = ("command", "script", "config", "docker", "compose", "systemd", "quadlet", "slurm")
        raise _refusal(target, "cannot mount a folder of one machine, which the model is", able)
    settings = extra_settings(plan)
    _check(plan, target, settings, container=container)
    remarks = check_paths(settings, target) if container else ()
    return _measured(plan, model, settings, num_nodes=num_nodes, folder=folder, remarks=remarks)


def object_name(model: str) -> str:
    """
    A name for objects, made from the model's: lower case, digits, dashes, and a hash of the whole.

    >>> object_name("Qwen/Qwen3_8B"), object_name("...")
    ('qwen-qwen3-8b-703c61', 'model-ab5df6')
    """
    slug = re.sub(r"[^a-z0-9]+", "-", model.lower())[:40].strip("-") or "model"
    slug = slug if slug[0].isalpha() else f"m-{slug}"[:40].strip("-")
    return f"{slug}-{sha256(model.encode()).hexdigest()[:6]}"


def _refusal(target: str, reason: str, able: tuple[str, ...]) -> UnsupportedError:
    message = f"{target} {reason}; {', '.join(able)} can"
    return UnsupportedError(message, field="emit", value=target)


def _check(plan: Plan, target: str, settings: dict[str, Any], *, container: bool) -> None:
    if container and plan.gpu.vendor != "nvidia":
        raise _refusal(target, f"is written for NVIDIA GPUs, and {plan.gpu.name} is none", ANY_NODES)
    for name in _ELSEWHERE:
        if (container or name != "host") and settings.get(name) not in {None, False}:
            reason = f"needs a server on plain HTTP, and extra_args set {name}"
            raise _refusal(target, reason, ("command", "script", "config"))
    check_code(plan, target)


def check_code(plan: Plan, target: str) -> None:
    """
    Refuse to run the code of a repository that anybody may change later.

    Raises:
        UnsupportedError: trust_remote_code without a commit.
    """
    if plan.engine_args.trust_remote_code and not (pinned(plan) or is_folder(plan.model.name)):
        reason = "would run the repository's code of any later day: trust_remote_code needs revision, a commit;"
        message = f"{target} {reason} pin it, or write command"
        raise UnsupportedError(message, field="emit", value=target)


def _measured(
    plan: Plan, model: str, settings: dict[str, Any], *, num_nodes: int, folder: bool, remarks: tuple[str, ...]
) -> Deployment:
    args, release = plan.engine_args, flag_table(plan.vllm_version).release
    gpus = ceil_div(plan.num_gpus, num_nodes)
    servers, engines = processes(plan)
    checkpoint, start_s, start_note = start_budget(plan)
    drain_s, drain_note = drain(plan, settings)
    grace_s = PRE_STOP_S + drain_s + 15
    shm, shm_note = _shared_memory(gpus, engines, settings)
    multimodal = 2 * float(settings.get("mm_processor_cache_gb", 4)) if plan.model.encoders else 0
    host = float(args.cpu_offload_gb or 0) * gpus + float(args.kv_offloading_size or 0)
    request = ceil((4 + 4 * gpus + multimodal + host) * GIB) + shm
    page_cache = min(bytes_per_gpu(plan) * gpus, _LARGEST_SHARD_BYTES)
    coordinator = (args.data_parallel_size or 1) > 1
    cpus = 2 * (servers + engines + gpus + coordinator)
    disk = ceil(checkpoint * 1.1) + 10 * GIB
    extra = f"{multimodal:g} GiB (multimodal) + {host:g} GiB (offloaded) + shared memory"
    busy = f"{servers} (API) + {engines} (engines) + {gpus} (GPUs)" + " + 1 (coordinator)" * coordinator
    revision = pinned(plan)
    user = release >= _USER_SINCE
    home = "/home/vllm" if user else "/root"
    folders = (
        ("HOME", home),
        ("HF_HOME", f"{home}/.cache/huggingface"),
        ("VLLM_CACHE_ROOT", f"{home}/.cache/vllm"),
    )
    return Deployment(
        name=object_name(model),
        model=model,
        folder=folder,
        revision=revision,
        words=plan_argv(plan)[3:],
        image=f"{IMAGE}:v{'.'.join(map(str, release))}",
        positional=release >= _SERVE_SINCE,
        port=int(settings.get("port") or 8000),
        num_nodes=num_nodes,
        gpus=gpus,
        start_s=start_s,
        drain_s=drain_s,
        grace_s=grace_s,
        shm_bytes=shm,
        memory_bytes=request,
        memory_limit_bytes=request + page_cache,
        disk_bytes=disk,
        cpus=cpus,
        user=user,
        home=home,
        products=plan.gpu.product_names,
        environment=(*folders, *server_environment(plan)),
        notes=(
            *plan_notes(plan),
            *remarks,
            "",
            f"Start: {start_s} s = {start_note}",
            f"Drain: {drain_note}",
            f"Grace: {grace_s} s = {PRE_STOP_S} s for routers to notice + drain + 15 s",
            f"Shared memory: {shm_note}",
            f"Memory: {format_gib(request, 1)} = 4 GiB + 4 GiB x {gpus} (GPUs) + {extra}",
            f"Memory limit: {format_gib(page_cache, 1)} more, for pages of files: the weights of a node or one shard",
            f"CPU: {cpus} threads = 2 x ({busy}); no limit, because engines spin",
            f"Disk: {format_gib(disk, 0)} = 1.1 x {format_gib(checkpoint, 1)} of weights + 10 GiB for caches",
        ),
    )


def _shared_memory(gpus: int, engines: int, settings: dict[str, Any]) -> tuple[int, str]:
    workers = ceil_div(gpus, engines)
    ring = (_RING_BYTES + _WORKER_RING_BYTES * workers) * engines if workers > 1 else 0
    cache = 0.0
    if settings.get("mm_processor_cache_type") == "shm":
        cache = float(settings.get("mm_processor_cache_gb", 4)) * GIB
    needed = ring + (GIB // 2 if gpus > 1 else 0) + ceil(cache)
    size = GIB
    while size < needed:
        size *= 2
    note = (
        f"{size // GIB} GiB >= {engines} (engines) x (160 MiB + 240 MiB x {workers} workers) + 0.5 GiB (NCCL)"
        if ring
        else f"{size // GIB} GiB: one worker an engine keeps no rings"
    )
    return size, note + (f" + {cache / GIB:g} GiB multimodal cache" if cache else "")


def plan_notes(plan: Plan) -> tuple[str, ...]:
    """
    What an artifact says of its plan: by whom, for what, and what to know before it is used.
    """
    import vllm_sizing
    from vllm_sizing.render.json import json
    from vllm_sizing.render.report import demand, subject, verdict

    digest = sha256(json(plan).encode()).hexdigest()[:12]
    word, reason = verdict(plan)
    warnings = []
    if not plan.fits:
        warnings.append(DOES_NOT_FIT)
    if plan.engine_args.trust_remote_code:
        warnings.append("WARNING: trust_remote_code runs code that the model's repository brings.")
    warnings += [f"WARNING: {reason}." for reason in unsafe_reasons(plan.engine_args.extra_args, plan.vllm_version)]
    if not pinned(plan) and not is_folder(plan.model.name):
        warnings.append("The model's revision is not pinned; --revision with a commit pins it.")
    return (
        f"Written by vllm-sizing {vllm_sizing.__version__} for vLLM {plan.vllm_version}; plan {digest}.",
        f"{plan.model.name}: {'; '.join(subject(plan))}",
        f"Planned for {'; '.join(demand(plan))}.",
        f"{word} {reason}",
        *warnings,
    )
