"""
Reads the arguments of ``vllm serve`` back out of every output, as the program that it is for reads it.
"""

import json
import re
import shlex
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import yaml

from vllm_sizing.catalog.flag_words import read_words
from vllm_sizing.catalog.flags import flag_table
from vllm_sizing.render.artifacts import ARTIFACTS
from vllm_sizing.sources.command_text import split_command

# Each shows its words, with a NUL behind each; srun and scontrol are Slurm.
STUBS = {
    "vllm": 'printf "%s\\0" "$@"',
    "docker": 'printf "%s\\0" "$@"',
    "srun": 'shift; exec "$@"',
    "scontrol": "echo first; echo second",
}
SLURM = {"SLURM_JOB_NODELIST": "first,second", "SLURM_JOB_NUM_NODES": "2", "SLURM_PROCID": "0"}
LWS = {"$(LWS_GROUP_SIZE)": "2", "$(LWS_WORKER_INDEX)": "0", "$(LWS_LEADER_ADDRESS)": "first"}


def files(plan, target):
    return ARTIFACTS[target].render(plan)


def meaning(words, version):
    """
    {name: value} that vLLM reads from the words behind ``vllm serve``.
    """
    model, uses = read_words(list(words), flag_table(version))
    return {"model": model, **{use.flag.dest: use.value for use in uses}}


@cache
def stubs():
    folder = tempfile.TemporaryDirectory()
    for name, body in STUBS.items():
        path = Path(folder.name) / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    return folder


def run(text, **environment):
    """
    What bash hands over to the first program that shows it; nothing else may happen.
    """
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=place,
            env={"PATH": f"{stubs().name}:/usr/bin:/bin", "VLLM_API_KEY": "k", **environment},
            capture_output=True,
            check=True,
        )
        assert not any(Path(place).iterdir())
    return done.stdout.decode().split("\0")[:-1]


def read_command(text):
    text = text.replace('"$NODE_RANK"', "0").replace('"$MASTER_ADDR"', "first")
    return split_command(text).words[2:]


def read_script(text, **environment):
    return run(text, MASTER_ADDR="first", NODE_RANK="0", **environment)[1:]


def read_config(text):
    """
    vLLM 0.33 ``utils/argparse_utils.py:load_config_file``.
    """
    words = []
    for key, value in yaml.safe_load(text).items():
        if value is True:
            words += [f"--{key}"]
        else:
            assert value is not False
            assert not isinstance(value, dict)
            words += [f"--{key}", *map(str, value if isinstance(value, list) else [value])]
    return words


def image_words(words):
    return words[next(at for at, word in enumerate(words) if word.startswith("vllm/vllm-openai:")) + 1 :]


def without_name(words):
    """
    Behind ``vllm serve``: before 0.11.2 the image's program wants ``--model`` before the model.
    """
    return words[1:] if words[0] == "--model" else words


def read_docker(text):
    return without_name(image_words(run(text)))


def read_compose(text):
    def resolved(word):
        assert not re.search(r"(?<!\$)(\$\$)*\$(?!\$)", word)
        return word.replace("$$", "$")

    return without_name([resolved(word) for word in yaml.safe_load(text)["services"]["server"]["command"]])


def pod_words(words, known=()):
    """
    What Kubernetes makes of ``args``: ``$(NAME)`` of the pod is filled in, ``$$`` is ``$``.
    """
    filled = []
    for word in words:
        assert isinstance(word, str)
        filled.append(dict(known).get(word) or re.sub(r"\$\$", "$", word))
        assert word in dict(known) or not re.search(r"(?<!\$)(\$\$)*\$\(", word)
    return filled


def of_kind(text, kind):
    (found,) = (document for document in yaml.safe_load_all(text) if document.get("kind") == kind)
    return found


def read_kubernetes(text):
    return without_name(pod_words(of_kind(text, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]))


def read_lws(text, role="leader"):
    template = of_kind(text, "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"][f"{role}Template"]
    return without_name(pod_words(template["spec"]["containers"][0]["args"], LWS.items()))


def read_helm(text):
    """
    The chart's template: templates/deployment-vllm-multi.yaml of vllm-stack 0.1.12.
    """
    (model,) = yaml.safe_load(text)["servingEngineSpec"]["modelSpec"]
    config = model["vllmConfig"]
    words = [model["modelURL"]]
    if "enableChunkedPrefill" in config:
        words += ["--enable-chunked-prefill" if config["enableChunkedPrefill"] else "--no-enable-chunked-prefill"]
    words += ["--enable-prefix-caching" if config.get("enablePrefixCaching") else "--no-enable-prefix-caching"]
    for key, flag in (
        ("maxModelLen", "--max-model-len"),
        ("dtype", "--dtype"),
        ("tensorParallelSize", "--tensor-parallel-size"),
        ("maxNumSeqs", "--max-num-seqs"),
        ("gpuMemoryUtilization", "--gpu_memory_utilization"),
    ):
        if key in config:
            # Go writes large numbers of values files as 1e+06.
            assert not isinstance(config[key], int) or config[key] < 1e6
            words += [flag, str(config[key])]
    return pod_words([*words, *config.get("extraArgs", ())])


def read_llm_d(text):
    """
    The chart's template ``vllmServeModelCommand`` of modelservice 0.4.12.
    """
    values = yaml.safe_load(text)
    (container,) = values["decode"]["containers"]
    words = [values["modelArtifacts"]["uri"].removeprefix("hf://")]
    for key, flag in (("tensor", "--tensor-parallel-size"), ("data", "--data-parallel-size")):
        if values["decode"]["parallelism"][key] > 1:
            words += [flag, str(values["decode"]["parallelism"][key])]
    words += ["--served-model-name", values["modelArtifacts"]["name"]]
    return pod_words([*words, *container["args"]])


def address_words(address):
    model, _, revision = address.removeprefix("hf://").partition(":")
    return [model, *(["--revision", revision] if revision else [])]


def read_inference_service(text):
    model = yaml.safe_load(text)["spec"]["predictor"]["model"]
    return pod_words([*address_words(model["storageUri"]), *model["args"]])


def read_llm_inference_service(text):
    spec = yaml.safe_load(text)["spec"]
    (container,) = spec["template"]["containers"]
    (words,) = (entry["value"] for entry in container["env"] if entry["name"] == "VLLM_ADDITIONAL_ARGS")
    # The preset: eval "exec vllm serve ... ${VLLM_ADDITIONAL_ARGS}".
    shown = run(f"VLLM_ADDITIONAL_ARGS={shlex.quote(words)}\n" + 'eval "exec vllm serve m ${VLLM_ADDITIONAL_ARGS}"')
    return [*address_words(spec["model"]["uri"]), "--served-model-name", spec["model"]["name"], *shown[2:]]


def read_kuberay(text):
    """
    The engine's arguments; Ray Serve hands them to vLLM by name.
    """
    (application,) = yaml.safe_load(yaml.safe_load(text)["spec"]["serveConfigV2"])["applications"]
    (config,) = application["args"]["llm_configs"]
    words = [config["model_loading_config"]["model_source"]]
    words += ["--served-model-name", config["model_loading_config"]["model_id"]]
    for name, value in config["engine_kwargs"].items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            words += [f"--{flag}", *map(str, value)]
        else:
            words += [f"--{flag}", json.dumps(value) if isinstance(value, dict) else str(value)]
    return words


def unit_words(text, key):
    r"""
    The words of one command of a unit, as systemd reads them: quotes, ``\``, ``%%``, ``$$``.
    """
    (line,) = re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)
    words = []
    for quoted, bare in re.findall(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)', line):
        word = re.sub(r'\\(["\\])', r"\1", quoted) if quoted else bare
        assert not re.search(r"(?<!%)(%%)*%(?!%)", word)
        words.append(word.replace("%%", "%").replace("$$", "$"))
    return words


def read_systemd(text):
    return unit_words(text, "ExecStart")[2:]


def read_quadlet(text):
    return without_name(unit_words(text, "Exec"))


def read_slurm(text, **environment):
    return run(text, **{**SLURM, **environment})[1:]


def read_skypilot(text):
    return run(yaml.safe_load(text)["run"])[1:]


# Target and file: how it is read, and what it says beside the plan's arguments.
VIEWS = {
    ("command", "command.txt"): (read_command, {}),
    ("script", "serve.sh"): (read_script, {}),
    ("config", "config.yaml"): (read_config, {"host": "127.0.0.1"}),
    ("docker", "docker.sh"): (read_docker, {}),
    ("compose", "compose.yaml"): (read_compose, {}),
    ("kubernetes", "kubernetes.yaml"): (read_kubernetes, {}),
    ("kustomize", "kubernetes.yaml"): (read_kubernetes, {}),
    ("helm", "production-stack.yaml"): (read_helm, {"enable_prefix_caching": True, "tensor_parallel_size": 1}),
    ("llm-d", "llm-d.yaml"): (read_llm_d, {"served_model_name": ...}),
    ("kserve", "inferenceservice.yaml"): (read_inference_service, {"served_model_name": ...}),
    ("kserve", "llminferenceservice.yaml"): (read_llm_inference_service, {"served_model_name": ...}),
    ("lws", "leaderworkerset.yaml"): (read_lws, {}),
    ("kuberay", "rayservice.yaml"): (
        read_kuberay,
        {"served_model_name": ..., "distributed_executor_backend": "ray"},
    ),
    ("systemd", "vllm.service"): (read_systemd, {"host": "127.0.0.1"}),
    ("quadlet", "vllm.container"): (read_quadlet, {}),
    ("slurm", "slurm.sh"): (read_slurm, {}),
    ("skypilot", "skypilot.yaml"): (read_skypilot, {}),
}
