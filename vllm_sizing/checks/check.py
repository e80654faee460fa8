"""
`check`: a file that starts vLLM goes in, a `CheckReport` comes out.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from vllm_sizing.catalog.check_rules import finding
from vllm_sizing.checks.environment import about_documents
from vllm_sizing.checks.kubernetes import about_objects
from vllm_sizing.checks.needs import Needs, needs_of
from vllm_sizing.checks.place import about_sharing
from vllm_sizing.checks.server import Wanted, check_server
from vllm_sizing.errors import SourceError
from vllm_sizing.sources.launches import parse_launches, read_log, read_text
from vllm_sizing.sources.start_log import parse_log
from vllm_sizing.specs.check import CheckFinding, CheckReport, ServerCheck
from vllm_sizing.specs.request import Policy
from vllm_sizing.specs.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from vllm_sizing.specs.gpu import GpuSpec
    from vllm_sizing.specs.model import ModelSpec

_MOST_SERVERS = 200
_MOST_WORDS = 10_000


def check(
    path: str | Path,
    *,
    gpu: GpuSpec | str | None = None,
    num_gpus: int | None = None,
    num_nodes: int | None = None,
    interconnect: str | None = None,
    vllm_version: str | None = None,
    workload: Workload | None = None,
    policy: Policy | None = None,
    model: str | None = None,
    log: str | Path | None = None,
) -> CheckReport:
    """
    Check a file: script, Compose, Kubernetes, ``--config`` YAML.  Reads it, and what `plan_request` reads for a model.

    Args:
        path: The file; ``-`` for standard input.

        gpu: What the servers get; ``auto``: a GPU of this machine; None: what the file says.

        num_gpus: Of one node; None: what the file says, or as many as the command uses.

        vllm_version: Whose rules hold; None: the image's tag, else the log's, else the newest.

        model: To plan with, where the file names a folder inside a container.

        log: A start-up log to hold against the plan.

    Raises:
        SizingError: A file cannot be read, or an argument names nothing that is known.
    """
    path = str(path)
    text = read_text(path)
    logged = read_log(str(log)) if log is not None else None
    return check_text(
        text,
        source=path,
        gpu=gpu,
        num_gpus=num_gpus,
        num_nodes=num_nodes,
        interconnect=interconnect,
        vllm_version=vllm_version,
        workload=workload,
        policy=policy,
        model=model,
        log=logged,
    )


def check_text(
    text: str,
    *,
    source: str = "-",
    gpu: GpuSpec | str | None = None,
    num_gpus: int | None = None,
    num_nodes: int | None = None,
    interconnect: str | None = None,
    vllm_version: str | None = None,
    workload: Workload | None = None,
    policy: Policy | None = None,
    model: str | None = None,
    log: str | None = None,
) -> CheckReport:
    """
    The same for a text, and for a log as text.

    >>> report = check_text("vllm serve Qwen/Qwen3-8B --max-model-len 16k --swap-space 4", gpu="l4")
    >>> report.fits, [found.code for found in report.all_findings if found.severity == "error"]
    (True, ['removed-flag'])
    >>> report.servers[0].corrected
    ('vllm', 'serve', 'Qwen/Qwen3-8B', '--max-model-len', '16k')
    """
    from vllm_sizing.catalog.flags import flag_table

    if vllm_version is not None:
        flag_table(vllm_version)
    where = "standard input" if source == "-" else repr(source)
    sheet = parse_launches(text, where=where)
    wanted = Wanted(
        find_model=cache(_load),
        gpu=_found(gpu),
        num_gpus=num_gpus,
        num_nodes=num_nodes,
        interconnect=interconnect,
        vllm_version=vllm_version,
        workload=workload or Workload(),
        policy=policy or Policy(),
        model=model,
        log=parse_log(log) if log is not None else None,
        several=len(sheet.launches) > 1,
    )
    words = sum(len(launch.words) for launch in sheet.launches)
    if words > _MOST_WORDS:
        message = f"{where} has {words:,} words of commands; at most {_MOST_WORDS:,} are checked: give a part of it"
        raise SourceError(message, source=source)
    servers = tuple(check_server(launch, wanted) for launch in sheet.launches[:_MOST_SERVERS])
    found: list[CheckFinding] = [*sheet.findings, *about_documents(sheet.documents)]
    found += about_objects(
        sheet.documents, sheet.launches, next((needs for needs in map(_needs, servers) if needs), None)
    )
    if not servers:
        message = f"{where} starts no vLLM server that can be seen"
        hint = "it should hold vllm serve, docker run, a Compose service or a container with the server's arguments"
        found.append(finding("no-server", message, hint=hint))
    if len(sheet.launches) > _MOST_SERVERS:
        message = f"only the first {_MOST_SERVERS} of {len(sheet.launches)} servers were checked"
        found.append(finding("not-analysable", message))
    found += about_sharing(sheet.launches, servers)
    told = {(item.code, item.line) for server in servers for item in server.findings}
    kept = [item for item in dict.fromkeys(found) if (item.code, item.line) not in told]
    return CheckReport(source=source, kind=sheet.kind, servers=servers, findings=tuple(kept))


def _needs(server: ServerCheck) -> Needs | None:
    return None if server.plan is None else needs_of(server.plan, {}, server.num_nodes)


def _found(gpu: GpuSpec | str | None) -> GpuSpec | None:
    if gpu is None or not isinstance(gpu, str):
        return gpu
    if gpu.strip().lower() == "auto":
        from vllm_sizing.sources.gpus import detect_machine

        return detect_machine().cluster().gpu
    from vllm_sizing.catalog.gpus import find_gpu

    return find_gpu(gpu)


def _load(name: str, revision: str | None) -> ModelSpec:
    from vllm_sizing.sources.load import load_model

    return load_model(name, revision=revision)
