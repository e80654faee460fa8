"""
The real nvidia-ml-py against a driver library that plays a machine: loading, calling and failing for real.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "data" / "gpus" / "fake_nvml.c"
COMPILER = shutil.which("gcc") or shutil.which("cc")
ASK = """
import json, sys
from vllm_sizing.errors import DetectionError
from vllm_sizing.sources.gpus import detect_machine
try:
    found = detect_machine(timeout_s=float(sys.argv[1]))
except DetectionError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({
        "gpus": [[g.index, g.uuid, g.gpu.name, g.gpu.memory_bytes, g.gpu.free_memory_bytes] for g in found.gpus],
        "driver": found.driver_version, "cuda": found.cuda_version, "interconnect": found.interconnect,
        "links": [link.kind for link in found.links],
    }))
"""
MIB = 2**20

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C compiler to build the driver library with"),
    pytest.mark.skipif(sys.platform != "linux", reason="the library is loaded as Linux loads it"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("driver")
    command = [COMPILER, "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", SOURCE]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def ask(library, python_env):
    def run(machine, timeout_s=10.0):
        env = {**os.environ, "LD_LIBRARY_PATH": str(library), "FAKE_NVML": machine}
        env.pop("CUDA_VISIBLE_DEVICES", None)
        command = [sys.executable, "-c", ASK, str(timeout_s)]
        return json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)

    return run


def test_two_gpus_with_nvlink(ask):
    assert ask("two") == {
        "gpus": [[index, f"GPU-0000000{index + 1}", "h100-sxm", 81079 * MIB, 81079 * MIB] for index in range(2)],
        "driver": "580.95.05",
        "cuda": "13.0",
        "interconnect": "nvlink",
        "links": ["nvlink"],
    }


def test_two_gpus_without_nvlink(ask):
    answer = ask("pcie")

    assert (answer["links"], answer["interconnect"]) == (["sys"], "pcie")


def test_mig_instances(ask):
    assert ask("mig")["gpus"] == [
        [0, f"MIG-0000000{number}", "h100-sxm MIG 3g.40gb", 40448 * MIB, 40150 * MIB] for number in (1, 2)
    ]


def test_a_driver_before_510(ask):
    gpu = ask("old")["gpus"][0]

    assert gpu[3:] == [85_017_493_504, 81008 * MIB]


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ("mismatch", "different versions"),
        ("empty", "sees no GPU"),
        ("lost", "fallen off the bus"),
        ("unified", "does not tell the memory of NVIDIA H100"),
        ("new", "NVML failed (Something New)"),
    ],
)
def test_what_is_wrong_is_said(ask, machine, words):
    assert words in ask(machine)["error"]


def test_a_driver_that_hangs_is_given_up_and_the_process_ends(ask):
    start = time.monotonic()
    answer = ask("hang", timeout_s=0.3)

    assert "did not answer within 0.3 s" in answer["error"]
    assert time.monotonic() - start < 30
