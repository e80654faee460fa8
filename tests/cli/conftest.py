"""
The command line in this process and as a process of its own.
"""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from vllm_sizing.cli import main


@pytest.fixture(autouse=True)
def _workplace(tmp_path, monkeypatch):
    """
    An empty folder to work in, no Hub and nothing of the outer environment that changes answers.
    """
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for name in ("VLLM_SIZING_DEBUG", "FORCE_COLOR", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run():
    """
    Runs the command line here; the result has `exit_code`, `stdout` and `stderr`.
    """

    def run(*words):
        return CliRunner().invoke(main, [str(word) for word in words])

    return run


@pytest.fixture
def run_process(python_env):
    """
    Runs the command line as a process; the result has `returncode`, `stdout` and `stderr`.
    """

    def run(*words, **more):
        command = [sys.executable, "-m", "vllm_sizing", *map(str, words)]
        return subprocess.run(command, env=python_env, capture_output=True, check=False, **more)

    return run
