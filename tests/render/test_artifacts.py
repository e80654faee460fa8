"""
Files to deploy with: every one is well formed, repeats to the byte and carries what was planned.
"""

import shutil
import subprocess

import pytest
import yaml

import vllm_sizing as vs

TARGETS = (
    "bench", "compose", "config", "docker", "helm", "kserve", "kuberay", "kubernetes", "kustomize", "llm_d", "lws",
    "quadlet", "skypilot", "slurm", "smoke_test", "systemd",
)  # fmt: skip


@pytest.fixture(scope="module")
def plan():
    model, gpu = vs.load_model("Qwen/Qwen3-32B"), vs.find_gpu("h100-sxm")
    return vs.plan(model, gpu, vs.Workload(input_tokens=1024, output_tokens=256, concurrency=8))


def files(plan, target):
    text = getattr(vs.render, target)(plan)
    return {target: text} if isinstance(text, str) else text


@pytest.mark.parametrize("target", TARGETS)
def test_rendering_again_gives_the_same_bytes(plan, target):
    assert files(plan, target) == files(plan, target)


@pytest.mark.parametrize("target", TARGETS)
def test_files_are_well_formed(plan, target, tmp_path):
    found = files(plan, target)
    assert found
    for name, text in found.items():
        assert text.endswith("\n")
        if text.startswith("#!"):
            path = tmp_path / "script.sh"
            path.write_text(text)
            bash = shutil.which("bash")
            assert bash is not None
            subprocess.run([bash, "-n", str(path)], check=True)
        elif name.endswith((".yaml", ".yml")) or target in ("compose", "helm", "kubernetes", "kuberay", "lws"):
            assert any(yaml.safe_load_all(text))


@pytest.mark.parametrize("target", ["compose", "docker", "helm", "kserve", "kubernetes", "lws", "quadlet", "systemd"])
def test_files_name_model_and_context(plan, target):
    text = "".join(files(plan, target).values())
    assert "Qwen/Qwen3-32B" in text
    assert str(plan.engine_args.max_model_len) in text


def test_kubernetes_asks_for_the_planned_gpus(plan):
    documents = list(yaml.safe_load_all(vs.render.kubernetes(plan)))
    workload = next(found for found in documents if found["kind"] in ("Deployment", "StatefulSet"))
    limits = workload["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert int(limits["nvidia.com/gpu"]) == plan.engine_args.tensor_parallel_size
