"""
nvidia-ml-py with recorded answers: a machine is a list of dicts, and a fault is an NVML code.
"""
# ruff: noqa: N802 - the names are NVML's

from types import SimpleNamespace

import pynvml

MIB = 2**20
H100 = {
    "name": "NVIDIA H100 80GB HBM3",
    "memory": (81559, 480, 81079),
    "capability": (9, 0),
    "pcie": (5, 16),
}
A6000 = {"name": "NVIDIA RTX A6000", "memory": (49140, 602, 48000), "capability": (8, 6), "pcie": (4, 16)}


class RecordedNvml:
    """
    Handles are the dicts themselves.  A value that is an int fault is raised as NVMLError.
    """

    def __init__(self, gpus, *, init=0, nvlink=(), path=50, cuda=13000, shutdown=0):
        self.gpus = [{"uuid": f"GPU-0000000{index}", **gpu, "index": index} for index, gpu in enumerate(gpus)]
        self.faults = {"init": init, "shutdown": shutdown}
        self.nvlink, self.path, self.cuda = nvlink, path, cuda

    def __getattr__(self, name):
        return getattr(pynvml, name)

    @staticmethod
    def _answer(value, fault_as=int):
        if isinstance(value, fault_as):
            raise pynvml.NVMLError(value)
        return value

    def nvmlInit(self):
        if self.faults["init"]:
            raise pynvml.NVMLError(self.faults["init"])

    def nvmlShutdown(self):
        if self.faults["shutdown"]:
            raise pynvml.NVMLError(self.faults["shutdown"])

    def nvmlSystemGetDriverVersion(self):
        return "580.95.05"

    def nvmlSystemGetCudaDriverVersion_v2(self):
        if self.cuda is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        return self.cuda

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.gpus[index]

    def nvmlDeviceGetName(self, handle):
        return self._answer(handle["name"])

    def nvmlDeviceGetUUID(self, handle):
        return handle["uuid"]

    def nvmlDeviceGetMemoryInfo(self, handle, version=None):
        memory = handle["memory"]
        if isinstance(memory, int):
            raise pynvml.NVMLError(memory)
        total, reserved, free = memory
        if version and reserved is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        return SimpleNamespace(total=total * MIB, reserved=(reserved or 0) * MIB, free=free * MIB)

    def nvmlDeviceGetCudaComputeCapability(self, handle):
        return self._answer(handle.get("capability", pynvml.NVML_ERROR_NOT_SUPPORTED))

    def nvmlDeviceGetMaxPcieLinkGeneration(self, handle):
        return handle["pcie"][0] if "pcie" in handle else self._answer(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def nvmlDeviceGetMaxPcieLinkWidth(self, handle):
        return handle["pcie"][1] if "pcie" in handle else self._answer(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def nvmlDeviceGetMigMode(self, handle):
        if "instances" not in handle:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):
        if index >= len(handle["instances"]):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return handle["instances"][index]

    def nvmlDeviceGetP2PStatus(self, first, second, index):
        assert index == pynvml.NVML_P2P_CAPS_INDEX_NVLINK
        return 0 if (first["index"], second["index"]) in self.nvlink else 5

    def nvmlDeviceGetTopologyCommonAncestor(self, first, second):
        return self.path if self.path is not None else self._answer(pynvml.NVML_ERROR_NOT_SUPPORTED)
