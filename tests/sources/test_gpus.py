"""
Detection over NVML with recorded answers: what is found, what it means, and what is said when it fails.
"""

import sys
import threading
from pathlib import Path

import pynvml
import pytest

import vllm_sizing as vs
from vllm_sizing.catalog.gpus import find_gpu
from vllm_sizing.errors import DetectionError
from vllm_sizing.sources import gpus as module
from vllm_sizing.sources import nvidia_smi, nvml
from vllm_sizing.sources.gpu_specs import parse_meminfo
from vllm_sizing.sources.gpus import detect_gpus, detect_machine
from vllm_sizing.units import MIB

from .recorded_nvml import A6000, H100, RecordedNvml

DATA = Path(__file__).parents[1] / "data" / "gpus"
MEMINFO = (DATA / "meminfo.txt").read_text()
PAIRS = {(first, second) for first in range(8) for second in range(first + 1, 8)}


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """
    Sets what this machine is: its NVML, its environment, its /proc.
    """
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    monkeypatch.setattr(module, "_PROC", tmp_path)
    monkeypatch.setattr(nvidia_smi, "_WSL_PROGRAM", str(tmp_path / "nvidia-smi"))
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "version").write_text("Linux version 6.8.0")

    def set_up(gpus=(), *, meminfo="", version="", env=(), **answers):
        monkeypatch.setitem(sys.modules, "pynvml", RecordedNvml(gpus, **answers))
        for name, value in dict(env).items():
            monkeypatch.setenv(name, value)
        if meminfo:
            (tmp_path / "meminfo").write_text(meminfo)
        if version:
            (tmp_path / "version").write_text(version)

    return set_up


def test_a_known_gpu_gets_the_driver_s_memory_and_the_catalog_s_speed(machine):
    machine([H100])
    gpu = detect_gpus()[0]

    assert gpu.name == "h100-sxm"
    assert gpu.memory_bytes == 81079 * MIB  # total less what the driver keeps
    assert abs(gpu.memory_bytes - find_gpu("h100-sxm").memory_bytes) < MIB
    assert gpu.free_memory_bytes == 81079 * MIB
    assert gpu.memory_bandwidth_bytes_per_s == 3350e9
    assert gpu.compute_capability == (9, 0)
    assert "NVML" in gpu.source
    assert "datasheet" in gpu.source
    assert not gpu.assumed


def test_the_machine_is_described(machine):
    machine([H100] * 4, nvlink=PAIRS)
    found = detect_machine()

    assert (found.source, found.driver_version, found.cuda_version) == ("NVML", "580.95.05", "13.0")
    assert [gpu.index for gpu in found.gpus] == [0, 1, 2, 3]
    assert found.gpus[1].uuid == "GPU-00000001"
    assert found.gpus[0].product_name == "NVIDIA H100 80GB HBM3"
    assert found.gpus[0].total_bytes == 81559 * MIB
    assert len(found.links) == 6
    assert not found.is_mixed
    assert not found.notes


def test_public_api_detects(machine):
    machine([H100])

    assert vs.detect_gpus()[0].name == "h100-sxm"


@pytest.mark.parametrize(
    ("num_gpus", "answers", "interconnect"),
    [
        (1, {}, None),
        (4, {"nvlink": PAIRS}, "nvlink"),
        (4, {"nvlink": PAIRS - {(0, 3)}}, "pcie"),
        (2, {"path": 10}, "pcie"),
        (2, {"path": None}, "unknown"),
        (4, {"nvlink": {(0, 1), (2, 3)}, "path": None}, "unknown"),
    ],
)
def test_a_cluster_has_the_weakest_link_between_its_gpus(machine, num_gpus, answers, interconnect):
    machine([H100] * num_gpus, **answers)
    cluster = detect_machine().cluster()

    assert cluster.num_gpus == num_gpus
    assert cluster.interconnect == interconnect


@pytest.mark.parametrize(
    ("level", "kind"),
    [(0, "pix"), (10, "pix"), (20, "pxb"), (30, "phb"), (40, "node"), (50, "sys"), (99, "unknown")],
)
def test_pcie_paths_have_nvidia_smi_s_names(machine, level, kind):
    machine([A6000] * 2, path=level)

    assert [link.kind for link in detect_machine().links] == [kind]


def test_a_cluster_is_as_free_as_its_fullest_gpu(machine):
    machine([H100, {**H100, "memory": (81559, 480, 1234)}, H100])
    cluster = detect_machine().cluster()

    assert cluster.gpu.free_memory_bytes == 1234 * MIB
    assert cluster.gpu.memory_bytes == 81079 * MIB
    assert cluster.num_gpus == 3


def test_gpus_that_differ_are_all_found_but_make_no_cluster(machine):
    machine([H100, A6000])
    found = detect_machine()

    assert found.is_mixed
    assert [gpu.gpu.name for gpu in found.gpus] == ["h100-sxm", "rtx-a6000"]
    with pytest.raises(DetectionError, match=r"GPU 0: h100-sxm, GPU 1: rtx-a6000.*CUDA_VISIBLE_DEVICES.*--gpu NAME"):
        found.cluster()


def test_the_link_of_the_slot_counts_not_that_of_the_card(machine):
    machine([{**A6000, "pcie": (3, 8)}])

    assert detect_gpus()[0].pcie_bytes_per_s == 7.88e9


def test_ecc_changes_the_memory_not_the_gpu(machine):
    machine([{**A6000, "memory": (46068, 580, 45000)}])
    gpu = detect_gpus()[0]

    assert gpu.name == "rtx-a6000"
    assert gpu.memory_bytes == (46068 - 580) * MIB
    assert gpu.memory_bandwidth_bytes_per_s == 768e9


def test_memory_of_a_driver_that_does_not_tell_what_it_keeps(machine):
    machine([{**H100, "memory": (81559, None, 80000)}])
    gpu = detect_gpus()[0]

    assert gpu.memory_bytes == find_gpu("h100-sxm").memory_bytes
    assert gpu.free_memory_bytes == 80000 * MIB
    assert "catalog's memory" in gpu.source


def test_total_memory_is_the_last_resort_and_said(machine):
    machine([{**H100, "name": "NVIDIA X900", "memory": (81559, None, 80000)}])
    gpu = detect_gpus()[0]

    assert gpu.memory_bytes == 81559 * MIB
    assert "CUDA offers a little less" in gpu.source


def test_a_gpu_that_the_catalog_does_not_know_is_planned_by_its_memory(machine):
    machine([{**H100, "name": "NVIDIA X900"}])
    gpu = detect_gpus()[0]

    assert gpu.name == "NVIDIA X900"
    assert gpu.memory_bytes == 81079 * MIB
    assert gpu.memory_bandwidth_bytes_per_s is None
    assert gpu.peak_flops == ()
    assert gpu.compute_capability == (9, 0)
    assert gpu.assumed == "NVIDIA X900 with 79 GiB is not in the catalog: its bandwidth and FLOPS are not known"


@pytest.mark.parametrize(
    ("name", "total_mib"),
    [
        ("NVIDIA GeForce RTX 3060", 8192),
        ("NVIDIA GeForce RTX 4090", 49140),
        ("NVIDIA H100", 95830),
        ("Orin", 30697),
    ],
)
def test_another_board_of_the_same_name_is_not_taken_for_the_known_one(machine, name, total_mib):
    machine([{**A6000, "name": name, "memory": (total_mib, 400, 7000)}])
    gpu = detect_gpus()[0]

    assert gpu.name == name
    assert gpu.memory_bytes == (total_mib - 400) * MIB
    assert gpu.memory_bandwidth_bytes_per_s is None


def test_memory_tells_boards_of_one_name_apart_so_nothing_is_assumed(machine):
    machine([{**A6000, "name": "NVIDIA GeForce RTX 3060", "memory": (12288, 381, 11000)}])
    gpu = detect_gpus()[0]

    assert gpu.name == "rtx-3060-12gb"
    assert not gpu.assumed


def test_under_wsl_cuda_offers_all_memory_and_it_is_noted(machine):
    machine(
        [{**A6000, "name": "NVIDIA GeForce RTX 4090", "memory": (24564, 300, 22000)}],
        version="Linux 5.15 Microsoft WSL2",
    )
    found = detect_machine()

    assert found.gpus[0].gpu.memory_bytes == 24564 * MIB
    assert any("WSL" in note for note in found.notes)


def mig(*profiles):
    instances = [
        {"name": f"{H100['name']} MIG {name}", "uuid": f"MIG-{number}", "memory": (total, 0, total - 13)}
        for number, (name, total) in enumerate(profiles)
    ]
    return {**H100, "memory": pynvml.NVML_ERROR_NO_PERMISSION, "instances": instances}


def test_each_mig_instance_is_a_gpu_of_its_own(machine):
    machine([mig(("3g.40gb", 40448), ("1g.10gb", 9984)), H100])
    found = detect_machine()

    assert [(gpu.index, gpu.uuid, gpu.mig_profile) for gpu in found.gpus] == [
        (0, "MIG-0", "3g.40gb"),
        (0, "MIG-1", "1g.10gb"),
        (1, "GPU-00000001", ""),
    ]
    large = found.gpus[0].gpu
    assert large.name == "h100-sxm MIG 3g.40gb"
    assert (large.memory_bytes, large.free_memory_bytes) == (40448 * MIB, 40435 * MIB)
    assert large.memory_bandwidth_bytes_per_s is None
    assert large.peak_flops == ()
    assert large.compute_capability == (9, 0)
    assert "MIG" in large.assumed
    assert any("tensor parallelism" in note for note in found.notes)


def test_mig_instances_do_not_make_a_cluster_of_several(machine):
    machine([mig(("1g.10gb", 9984), ("1g.10gb", 9984))])
    cluster = detect_machine().cluster()

    assert cluster.num_gpus == 1
    assert cluster.interconnect is None


def test_an_instance_without_a_name_is_still_found(machine):
    broken = mig(("1g.10gb", 9984))
    broken["instances"][0]["name"] = pynvml.NVML_ERROR_NOT_SUPPORTED
    machine([broken])

    assert detect_machine().gpus[0].mig_profile == "instance"


def test_mig_mode_without_instances_leaves_nothing_to_use(machine):
    machine([mig()])

    with pytest.raises(DetectionError, match=r"sees no GPU \(GPU 0 is in MIG mode and has no instance\)"):
        detect_machine()


def test_mig_mode_without_instances_beside_a_whole_gpu_is_noted(machine):
    machine([mig(), H100])
    found = detect_machine()

    assert [gpu.index for gpu in found.gpus] == [1]
    assert found.notes == ("GPU 0 is in MIG mode and has no instance",)


@pytest.mark.parametrize(
    ("visible", "indices"),
    [
        ("2", [2]),
        ("3,1", [3, 1]),
        (" 0 , 1 ", [0, 1]),
        ("GPU-00000002,0", [2, 0]),
        ("GPU-000000", [0]),
        ("1,9,2", [1]),  # CUDA reads up to the first that is not there
        ("1,-1,2", [1]),
        ("1,1", [1]),
    ],
)
def test_visible_devices_are_honoured(machine, visible, indices):
    machine([H100] * 4, nvlink={(1, 3)}, env={"CUDA_VISIBLE_DEVICES": visible})

    assert [gpu.index for gpu in detect_machine().gpus] == indices


def test_only_links_between_visible_gpus_count(machine):
    machine([H100] * 4, nvlink={(1, 3)}, env={"CUDA_VISIBLE_DEVICES": "3,1"})

    assert detect_machine().interconnect == "nvlink"


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [("0", ["MIG-0"]), ("MIG-1", ["MIG-1"]), ("GPU-00000000", ["MIG-0"]), ("1", ["GPU-00000001"])],
)
def test_a_split_gpu_stands_for_its_first_instance(machine, visible, uuids):
    machine([mig(("1g.10gb", 9984), ("1g.10gb", 9984)), H100], env={"CUDA_VISIBLE_DEVICES": visible})

    assert [gpu.uuid for gpu in detect_machine().gpus] == uuids


@pytest.mark.parametrize("visible", ["", "-1", "7", "GPU-", "MIG-none", "all", "²"])
def test_visible_devices_that_leave_nothing_are_named(machine, visible):
    machine([H100] * 2, env={"CUDA_VISIBLE_DEVICES": visible})

    with pytest.raises(DetectionError, match=f"CUDA_VISIBLE_DEVICES='{visible}' leaves none of 2 GPUs.*--gpu NAME"):
        detect_gpus()


def test_numbers_of_gpus_that_differ_depend_on_the_order(machine):
    machine([H100, A6000, H100], env={"CUDA_VISIBLE_DEVICES": "0,1"})
    assert any("CUDA_DEVICE_ORDER=PCI_BUS_ID" in note for note in detect_machine().notes)

    machine([H100, A6000, H100], env={"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert not detect_machine().notes


GB10 = {"name": "NVIDIA GB10", "memory": pynvml.NVML_ERROR_NOT_SUPPORTED, "capability": (12, 1)}


def test_a_gpu_that_shares_the_host_s_memory_is_read_from_the_host(machine):
    machine([GB10], meminfo=MEMINFO, cuda=None)
    found = detect_machine()
    gpu = found.gpus[0].gpu

    assert gpu.name == "gb10"
    assert gpu.integrated
    assert (gpu.memory_bytes, gpu.free_memory_bytes) == (127600748 * 1024, 118913428 * 1024)
    assert gpu.memory_bandwidth_bytes_per_s == 273e9
    assert found.gpus[0].total_bytes is None
    assert not found.cuda_version


def test_a_module_of_another_size_is_not_taken_for_the_known_one(machine):
    machine([{**GB10, "name": "Orin (nvgpu)"}], meminfo="MemTotal: 32000000 kB\nMemAvailable: 1 kB\n")
    gpu = detect_gpus()[0]

    assert gpu.name == "Orin (nvgpu)"
    assert gpu.integrated
    assert gpu.memory_bandwidth_bytes_per_s is None


@pytest.mark.parametrize("meminfo", ["", "MemTotal: none kB", "MemTotal:\nMemAvailable: 1 kB", "garbage"])
def test_memory_that_nobody_tells_is_an_error(machine, meminfo):
    machine([GB10], meminfo=meminfo)

    with pytest.raises(DetectionError, match=r"does not tell the memory of NVIDIA GB10.*--gpu NAME"):
        detect_gpus()


def test_a_discrete_gpu_without_memory_is_not_given_the_host_s(machine):
    machine([{**H100, "memory": pynvml.NVML_ERROR_NOT_SUPPORTED}], meminfo=MEMINFO)

    with pytest.raises(DetectionError, match="does not tell the memory of NVIDIA H100"):
        detect_gpus()


def test_meminfo_is_read_in_bytes():
    assert parse_meminfo(MEMINFO) == (127600748 * 1024, 118913428 * 1024)


def test_a_machine_without_driver_is_said_plainly(machine):
    machine(init=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    with pytest.raises(DetectionError, match=r"no NVIDIA driver here.*--gpu NAME$"):
        detect_gpus()


def test_a_driver_without_gpu_is_said_plainly(machine):
    machine([])

    with pytest.raises(DetectionError, match="the NVIDIA driver sees no GPU; check nvidia-smi, or name a GPU"):
        detect_gpus()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (pynvml.NVML_ERROR_NO_PERMISSION, "may not talk to the NVIDIA driver"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "installed but not loaded"),
        (pynvml.NVML_ERROR_TIMEOUT, "timed out"),
        (pynvml.NVML_ERROR_GPU_IS_LOST, "fallen off the bus"),
        (pynvml.NVML_ERROR_RESET_REQUIRED, "needs a reset"),
        (pynvml.NVML_ERROR_OPERATING_SYSTEM, "operating system blocks"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "different versions; reboot"),
        (pynvml.NVML_ERROR_UNKNOWN, r"NVML failed \(Unknown Error\)"),
    ],
)
def test_each_fault_of_a_driver_has_its_line(machine, code, words):
    machine([H100], init=code)
    with pytest.raises(DetectionError, match=words) as at_start:
        detect_gpus()

    machine([{**H100, "memory": code}])
    with pytest.raises(DetectionError, match=words) as later:
        detect_gpus()

    for error in (at_start, later):
        assert str(error.value).endswith("or name a GPU: --gpu NAME")
        assert "\n" not in str(error.value)


def test_a_driver_that_fails_to_stop_has_still_answered(machine):
    machine([H100], shutdown=pynvml.NVML_ERROR_UNINITIALIZED)

    assert detect_gpus()[0].name == "h100-sxm"


def test_an_answer_that_makes_no_sense_is_not_a_traceback(machine):
    machine([{**H100, "memory": ()}])

    with pytest.raises(DetectionError, match="cannot be read") as caught:
        detect_gpus()

    assert isinstance(caught.value.__cause__, ValueError)


def test_a_driver_that_hangs_is_given_up(machine, monkeypatch):
    machine([H100])
    released = threading.Event()
    monkeypatch.setattr(nvml, "_read", released.wait)

    with pytest.raises(DetectionError, match=r"did not answer within 0.05 s.*--gpu NAME"):
        detect_gpus(timeout_s=0.05)
    released.set()
