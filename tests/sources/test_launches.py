"""
Every format that starts vLLM: what it is, which servers are in it, and what it gives them.
"""

import pytest

import vllm_sizing as vs
from vllm_sizing.errors import SourceError
from vllm_sizing.sources.launches import parse_launches, read_text
from vllm_sizing.sources.quantities import parse_gpus, parse_seconds, parse_size


@pytest.fixture(scope="module")
def plan():
    return vs.plan(
        vs.load_model("Qwen/Qwen3-32B"),
        vs.find_gpu("h100-sxm"),
        num_gpus=2,
        engine_args=vs.EngineArgs(tensor_parallel_size=2, max_model_len=8192, speculative_config={"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}),
    )  # fmt: skip


def texts(plan, view):
    text = getattr(vs.render, view)(plan)
    return [text] if isinstance(text, str) else [item for name, item in text.items() if name.endswith(".yaml")]


@pytest.mark.parametrize(
    ("view", "kind", "gpus", "gpu"),
    [
        ("command", "shell", None, ""),
        ("script", "shell", None, ""),
        ("slurm", "shell", None, ""),
        ("docker", "shell", 2, ""),
        ("config", "config", None, ""),
        ("compose", "compose", None, ""),
        ("kubernetes", "kubernetes", 2, "h100-sxm"),
        ("lws", "kubernetes", 2, "h100-sxm"),
        ("kserve", "kubernetes", 2, "h100-sxm"),
        ("kuberay", "kubernetes", 2, "h100-sxm"),
        ("helm", "helm", 2, "h100-sxm"),
        ("llm_d", "helm", 2, ""),
        ("systemd", "unit", None, ""),
        ("quadlet", "unit", 2, ""),
        ("skypilot", "skypilot", 2, "h100-sxm"),
    ],
)
def test_what_we_write_is_read_back(plan, view, kind, gpus, gpu):
    for text in texts(plan, view):
        sheet = parse_launches(text)

        assert sheet.kind == kind
        assert sheet.launches
        for launch in sheet.launches:
            assert launch.num_gpus in {gpus, 2}
            assert launch.gpu == gpu
            server = vs.check_text(text, gpu="h100-sxm", vllm_version="0.33.0").servers[0]
            assert server.plan.kv_cache == plan.kv_cache
            assert [item for item in server.findings if item.severity == "error"] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: InferenceService\nspec: {predictor: {model: {storageUri: hf://a/b:main, args: [--seed, '1']}}}", "a/b --seed 1"),
        ("kind: InferenceService\nspec: {predictor: {containers: [{image: x/vllm:1, args: [--model, m]}]}}", "--model m"),
        ("kind: LLMInferenceService\nspec: {model: {uri: 'hf://a/b'}, parallelism: {tensor: 2}}", "a/b --tensor-parallel-size 2"),
        (
            "kind: LLMInferenceService\nspec: {model: {uri: hf://a/b}, template: {containers: [{name: main, env: [{name: VLLM_ADDITIONAL_ARGS, value: \"--x 'a b'\"}]}]}}",
            "a/b --x a b",
        ),
        (
            "kind: RayService\nspec:\n  serveConfigV2: |\n    applications: [{args: {llm_configs: [{model_loading_config: {model_id: a/b}, engine_kwargs: {max_model_len: 8, enforce_eager: true, enable_prefix_caching: false, sizes: [1, 2], config: {a: 1}}}]}}]\n",
            'a/b --max-model-len 8 --enforce-eager --no-enable-prefix-caching --sizes 1 2 --config {"a": 1}',
        ),
        (
            "servingEngineSpec: {modelSpec: [{name: n, modelURL: a/b, modelRevision: r, vllmConfig: {maxModelLen: 8, enableChunkedPrefill: false, extraArgs: [--seed, '1']}}]}",
            "a/b --max-model-len 8 --no-enable-prefix-caching --no-enable-chunked-prefill --revision r --seed 1",
        ),
        (
            "modelArtifacts: {uri: hf://a/b}\ndecode: {parallelism: {tensor: 2, data: 1}, containers: [{name: v, args: [--seed, '1']}]}\nprefill: {create: false}",
            "a/b --seed 1 --tensor-parallel-size 2 --data-parallel-size 1",
        ),
        ("model: a/b\nenforce-eager: true\nno-enable-prefix-caching: false\nmax-model-len: 8k\ncudagraph-capture-sizes: [1, 2]\nlimit-mm-per-prompt: {image: 1}\nspeculative-config:\nmiddleware: []\nlora-modules: [{name: x}]",
         'a/b --enforce-eager --max-model-len 8k --cudagraph-capture-sizes 1 2 --limit-mm-per-prompt {"image": 1} --speculative-config None --lora-modules {"name": "x"}'),
        ("image: {repository: x/vllm, tag: v1, command: [vllm, serve, a/b, --seed, '1']}\ngpuModels: [NVIDIA-L4]\nresources: {limits: {nvidia.com/gpu: 1}}", "a/b --seed 1"),
        ("name: t\nresources: {accelerators: {H100: 8}}\nrun: |\n  vllm serve a/b\n", "a/b"),
        ("name: t\nresources: {accelerators: 'L4:2'}\nrun: vllm serve a/b\n", "a/b"),
        ("name: t\nresources: {cpus: 8}\nrun: vllm serve a/b\n", "a/b"),
        ("kind: InferenceService\nspec: {predictor: {model: {storageUri: pvc://claim/m, args: [--seed, '1']}}}", "pvc://claim/m --seed 1"),
        ("kind: LLMInferenceService\nspec: {model: {name: m}, template: {containers: [{name: main, env: [{name: VLLM_ADDITIONAL_ARGS, value: --seed 1}]}]}}", "--seed 1"),
        ("[Service]\nnonsense\nEnvironment=NAME A=1\nExecStart=/usr/bin/vllm serve a/b\n", "a/b"),
        ("[Container]\nImage=x/y:1\nExec=vllm serve a/b\nSecret=t,type=mount\n", "a/b"),
        ('[Service]\nExecStart=/usr/bin/vllm serve a/b --x "%%1 $$A" \\\n  --seed 1\n', "a/b --x %1 $A --seed 1"),
        ("# c\n[Container]\nImage=x/vllm:1\nExec=a/b\nAddDevice=nvidia.com/gpu=0\n", "a/b"),
        ("[Container]\nImage=x/vllm:v0.10.0\nExec=--model a/b --seed 1\n", "--model a/b --seed 1"),
        ("[Service]\nExecStart=-/usr/bin/vllm serve a/b\n", "a/b"),
        ("[Container]\nImage=x/y:1\nExec=vllm serve a/b\nSecret=t,type=env,target=HF_TOKEN\nEnvironment=A=1 'B=2 3'\nPublishPort=8000:8000\n", "a/b"),
    ],
)  # fmt: skip
def test_arguments_are_found_wherever_a_format_keeps_them(text, words):
    (launch,) = parse_launches(text).launches

    assert " ".join(word.text for word in launch.words) == words
    assert all(word.line >= 1 for word in launch.words)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: 2",
        "kind: InferenceService\nspec: {predictor: {}}",
        "kind: LLMInferenceService\n",
        "kind: RayService\nspec: {serveConfigV2: {}}",
        "kind: Pod\nspec: {containers: [{image: nginx:1}]}",
        "kind: Pod\nspec: {containers: [{image: x/vllm:1, command: [sleep, inf]}]}",
        "[Service]\nExecStart=/bin/true\n",
        "[Container]\nImage=nginx\nExec=x\n",
        "[Unit]\nDescription=x\n",
        "name: t\nresources: {}\nrun: [1]\n",
        "image: {repository: x, command: [sleep, inf]}",
        "echo vllm serve m",
        "docker run --gpus all --entrypoint /bin/bash vllm/vllm-openai:v0.33.0",
        "docker run --gpus all --entrypoint bash x/vllm:1 -c 'sleep 1'",
        "docker run -d",
        "docker run nginx:1",
        "bash -x y",
        "bash y -c 'vllm serve m'",
        "# only\n# remarks\n",
    ],
)
def test_what_starts_no_vllm_gives_no_server(text):
    assert parse_launches(text).launches == ()


def test_a_preset_that_would_run_a_part_of_the_arguments_is_told():
    text = "kind: LLMInferenceService\nspec: {model: {uri: hf://a/b}, template: {containers: [{name: main, env: [{name: VLLM_ADDITIONAL_ARGS, value: '--x $(id)'}]}]}}"

    assert [item.code for item in parse_launches(text).launches[0].findings] == ["evaluated-twice"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--gpus all", (None, 64 * 2**20, 10.0)),
        ("--gpus '\"device=0,2\"' --shm-size=8g --stop-timeout 90", (2, 8 * 2**30, 90.0)),
        ("-it --rm --runtime nvidia --ipc host", (None, None, 10.0)),
        ("--device nvidia.com/gpu=all -e A=1 --env B", (None, 64 * 2**20, 10.0)),
    ],
)
def test_what_docker_gives_a_container(options, expected):
    (launch,) = parse_launches(f"B=2 sudo docker run {options} vllm/vllm-openai:v0.33.0 m").launches

    assert (launch.num_gpus, launch.shm_bytes, launch.grace_s) == expected


@pytest.mark.parametrize("text", ["python -m vllm.entrypoints.cli.main serve m", "uv run vllm serve m", "A=1 env B=2 vllm serve m", "bash -lc 'bash -c \"vllm serve m\"'", "sh -e -c 'vllm serve m'"])  # fmt: skip
def test_programs_around_the_server_are_seen_through(text):
    (launch,) = parse_launches(text).launches

    assert [word.text for word in launch.words] == ["m"]


def test_shells_in_shells_have_an_end():
    import shlex

    text = "vllm serve m"
    for _ in range(8):
        text = f"sh -c {shlex.quote(text)}"

    assert parse_launches(text).launches == ()


@pytest.mark.parametrize(
    ("selector", "gpu"),
    [
        ("{nvidia.com/gpu.product: NVIDIA-L4}", "l4"),
        ("{nvidia.com/gpu.product: NVIDIA-L4-SHARED}", "l4"),
        ("{cloud.google.com/gke-accelerator: nvidia-h100-80gb}", "h100-sxm"),
        ("{karpenter.k8s.aws/instance-gpu-name: l40s}", "l40s"),
        ("{kubernetes.io/arch: amd64}", ""),
    ],
)
def test_the_gpu_is_read_from_the_node_selector(selector, gpu):
    text = f"kind: Pod\nspec: {{nodeSelector: {selector}, containers: [{{image: x/vllm:1, args: [m]}}]}}"

    assert parse_launches(text).launches[0].gpu == gpu


def test_a_slice_of_a_gpu_is_not_the_gpu_of_the_label():
    text = "kind: Pod\nspec: {nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}, containers: [{image: x/vllm:1, args: [m], resources: {limits: {nvidia.com/mig-1g.10gb: 1}}}]}"

    assert (parse_launches(text).launches[0].gpu, parse_launches(text).launches[0].num_gpus) == ("", 1)


def test_details_of_a_container():
    text = """
kind: Pod
spec:
  hostIPC: true
  volumes: [{name: a}]
  containers:
    - image: x/vllm:1
      args: ["$$(A)", "$(A)", "$(B)"]
      env: [{name: A, value: x}, {value: y}, {name: B, valueFrom: {}}]
    - image: x/vllm:1
      args: [m]
      volumeMounts: [{name: b, mountPath: /dev/shm}]
    - image: x/vllm:1
      args: [m]
      volumeMounts: [{name: a, mountPath: /dev/shm/}]
"""
    first, second, third = parse_launches(text).launches

    assert [(word.text, word.unknown) for word in first.words] == [("$(A)", ""), ("x", ""), ("$(B)", "$(B)")]
    assert [variable.value for variable in first.environment] == ["x", None]
    assert (first.shm_bytes, second.shm_bytes, third.shm_bytes) == (None, None, None)


def test_details_of_a_service():
    text = """
services:
  a:
    image: x/vllm:1
    command: m
    environment: [A=1, B, "C=${D}", "E=$$F"]
    ports: [{target: 8000, published: 8000}, {target: 1, published: 1, host_ip: 127.0.0.1}]
    runtime: nvidia
"""
    (launch,) = parse_launches(text).launches

    assert [(item.name, item.value) for item in launch.environment] == [
        ("A", "1"),
        ("B", None),
        ("C", None),
        ("E", "$F"),
    ]
    assert [item.code for item in launch.findings] == ["wide-open"]


def test_several_kinds_of_nodes_are_no_answer():
    term = "{matchExpressions: [{key: nvidia.com/gpu.product, operator: In, values: [NVIDIA-L4, NVIDIA-L40S]}, {key: x, operator: Exists}]}"
    affinity = f"{{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{term}]}}}}}}"
    text = f"kind: Pod\nspec: {{affinity: {affinity}, containers: [{{image: x/vllm:1, args: [m]}}]}}"

    assert parse_launches(text).launches[0].gpu == ""


@pytest.mark.parametrize(
    ("text", "size"),
    [("64m", 64 * 2**20), ("1.5g", 3 * 2**29), ("10", 10), ("1x", None), ("", None), ("-1g", None), ("1kib", None)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


def test_times_and_gpus():
    assert [parse_seconds(text) for text in ("1h", "2m", "500ms", "", "x", "1m 2s")] == [
        3600,
        120,
        0.5,
        None,
        None,
        None,
    ]
    assert [parse_gpus(text) for text in ("0", "x", "/dev/dri", "device=1")] == [
        (0, False),
        (None, False),
        (None, True),
        (1, True),
    ]


def test_files_are_read_as_text(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb")
    assert read_text(str(path)) == "a\nb"
    for data in (b"\xff", b"x" * 4_000_001):
        path.write_bytes(data)
        with pytest.raises(SourceError):
            read_text(str(path))
    for name in ("missing", "a\0b"):
        with pytest.raises(SourceError, match="cannot be read"):
            read_text(name)


def test_a_template_is_to_be_rendered_first():
    with pytest.raises(SourceError, match="helm template"):
        parse_launches("kind: Pod\nmetadata:\n  {{- if .x }}\n  name: {{ .y }}\n")


@pytest.mark.parametrize("text", ["", " \n", "a\0b", "\x01"])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(SourceError):
        parse_launches(text)


@pytest.mark.parametrize("view", ["command", "script", "slurm", "lws", "kuberay"])
def test_several_nodes_are_read_back(view):
    args = vs.EngineArgs(tensor_parallel_size=8, pipeline_parallel_size=2)
    plan = vs.plan(vs.load_model("Qwen/Qwen3-32B"), vs.find_gpu("h100-sxm"), num_gpus=8, num_nodes=2, engine_args=args)

    for server in vs.check_text(getattr(vs.render, view)(plan), gpu="h100-sxm").servers:
        assert (server.num_nodes, server.plan.kv_cache) == (2, plan.kv_cache)
        assert [item for item in server.findings if item.severity == "error"] == []


@pytest.mark.parametrize(
    ("head", "nodes", "gpus", "gpu"),
    [
        ("--nodes=2\n#SBATCH --gpus-per-node=8", 2, 8, ""),
        ("-N 4 --gres=gpu:h100:4", 4, 4, "h100-sxm"),
        ("--gres gpu:2", 1, 2, ""),
        ("--job-name=x", 1, None, ""),
    ],
)
def test_the_head_of_a_batch_script_is_read(head, nodes, gpus, gpu):
    (launch,) = parse_launches(f"#!/bin/bash\n#SBATCH {head}\nsrun vllm serve m --nnodes $SLURM_NNODES\n").launches

    assert (launch.num_nodes, launch.num_gpus, launch.gpu) == (nodes, gpus, gpu)


def test_a_model_outside_the_hub_is_unknown():
    text = "kind: InferenceService\nspec: {predictor: {model: {storageUri: s3://bucket/m}}}"
    (launch,) = parse_launches(text).launches

    assert [(word.text, word.unknown) for word in launch.words] == [("s3://bucket/m", "s3://bucket/m")]


def test_only_what_a_unit_sets_is_in_its_environment():
    text = "[Container]\nImage=x/y:1\nExec=vllm serve a/b\nEnvironment=NAME A=1\nSecret=t,type=mount\nSecret=u,type=env,target=B\n"
    (launch,) = parse_launches(text).launches

    assert [(item.name, item.value) for item in launch.environment] == [("A", "1"), ("B", None)]
