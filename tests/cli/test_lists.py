"""
`gpus`, `models` and `detect`: tables for people, JSON for programs.
"""

import json

import pytest

import vllm_sizing as vs
from vllm_sizing.catalog.gpus import gpu_names
from vllm_sizing.catalog.models import model_names
from vllm_sizing.cli.terminal import table
from vllm_sizing.sources.gpus import DetectedGpu, Detection
from vllm_sizing.sources.readings import Link

GIB = 2**30


def test_gpus_lists_the_catalog(run):
    lines = run("gpus").stdout.splitlines()

    assert lines[0].split()[0] == "name"
    assert [line.split()[0] for line in lines[1:]] == list(gpu_names())


def test_a_gpu_is_shown_with_its_source(run):
    result = run("gpus", "NVIDIA H100 80GB HBM3")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].startswith("h100-sxm  79.18 GiB  3,350")
    assert "source: " in result.stdout


def test_a_short_name_says_what_it_is_taken_for(run):
    assert "assumed: h100 is taken as the SXM board" in run("gpus", "h100").stdout


def test_gpus_as_json_are_the_librarys_values(run):
    found = json.loads(run("gpus", "l4", "--json").stdout)

    gpu = vs.find_gpu("l4")
    assert [entry["name"] for entry in found] == ["l4"]
    assert found[0]["memory_bytes"] == gpu.memory_bytes
    assert found[0]["peak_flops"] == dict(gpu.peak_flops)
    assert found[0]["compute_capability"] == list(gpu.compute_capability)


def test_all_gpus_are_json(run):
    assert [entry["name"] for entry in json.loads(run("gpus", "--json").stdout)] == list(gpu_names())


def test_what_a_bridge_could_do_is_not_shown_as_the_link(run):
    pcie = vs.find_gpu("rtx-a6000").pcie_bytes_per_s

    assert f" {pcie / 1e9:,.0f} " in run("gpus", "rtx-a6000").stdout.splitlines()[1]


def test_models_lists_the_catalog(run):
    lines = run("models").stdout.splitlines()

    assert [line.split()[0] for line in lines[1:]] == list(model_names())


@pytest.mark.parametrize(
    ("pattern", "first"),
    [("QWEN3-32b", "Qwen/Qwen3-32B"), ("qwen/*-32b", "Qwen/Qwen3-32B"), ("*-14b-fp8", "Qwen/Qwen3-14B-FP8")],
)
def test_models_are_found_by_part_or_shape(run, pattern, first):
    result = run("models", pattern)

    assert result.exit_code == 0
    assert first in {line.split()[0] for line in result.stdout.splitlines()[1:]}
    assert len(result.stdout.splitlines()) < len(model_names())


def test_models_as_json_are_the_librarys_values(run):
    found = json.loads(run("models", "qwen3-32b", "--json").stdout)

    model = vs.find_model("Qwen/Qwen3-32B")
    entry = next(entry for entry in found if entry["id"] == model.id)
    assert entry["num_parameters"] == model.num_parameters
    assert entry["config"] == dict(model.config)


def test_a_model_is_found_by_another_of_its_names(run):
    lines = run("models", "meta-llama/Meta-Llama-3.1-70B").stdout.splitlines()

    assert [line.split()[0] for line in lines[1:]] == ["meta-llama/Llama-3.1-70B"]


@pytest.mark.parametrize(
    ("pattern", "said"), [("qwn3-32b", "did you mean Qwen/Qwen3-32B"), ("\u2603", "leave PATTERN out to see all")]
)
def test_a_model_that_is_not_there_is_told(run, pattern, said):
    result = run("models", pattern)

    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stdout == ""


def detection(*gpus, **more):
    return Detection(gpus=gpus, source="NVML", driver_version="580.1", cuda_version="13.0", **more)


def detected(index, name="h100-sxm", **more):
    gpu = vs.find_gpu(name)
    return DetectedGpu(index=index, uuid=f"GPU-{index}", product_name=gpu.product_names[0], gpu=gpu, **more)


@pytest.fixture
def machine(monkeypatch):
    """
    A machine with two H100.
    """
    found = detection(detected(0), detected(1), links=(Link(first=0, second=1, kind="nvlink"),), notes=("a note",))
    monkeypatch.setattr("vllm_sizing.sources.gpus.detect_machine", lambda: found)


def test_detect_shows_the_gpus(run, machine):
    result = run("detect")

    lines = result.stdout.splitlines()
    assert lines[1].split()[:2] == ["0", "h100-sxm"]
    assert lines[2].split()[:2] == ["1", "h100-sxm"]
    assert lines[3] == "driver 580.1, CUDA 13.0, read through NVML, joined by nvlink"
    assert result.stderr == "Note: a note.\n"


def test_detect_as_json_is_all_that_was_read(run, machine):
    result = run("detect", "--json")

    data = json.loads(result.stdout)
    assert data["interconnect"] == "nvlink"
    assert [entry["gpu"]["name"] for entry in data["gpus"]] == ["h100-sxm", "h100-sxm"]
    assert data["links"] == [{"first": 0, "second": 1, "kind": "nvlink"}]
    assert data["notes"] == ["a note"]
    assert result.stderr == ""


def test_detect_without_a_gpu_is_an_error(run, monkeypatch):
    def no_driver():
        raise vs.DetectionError("no NVIDIA driver here")

    monkeypatch.setattr("vllm_sizing.sources.gpus.detect_machine", no_driver)

    for words in (["detect"], ["detect", "--json"]):
        result = run(*words)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr == "Error: no NVIDIA driver here\n"


def test_a_plan_takes_the_gpus_of_the_machine(run, machine):
    data = json.loads(run("plan", "Qwen/Qwen3-8B", "--json").stdout)

    assert data["cluster"]["num_gpus"] == 2
    assert data["cluster"]["interconnect"] == "nvlink"


def test_a_plan_may_take_fewer_of_them(run, machine):
    assert json.loads(run("plan", "Qwen/Qwen3-8B", "--gpus", "1", "--json").stdout)["cluster"]["num_gpus"] == 1
    assert json.loads(run("plan", "Qwen/Qwen3-8B", "--gpu", "1xauto", "--json").stdout)["num_gpus"] == 1


def test_a_plan_may_not_take_more_of_them(run, machine):
    result = run("plan", "Qwen/Qwen3-8B", "--gpus", "4")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: --gpus is 4, but this machine has 2 that can be joined;")
    assert "--gpu h100-sxm" in result.stderr


def test_tables_are_as_wide_as_their_cells():
    lines = table(["a", "number"], [["long name", "1"], ["x", "-"]]).splitlines()

    assert lines == ["a          number", "long name       1", "x               -"]
