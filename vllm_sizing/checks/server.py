"""
One server of a file: its command read, its plan made, its place looked at.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from vllm_sizing.catalog.check_rules import finding
from vllm_sizing.catalog.flag_words import read_words
from vllm_sizing.catalog.flags import NEWEST, flag_table
from vllm_sizing.catalog.names import quote
from vllm_sizing.checks.command import DEFAULT_MODEL, ReadCommand, read_command
from vllm_sizing.checks.comparison import compare_log, parse_release
from vllm_sizing.checks.compose import about_service
from vllm_sizing.checks.environment import (
    about_environment,
    about_image,
    about_words,
    image_tag,
    image_version,
    without_secrets,
)
from vllm_sizing.checks.keys import about_keys
from vllm_sizing.checks.kubernetes import about_pod, pre_stop_s
from vllm_sizing.checks.needs import needs_of
from vllm_sizing.checks.place import about_gpus, about_shared_memory, about_stopping
from vllm_sizing.checks.waste import find_waste
from vllm_sizing.errors import SizingError
from vllm_sizing.render.argv import argument_groups
from vllm_sizing.sizing.defaults import parse_version, rules_for
from vllm_sizing.sizing.modalities import largest_item
from vllm_sizing.sizing.planner import plan
from vllm_sizing.sizing.setup import resolve_batch
from vllm_sizing.specs.check import CheckFinding, Measured, ServerCheck
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.request import Policy
from vllm_sizing.specs.workload import Workload
from vllm_sizing.units import ceil_div

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vllm_sizing.sources.launch import Launch
    from vllm_sizing.sources.start_log import StartLog
    from vllm_sizing.specs.gpu import GpuSpec
    from vllm_sizing.specs.model import ModelSpec
    from vllm_sizing.specs.plan import Plan

_VARIABLE = re.compile(r"\$[A-Za-z_@{]")
_OLDEST = "0.8.0"  # whose flags are known
# Kinds whose paths are paths of this machine; in the others they are the container's.
_ON_THIS_MACHINE = ("command", "config")
_LAYOUT = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "prefill_context_parallel_size")


class Wanted(NamedTuple):
    """
    What the caller says better than the file.

    Attributes:
        gpu: With the number of them, if that is said.

        find_model: Loads a model by name and revision.

        model: Instead of the file's.

        several: The file starts several servers, and the log is of one of them.
    """

    find_model: Callable[[str, str | None], ModelSpec]
    gpu: GpuSpec | None = None
    num_gpus: int | None = None
    num_nodes: int | None = None
    interconnect: str | None = None
    vllm_version: str | None = None
    workload: Workload = Workload()
    policy: Policy = Policy()
    model: str | None = None
    log: StartLog | None = None
    several: bool = False


def check_server(launch: Launch, wanted: Wanted) -> ServerCheck:
    """
    Everything about one server.
    """
    version, version_source, found = _version(launch, wanted)
    table = flag_table(version)
    found += launch.findings
    found += about_keys(launch)
    found += [*about_image(launch, table.release), *about_environment(launch, table.release), *about_words(launch)]
    launch = without_secrets(launch)
    read = read_command(launch, table)
    found += read.findings
    gpu, gpu_source, about_gpu = _gpu(launch, wanted)
    found += about_gpu
    layout = _Layout.of(launch, read.args, wanted)
    answer: Plan | None = None
    refused = False
    if read.args is not None:
        model, about_model = _model(launch, read, wanted)
        found += about_model
        if model is not None and gpu is not None:
            try:
                answer = _plan(model, gpu, read.args, layout, version, wanted)
                found += _of_plan(answer, read)
            except SizingError as error:
                refused = True
                found.append(_refused(error, launch, read))
        found += about_gpus(launch, layout.used, layout.given, layout.nodes)
    found += _about_place(launch, read, answer, layout, table.release)
    measured: tuple[Measured, ...] = ()
    if wanted.log is not None and answer is not None:
        logged = wanted.log.model
        if logged in (None, read.model):
            measured, about_log = compare_log(answer, wanted.log)
            found += about_log
        elif not wanted.several:
            message = f"the log is of {quote(logged)}, and the command serves {quote(read.model)}"
            found.append(finding("log-arguments", message, hint="give the log of this server"))
    corrected = () if refused else _corrected(read, answer)
    return ServerCheck(
        name=launch.name,
        kind=launch.kind,
        line=launch.line,
        model=read.model,
        vllm_version=version,
        version_source=version_source,
        gpu=gpu.name if gpu else None,
        gpu_source=gpu_source,
        num_gpus=layout.given,
        num_nodes=layout.nodes,
        engine_args=read.args,
        plan=answer,
        findings=_sorted(found, launch, read),
        waste=find_waste(answer, layout.given, layout.nodes) if answer else (),
        measured=measured,
        corrected=corrected,
        corrected_text=_shell_text(corrected, launch),
    )


class _Layout(NamedTuple):
    """
    GPUs that the command uses (over all nodes), and those that one node gives.
    """

    used: int
    given: int | None
    nodes: int

    @classmethod
    def of(cls, launch: Launch, args: EngineArgs | None, wanted: Wanted) -> _Layout:
        used = 1
        for name in _LAYOUT if args is not None else ():
            used *= getattr(args, name) or 1
        nodes = wanted.num_nodes or (args.nnodes if args is not None else None) or launch.num_nodes
        given = wanted.num_gpus or launch.num_gpus or _visible(launch)
        return cls(used, given, nodes)


def _visible(launch: Launch) -> int | None:
    for variable in launch.environment:
        if variable.name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
            devices = [word for word in (variable.value or "").split(",") if word.strip()]
            if devices and devices[0].strip() not in ("all", "none", "void"):
                return len(devices)
    return None


def _version(launch: Launch, wanted: Wanted) -> tuple[str, str, list[CheckFinding]]:
    """
    Whose rules hold, who says so, and what to say about it.
    """
    found: list[CheckFinding] = []
    tagged = image_version(launch.image)
    known = tagged is not None and parse_release(tagged) is not None
    newest = ".".join(map(str, NEWEST))
    if tagged is not None and not known:
        nearest = _OLDEST if tuple(map(int, tagged.split("."))) < tuple(map(int, _OLDEST.split("."))) else newest
        message = f"the image holds vLLM {tagged}, which is not known here; checked by the rules of {nearest}"
        found.append(
            finding("version-not-known", message, line=launch.image_line, hint="say it: --vllm-version, vllm_version=")
        )
        if wanted.vllm_version is None:
            return nearest, f"the known one that is nearest to {tagged}", found
    elif tagged is None and wanted.vllm_version is None and image_tag(launch.image) not in ("", "latest"):
        message = f"the tag {quote(image_tag(launch.image))} does not say which release the image holds"
        found.append(
            finding("version-not-known", message, line=launch.image_line, hint="say it: --vllm-version, vllm_version=")
        )
    if wanted.vllm_version is not None:
        if known and parse_release(tagged or "") != parse_release(wanted.vllm_version):
            message = f"the image holds vLLM {tagged}; checked by the rules of {wanted.vllm_version}, as asked"
            found.append(finding("version-differs", message, line=launch.image_line))
        return wanted.vllm_version, "given", found
    if known and tagged is not None:
        return tagged, f"tag of {quote(launch.image)[1:-1]}", found
    if wanted.log is not None and parse_release(wanted.log.version) is not None:
        return wanted.log.version, "the log", found
    return newest, "the newest one, because nothing says which", found


def _gpu(launch: Launch, wanted: Wanted) -> tuple[GpuSpec | None, str, list[CheckFinding]]:
    if wanted.gpu is not None:
        found = []
        if launch.gpu not in ("", wanted.gpu.name):
            message = f"the file chooses nodes with {launch.gpu}; planned for {wanted.gpu.name}, as asked"
            found.append(finding("gpu-differs", message, line=launch.gpu_line))
        return wanted.gpu, "given", found
    if launch.gpu:
        from vllm_sizing.catalog.gpus import find_gpu

        return find_gpu(launch.gpu), "the file's node selector", []
    message = "the file does not say which GPU the server gets, so that memory cannot be planned"
    return (
        None,
        "",
        [finding("gpu-not-known", message, line=launch.gpu_line or launch.line, hint="name it: --gpu, gpu=")],
    )


def _model(launch: Launch, read: ReadCommand, wanted: Wanted) -> tuple[ModelSpec | None, list[CheckFinding]]:
    name = wanted.model or read.model
    line = read.lines["model"]
    defaulted = any(found.code in ("default-model", "words-swallowed") for found in read.findings)
    if name is None and defaulted:
        name = DEFAULT_MODEL
    if name is None:
        message = "the model is not known, so that nothing can be planned"
        return None, [finding("model-not-known", message, line=line, hint="give model=NAME")]
    local = name.startswith(("/", "./", "../", "~"))
    if local and wanted.model is None and launch.kind not in _ON_THIS_MACHINE:
        message = f"{quote(name)} is a folder in the container, which cannot be read here"
        hint = "give model= with its id on the Hub or its folder on this machine"
        return None, [finding("model-not-known", message, line=line, hint=hint)]
    revision = read.args.revision if read.args is not None and wanted.model is None else None
    try:
        return wanted.find_model(name, revision), []
    except SizingError as error:
        missing = error
    if revision is not None:
        try:
            model = wanted.find_model(name, None)
        except SizingError:
            pass
        else:
            message = f"the plan is of the default revision, because the pinned one cannot be read: {missing.message}"
            return model, [finding("revision-not-read", message, line=read.lines.get("revision", line))]
    return None, [finding("model-not-known", missing.message, line=line)]


def _plan(model: ModelSpec, gpu: GpuSpec, args: EngineArgs, layout: _Layout, version: str, wanted: Wanted) -> Plan:
    """
    The plan with vLLM's own defaults wherever the command says nothing; nothing is decided for it.
    """
    filled: dict[str, Any] = {name: getattr(args, name) or 1 for name in _LAYOUT[:3]}
    if args.max_model_len is None:
        filled["max_model_len"] = model.max_model_len
    rules = rules_for(parse_version(version))
    length = args.max_model_len if args.max_model_len not in (None, -1) else model.max_model_len
    if args.max_num_seqs is None:
        filled["max_num_seqs"] = resolve_batch(gpu, args, rules, length or 1, largest_item=largest_item(model, rules))[
            0
        ]
    return plan(
        model,
        gpu,
        wanted.workload,
        num_gpus=ceil_div(layout.used, layout.nodes),
        num_nodes=layout.nodes,
        interconnect=wanted.interconnect,
        engine_args=attrs.evolve(args, **filled),
        policy=wanted.policy,
        vllm_version=version,
    )


def _refused(error: SizingError, launch: Launch, read: ReadCommand) -> CheckFinding:
    name = getattr(error, "field", "")
    line = read.lines.get(name, launch.line)
    longer = any(item.name == "VLLM_ALLOW_LONG_MAX_MODEL_LEN" and item.value == "1" for item in launch.environment)
    if name == "max_model_len" and longer:
        message = "VLLM_ALLOW_LONG_MAX_MODEL_LEN lets max_model_len exceed what config.json says, which no plan does"
        return finding("flag-not-modelled", message, line=line)
    return finding("refused", error.message, line=line)


def _of_plan(answer: Plan, read: ReadCommand) -> Iterator[CheckFinding]:
    changes = "; or with ".join(other.change for other in answer.alternatives[:3])
    for item in answer.findings:
        misses = item.code.startswith("does-not-fit")
        line = next((read.lines[name] for name in read.lines if name != "model" and name in item.message), 0)
        yield CheckFinding(
            code=item.code,
            severity=item.severity,
            message=item.message,
            hint=f"it fits with {changes}" if misses and changes else "" if misses else item.hint,
            line=line or read.lines["model"],
        )
    yield from _about_layout(answer, read)
    cache, args = answer.kv_cache, answer.engine_args
    if answer.fits and args.max_num_seqs and cache.max_concurrency < args.max_num_seqs and cache.groups:
        message = (
            f"up to {args.max_num_seqs:,} requests are admitted, and the cache holds {cache.max_concurrency:,.1f} of "
            f"{args.max_model_len or 0:,} tokens ({cache.max_concurrency_at_workload:,} of the workload's): beyond "
            "that they are preempted and computed again"
        )
        yield finding("kv-cache-below-seqs", message, line=read.lines.get("max_num_seqs", read.lines["model"]))


def _about_layout(answer: Plan, read: ReadCommand) -> Iterator[CheckFinding]:
    """
    What vLLM refuses of replicas and nodes: vLLM 0.33 config/parallel.py, engine/arg_utils.py.
    """
    for name in ("data_parallel_external_lb", "data_parallel_rank"):
        if read.values.get(name) not in (None, False) and not answer.model.num_experts:
            message = f"{name} is for models with experts; vLLM refuses it for {quote(answer.model.name)}"
            yield finding("refused", message, line=read.lines[name], hint="run replicas of their own")
    nodes = read.values.get("nnodes") or 1
    if answer.num_gpus % nodes:
        message = f"{answer.num_gpus} GPUs cannot be divided among {nodes} nodes"
        yield finding("refused", message, line=read.lines["nnodes"])


def _about_place(
    launch: Launch, read: ReadCommand, answer: Plan | None, layout: _Layout, release: tuple[int, int, int]
) -> Iterator[CheckFinding]:
    needs = needs_of(answer, read.values, layout.nodes) if answer is not None else None
    port = read.values.get("port") or 8000
    if needs is not None:
        yield from about_shared_memory(launch, needs)
        yield from about_stopping(launch, read.values, release, needs, pre_stop_s(launch.container))
    if launch.container is not None and launch.pod is not None:
        yield from about_pod(launch, launch.pod, launch.container, port, read.values, needs)
    elif launch.container is not None:
        yield from about_service(launch, launch.container, port, needs)


def _corrected(read: ReadCommand, answer: Plan | None) -> tuple[str, ...]:
    """
    The whole command; with the first change that makes it fit, if it does not.
    """
    words = read.corrected
    if not words:
        return ()
    if answer is not None and not answer.fits and answer.alternatives:
        words = _changed(words, answer, answer.alternatives[0].engine_args)
    return ("vllm", "serve", *words)


def _shell_text(words: tuple[str, ...], launch: Launch) -> str:
    """
    The words for a shell; what the file leaves to a shell's variables is left to them.
    """
    variables = {word.text for word in launch.words if _VARIABLE.match(word.unknown)}
    written = []
    for word in words:
        bare = word in variables and re.fullmatch(r"\$[A-Za-z_]\w*|\$\{[A-Za-z_]\w*\}", word)
        written.append(word if bare else f'"{word}"' if word in variables and '"' not in word else shlex.quote(word))
    return " ".join(written)


def _changed(words: tuple[str, ...], answer: Plan, wanted: EngineArgs) -> tuple[str, ...]:
    """
    The words with the arguments that differ from the plan's.
    """
    before = answer.engine_args.fixed()
    changed = {name: value for name, value in wanted.fixed().items() if before.get(name) != value}
    changed.pop("extra_args", None)
    groups = argument_groups(EngineArgs(**changed), answer.vllm_version)
    try:
        _, uses = read_words(words[1:], flag_table(answer.vllm_version), complete=False)
    except SizingError:  # A word is only known when the command runs.
        kept = words[1:]
    else:
        kept = tuple(word for use in uses if use.flag.dest not in changed for word in use.words)
    return (words[0], *kept, *(word for group in groups for word in group))


def _sorted(found: list[CheckFinding], launch: Launch, read: ReadCommand) -> tuple[CheckFinding, ...]:
    """
    By line, each once; what a key protects is not wide open.
    """
    guarded = read.values.get("api_key") or any(
        variable.name == "VLLM_API_KEY" and variable.value != "" for variable in launch.environment
    )
    kept = [item for item in found if not (guarded and item.code == "wide-open")]
    return tuple(sorted(dict.fromkeys(kept), key=lambda item: item.line))
