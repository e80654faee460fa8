"""
nvidia-smi: its texts as captured, and the program as a script on PATH.
"""

import sys
from pathlib import Path

import pynvml
import pytest

from vllm_sizing.errors import DetectionError
from vllm_sizing.sources import nvidia_smi
from vllm_sizing.sources.gpus import detect_machine
from vllm_sizing.sources.nvidia_smi import (
    parse_compute_capabilities,
    parse_mig_names,
    parse_nvidia_smi_xml,
    parse_topology,
    read_nvidia_smi,
)
from vllm_sizing.units import MIB

from .recorded_nvml import RecordedNvml

DATA = Path(__file__).parents[1] / "data" / "gpus"


def captured(name):
    return (DATA / name).read_text()


@pytest.fixture
def program(monkeypatch, tmp_path):
    """
    Puts a script called nvidia-smi on PATH, on a machine without NVML.
    """
    monkeypatch.setitem(sys.modules, "pynvml", RecordedNvml([], init=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    monkeypatch.setattr(nvidia_smi, "_WSL_PROGRAM", str(tmp_path / "wsl"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def write(script, name="nvidia-smi"):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return write


def answers(xml, **others):
    """
    A script that prints captured files by its arguments; another question is an error.
    """
    files = {"-q -x": xml, **others}
    cases = "".join(f"'{arguments}') cat '{DATA / name}';;\n" for arguments, name in files.items())
    return f'case "$*" in\n{cases}*) echo "Field is not valid"; exit 2;; esac'


def test_xml_of_one_gpu():
    reading = parse_nvidia_smi_xml(captured("rtx-pro-6000-maxq.xml"))
    (gpu,) = reading.gpus

    assert (reading.driver_version, reading.cuda_version) == ("590.44.01", "13.1")
    assert gpu.product_name == "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition"
    assert gpu.uuid == "GPU-12345678-aaaa-bbbb-cccc-0123456789ab"
    assert gpu.memory.total_bytes == 97887 * MIB
    assert gpu.memory.reserved_bytes == 637 * MIB
    assert gpu.memory.free_bytes == 31531 * MIB
    assert (gpu.pcie_generation, gpu.pcie_lanes) == (4, 16)


def test_what_the_driver_keeps_is_what_cuda_does_not_offer():
    """
    CUDA's total of this card in two logs is 101973491712 bytes; XML rounds to MiB.
    """
    memory = parse_nvidia_smi_xml(captured("rtx-pro-6000-maxq.xml")).gpus[0].memory

    assert abs(memory.total_bytes - memory.reserved_bytes - 101_973_491_712) < MIB


def test_xml_of_a_gpu_that_mig_splits():
    reading = parse_nvidia_smi_xml(captured("a100-mig.xml"))

    assert len(reading.gpus) == 4
    assert {gpu.memory.total_bytes for gpu in reading.gpus} == {19968 * MIB}
    assert {gpu.parent_uuid for gpu in reading.gpus} == {"GPU-513536b6-7d19-9063-b049-1e69664bb298"}


def test_xml_of_mig_mode_without_instances():
    xml = captured("a100-mig.xml")
    start, end = xml.index("<mig_devices>"), xml.index("</mig_devices>")
    reading = parse_nvidia_smi_xml(xml[:start] + "<mig_devices>None" + xml[end:])

    assert reading.gpus == ()
    assert reading.notes == ("GPU 0 is in MIG mode and has no instance",)


def test_xml_of_a_gpu_that_shares_the_host_s_memory():
    xml = captured("rtx-pro-6000-maxq.xml")
    for value in ("97887 MiB", "637 MiB", "31531 MiB"):
        xml = xml.replace(value, "Not Supported")

    assert parse_nvidia_smi_xml(xml).gpus[0].memory is None


@pytest.mark.parametrize("text", ["", "No devices were found", "<html></html>", "<nvidia_smi_log>", "\x00\x01"])
def test_what_is_not_its_xml_is_refused_in_one_line(text):
    with pytest.raises(DetectionError, match="where its XML was expected") as caught:
        parse_nvidia_smi_xml(text)

    assert "\n" not in str(caught.value)


def test_names_of_mig_instances():
    names = parse_mig_names(captured("a100-mig-list.txt"))

    assert names[0, "2"] == ("MIG-90075af8-1349-5b67-83b7-e31b0590b922", "1g.20gb")
    assert len(names) == 4
    assert parse_mig_names("No devices were found") == {}


def test_compute_capabilities():
    assert parse_compute_capabilities("GPU-1, 9.0\nGPU-2, 12.1\nGPU-3, [N/A]\n") == {
        "GPU-1": (9, 0),
        "GPU-2": (12, 1),
    }
    assert parse_compute_capabilities('Field "compute_cap" is not a valid field to query.') == {}


def test_topology_of_a_switched_machine():
    links = parse_topology(captured("topology-8x-nvlink.txt"))

    assert len(links) == 28
    assert {link.kind for link in links} == {"nvlink"}


def test_topology_of_two_groups():
    kinds = {(link.first, link.second): link.kind for link in parse_topology(captured("topology-2x4-nvlink.txt"))}

    assert kinds[0, 3] == kinds[4, 7] == "nvlink"
    assert kinds[3, 4] == "sys"


def test_topology_that_is_not_told():
    assert parse_topology("") == ()
    assert parse_topology("ERROR: no permission") == ()
    assert parse_topology("\tGPU0\tGPU1\nGPU0\t X \nGPU1\t???\t X \n") == ()
    assert [link.kind for link in parse_topology("GPU0\t X \t???\nGPU1\t???\t X \n")] == ["unknown"]


def test_the_program_is_asked_when_nvml_is_missing(program):
    program(answers("rtx-pro-6000-maxq.xml"))
    found = detect_machine()
    gpu = found.gpus[0].gpu

    assert found.source == "nvidia-smi"
    assert found.driver_version == "590.44.01"
    assert gpu.name == "rtx-pro-6000-blackwell-max-q"
    assert gpu.memory_bytes == (97887 - 637) * MIB
    assert gpu.compute_capability == (12, 0)  # the catalog's, since this nvidia-smi does not tell
    assert gpu.pcie_bytes_per_s == 31.504e9  # the slot's generation 4, not the card's 5


def test_the_program_tells_the_compute_capability(program):
    program(
        'case "$*" in *compute_cap*) echo "GPU-12345678-aaaa-bbbb-cccc-0123456789ab, 12.9";;'
        f"*) cat '{DATA / 'rtx-pro-6000-maxq.xml'}';; esac"
    )

    assert detect_machine().gpus[0].gpu.compute_capability == (12, 9)


def test_the_program_tells_mig_instances_with_their_names(program, monkeypatch):
    program(answers("a100-mig.xml", **{"-L": "a100-mig-list.txt"}))
    found = detect_machine()

    assert [gpu.mig_profile for gpu in found.gpus] == ["1g.20gb"] * 4
    assert found.gpus[0].gpu.name == "a100-sxm-80gb MIG 1g.20gb"

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-fe9bc608")
    assert [gpu.uuid for gpu in detect_machine().gpus] == ["MIG-fe9bc608-60f5-5479-8cc4-1827021d27a9"]


def test_the_program_tells_the_topology(program, tmp_path):
    xml = captured("rtx-pro-6000-maxq.xml")
    start, end = xml.index("<gpu "), xml.index("</gpu>") + len("</gpu>")
    (tmp_path / "eight.xml").write_text(xml[:start] + xml[start:end] * 8 + xml[end:])
    program(
        f'case "$*" in "topo -m") cat \'{DATA / "topology-2x4-nvlink.txt"}\';; -q*) cat {tmp_path}/eight.xml;; esac'
    )
    found = detect_machine()

    assert len(found.gpus) == 8
    assert found.interconnect == "pcie"


def test_wsl_keeps_the_program_in_its_own_folder(program, monkeypatch):
    program(f"/bin/cat '{DATA / 'rtx-pro-6000-maxq.xml'}'", name="wsl")
    monkeypatch.setenv("PATH", "/nowhere")

    assert read_nvidia_smi(timeout_s=5).gpus[0].memory.total_bytes == 97887 * MIB


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            'echo "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver."; exit 9',
            "nvidia-smi failed .*couldn't communicate with the NVIDIA driver",
        ),
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch' >&2; exit 18",
            "version mismatch",
        ),
        ("exit 3", "exit code 3"),
        ("echo hello; echo world", "printed 'hello world' where its XML was expected"),
        ("printf '\\377\\376'", "where its XML was expected"),
        ("exec sleep 30", "did not answer in time"),
    ],
)
def test_a_program_that_fails_is_said_plainly(program, script, words):
    program(script)

    with pytest.raises(DetectionError, match=words) as caught:
        detect_machine(timeout_s=0.5)

    assert str(caught.value).endswith("or name a GPU: --gpu NAME")
    assert "\n" not in str(caught.value)


def test_a_program_that_cannot_be_run_is_said_plainly(program, tmp_path):
    program("true")
    (tmp_path / "nvidia-smi").write_text("#!/nowhere/interpreter\n")

    with pytest.raises(DetectionError, match=r"nvidia-smi cannot be run \(No such file"):
        detect_machine()


def test_no_program_is_no_answer(program):
    assert read_nvidia_smi(timeout_s=1) is None
