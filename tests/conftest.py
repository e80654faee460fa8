"""
What every test gets: reproducible Hypothesis profiles, a word on which package is tested, and no network.
"""

import os
import socket
import sysconfig
from pathlib import Path

import hypothesis
import pytest

import vllm_sizing

PACKAGE = Path(vllm_sizing.__file__).parent

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if "CI" in os.environ else "local")


def pytest_configure():
    """
    A run that promises to test the wheel (nox does) must not test the tree.
    """
    installed = Path(sysconfig.get_path("purelib")) / "vllm_sizing"
    if os.environ.get("VLLM_SIZING_TEST_INSTALLED") and installed != PACKAGE:
        message = f"the tests import {PACKAGE}, not the installed {installed}"
        raise pytest.UsageError(message)


def pytest_report_header():
    return f"vllm_sizing {vllm_sizing.__version__} from {PACKAGE}"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """
    A test may talk to this machine only.
    """
    connect = socket.socket.connect

    def local_only(self, address):
        if self.family != socket.AF_UNIX and address[0] not in {"127.0.0.1", "::1", "localhost"}:
            message = f"a test tried to reach {address}"
            raise ConnectionRefusedError(message)
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture
def python_env(monkeypatch):
    """
    The environment in which a subprocess imports the same package as this process, offline.
    """
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    return os.environ
