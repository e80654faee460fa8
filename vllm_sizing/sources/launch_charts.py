"""
The servers of objects and values that hold arguments in a form of their own: KServe, KubeRay, Helm charts.
"""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING

from vllm_sizing.sources.gpu_labels import one_gpu
from vllm_sizing.sources.launch import Launch, Variable, Word, finding
from vllm_sizing.sources.launch_command import find_program, parse_commands
from vllm_sizing.sources.launch_kubernetes import find_gpu_label, find_gpus, find_shm, parse_environment
from vllm_sizing.sources.shell_text import parse_script
from vllm_sizing.sources.yaml_nodes import parse_nodes

if TYPE_CHECKING:
    from vllm_sizing.sources.yaml_nodes import Node
    from vllm_sizing.specs.check import CheckFinding

# vLLM's production-stack, chart vllm-stack 0.1.12: keys of vllmConfig.
_STACK_FLAGS = {
    "maxModelLen": "--max-model-len",
    "tensorParallelSize": "--tensor-parallel-size",
    "pipelineParallelSize": "--pipeline-parallel-size",
    "gpuMemoryUtilization": "--gpu-memory-utilization",
    "maxNumSeqs": "--max-num-seqs",
    "maxLoras": "--max-loras",
    "dtype": "--dtype",
}
_STACK_SWITCHES = {
    "enablePrefixCaching": ("--enable-prefix-caching", "--no-enable-prefix-caching"),
    "enableChunkedPrefill": ("--enable-chunked-prefill", "--no-enable-chunked-prefill"),
}
_PARALLELISM = {
    "tensor": "--tensor-parallel-size",
    "pipeline": "--pipeline-parallel-size",
    "data": "--data-parallel-size",
}


def parse_inference_service(document: Node) -> list[Launch]:
    """
    KServe's InferenceService with its vLLM runtime.
    """
    predictor, model = document.get("spec", "predictor"), document.get("spec", "predictor", "model")
    if predictor is None or model is None:
        return []
    words = [_storage(model.get("storageUri")), *(Word(item.text, item.line) for item in model.words("args"))]
    image = model.get("runtimeVersion")
    return [_launch("kserve", document, predictor, model, words, f"kserve/vllm:{image.text}" if image else "")]


def parse_llm_inference_service(document: Node) -> list[Launch]:
    """
    KServe's LLMInferenceService: a preset starts vLLM and evaluates VLLM_ADDITIONAL_ARGS in a shell.
    """
    spec, pod = document.get("spec"), document.get("spec", "template")
    if spec is None:
        return []
    containers = pod.items("containers") if pod is not None else []
    container = next((item for item in containers if item.string("name") == "main"), None)
    words = [_storage(spec.get("model", "uri"))]
    found: list[CheckFinding] = []
    for key, flag in _PARALLELISM.items():
        if node := spec.get("parallelism", key):
            words += [Word(flag, node.line), Word(node.text, node.line)]
    if container is None or pod is None:
        return [_launch("kserve", document, spec, spec, words, "")]
    words += [Word(item.text, item.line) for item in container.words("args")]
    for variable in parse_environment(container):
        if variable.name == "VLLM_ADDITIONAL_ARGS" and variable.value:
            commands = parse_script(variable.value, first_line=variable.line)
            words += [word for command in commands[:1] for word in command.words]
            if len(commands) != 1 or any(word.unknown for word in commands[0].words):
                message = "KServe's preset reads VLLM_ADDITIONAL_ARGS in a shell, which would run a part of it"
                found.append(finding("evaluated-twice", message, line=variable.line, hint="put it in single quotes"))
    launch = _launch("kserve", document, pod, container, words, container.string("image"))
    return [launch._replace(findings=tuple(found))]


def parse_ray_service(document: Node) -> list[Launch]:
    """
    KubeRay: the engine's arguments stand in a text of YAML inside the object.
    """
    text = document.get("spec", "serveConfigV2")
    if text is None or not isinstance(text.value, str):
        return []
    launches = []
    workers = document.items("spec", "rayClusterConfig", "workerGroupSpecs")
    group = workers[0] if workers else None
    pod = group.get("template", "spec") if group is not None else None
    containers = pod.items("containers") if pod is not None else []
    for inner in parse_nodes(text.text, where="serveConfigV2", first_line=text.first_line):
        for application in inner.items("applications"):
            for config in application.items("args", "llm_configs"):
                source = config.get("model_loading_config", "model_source") or config.get(
                    "model_loading_config", "model_id"
                )
                words = [] if source is None else [Word(source.text, source.line)]
                for name, value in config.entries("engine_kwargs").items():
                    words += _keyword(name, value)
                place = containers[0] if containers else config
                launch = _launch("kuberay", document, pod or config, place, words, "")
                nodes = (group.number("replicas") or 1) * (group.number("numOfHosts") or 1) if group is not None else 1
                launches.append(launch._replace(num_nodes=nodes))
    return launches


def _keyword(name: str, value: Node) -> list[Word]:
    flag = name.replace("_", "-")
    if isinstance(value.value, bool):
        return [Word(f"--{flag}" if value.value else f"--no-{flag}", value.line)]
    if isinstance(value.value, list):
        return [Word(f"--{flag}", value.line), *(Word(item.text, item.line) for item in value.value)]
    text = dumps(value.plain()) if isinstance(value.value, dict) else value.text
    return [Word(f"--{flag}", value.line), Word(text, value.line)]


def parse_production_stack(document: Node) -> list[Launch]:
    """
    Values of vLLM's production-stack: one server for each entry of modelSpec.
    """
    launches = []
    for spec in document.items("servingEngineSpec", "modelSpec"):
        model = spec.get("modelURL")
        words = [] if model is None else [Word(_literal(model.text), model.line)]
        config = spec.entries("vllmConfig")
        for key, flag in _STACK_FLAGS.items():
            if key in config:
                words += [Word(flag, config[key].line), Word(config[key].text, config[key].line)]
        for key, (on, off) in _STACK_SWITCHES.items():
            # Left out, the first is rendered as its opposite.
            if key in config or key == "enablePrefixCaching":
                node = config.get(key)
                words.append(Word(on if node is not None and node.value is True else off, (node or spec).line))
        revision = spec.get("modelRevision")
        if revision is not None:
            words += [Word("--revision", revision.line), Word(revision.text, revision.line)]
        words += [Word(_literal(item.text), item.line) for item in spec.words("vllmConfig", "extraArgs")]
        image, gpus, tag = spec.string("repository"), spec.get("requestGPU"), spec.get("tag")
        launches.append(
            Launch(
                "helm",
                spec.string("name") or "model",
                spec.line,
                tuple(words),
                image=f"{image}:{tag.text}" if tag is not None else image,
                image_line=(tag or spec).line,
                environment=tuple(parse_environment(spec)),
                num_gpus=gpus.number() if gpus is not None else None,
                gpu_line=(gpus or spec).line,
                gpu=find_gpu_label(_terms(spec)),
                document=document,
            )
        )
    return launches


def _terms(spec: Node) -> Node:
    """
    The chart's nodeSelectorTerms where a pod has them.
    """
    terms = spec.get("nodeSelectorTerms")
    if terms is None:
        return spec
    inner = spec._replace(value={"nodeSelectorTerms": terms})
    for key in ("requiredDuringSchedulingIgnoredDuringExecution", "nodeAffinity", "affinity"):
        inner = spec._replace(value={key: inner})
    return inner


def parse_llm_d(document: Node) -> list[Launch]:
    """
    Values of llm-d's modelservice: the decode pods, and those of prefill.
    """
    launches = []
    uri = document.get("modelArtifacts", "uri")
    for role in ("decode", "prefill"):
        part = document.get(role)
        create = part.get("create") if part is not None else None
        if part is None or (create is not None and create.value is False):
            continue
        for container in part.items("containers"):
            words = [] if uri is None else [_storage(uri)]
            words += [Word(item.text, item.line) for item in container.words("args")]
            given = {word.text.partition("=")[0] for word in words}
            for key, flag in _PARALLELISM.items():
                node = part.get("parallelism", key)
                if node is not None and flag not in given:
                    words += [Word(flag, node.line), Word(node.text, node.line)]
            launch = _launch("helm", document, part, container, words, container.string("image"))
            launches.append(launch._replace(name=f"{role}/{container.string('name')}"))
    return launches


def parse_chart(document: Node) -> list[Launch]:
    """
    Values of vLLM's own chart: the whole command stands beside the image.
    """
    called = [Word(item.text, item.line) for item in document.words("image", "command")]
    served = find_program([word.text for word in called])
    image = document.get("image")
    if served is None or image is None:
        return []
    tag = image.get("tag")
    gpus = find_gpus(document)
    models = {item.text for item in document.words("gpuModels")}
    return [
        Launch(
            "helm",
            "vllm",
            image.line,
            tuple(called[served[0] :]),
            served[1],
            image=image.string("repository") + (f":{tag.text}" if tag is not None else ""),
            image_line=(tag or image).line,
            num_gpus=gpus.number() if gpus is not None else None,
            gpu_line=(gpus or image).line,
            gpu=one_gpu(models),
            document=document,
        )
    ]


def parse_skypilot(document: Node) -> list[Launch]:
    """
    A task of SkyPilot: its commands are a script, its GPUs have names of their own.
    """
    run, accelerators = document.get("run"), document.get("resources", "accelerators")
    if run is None or not isinstance(run.value, str):
        return []
    given: list[tuple[str, int | None]] = []
    if accelerators is not None and isinstance(accelerators.value, dict):
        given = [(name, node.number()) for name, node in accelerators.value.items()]
    elif accelerators is not None:
        for word in accelerators.words():
            name, _, count = word.text.partition(":")
            given.append((name, int(count) if count.isdecimal() and len(count) < 6 else 1))
    counts = {count for _, count in given}
    image = document.string("resources", "image_id").removeprefix("docker:")
    known = [Variable(name, None if node.value is None else node.text, node.line) for key in ("envs", "secrets")
             for name, node in document.entries(key).items()]  # fmt: skip
    line = accelerators.line if accelerators is not None else run.line
    return [
        launch._replace(
            kind="skypilot",
            name=document.string("name") or "task",
            image=image,
            image_line=line,
            environment=(*launch.environment, *known),
            num_gpus=counts.pop() if len(counts) == 1 else None,
            gpu_line=line,
            gpu=one_gpu({name for name, _ in given}),
            num_nodes=document.number("num_nodes") or 1,
            shm_bytes=None,
        )
        for launch in parse_commands(run.text, first_line=run.first_line)
    ]


def _launch(kind: str, document: Node, pod: Node, container: Node, words: list[Word], image: str) -> Launch:
    gpus, shm = find_gpus(container), find_shm(pod, container)
    grace = pod.get("terminationGracePeriodSeconds")
    environment: tuple[Variable, ...] = tuple(parse_environment(container))
    at = container.get("image") or container
    return Launch(
        kind,
        document.string("metadata", "name") or kind,
        container.line,
        tuple(word for word in words if word.text),
        image=image,
        image_line=at.line,
        environment=environment,
        num_gpus=gpus.number() if gpus is not None else None,
        gpu_line=(gpus or container).line,
        gpu=find_gpu_label(pod),
        shm_bytes=shm[0] if container.items("volumeMounts") else None,
        shm_line=shm[1],
        grace_s=float(grace.text) if grace is not None and grace.number() is not None else None,
        grace_line=(grace or pod).line,
        document=document,
    )


def _storage(node: Node | None) -> Word:
    """
    A model's address as its id on the Hub; what lies elsewhere is unknown here.
    """
    if node is None:
        return Word("", 0)
    if node.text.startswith("hf://"):
        return Word(node.text.removeprefix("hf://").partition(":")[0], node.line)
    return Word(node.text, node.line, node.text if "://" in node.text else "")


def _literal(text: str) -> str:
    return text.replace("$$", "$")
