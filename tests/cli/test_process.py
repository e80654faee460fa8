"""
As a process: pipes that close, disks that are full, interrupts, and two ways to start it.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

unix = pytest.mark.skipif(os.name != "posix", reason="pipes and signals of POSIX")


def start(env, *words, **more):
    return subprocess.Popen([sys.executable, "-m", "vllm_sizing", *words], env=env, **more)


@unix
def test_a_reader_that_goes_away_is_no_error(python_env):
    reading, writing = os.pipe()
    os.close(reading)

    done = start(python_env, "gpus", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)

    assert done.communicate()[1] == b""
    assert done.returncode == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is full")  # noqa: PTH110
def test_a_full_disk_is_told(python_env):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = start(python_env, "gpus", stdout=full, stderr=subprocess.PIPE)

    assert done.communicate()[1] == b"Error: the answer: No space left on device\n"
    assert done.returncode == 1


@unix
def test_a_closed_stdout_is_no_traceback(python_env):
    command = f"{sys.executable} -m vllm_sizing gpus >&-"

    done = subprocess.run(["sh", "-c", command], env=python_env, capture_output=True, check=False)

    assert b"Traceback" not in done.stderr


@unix
def test_ctrl_c_ends_with_130(python_env):
    code = (
        "import signal, time, vllm_sizing.catalog.gpus as gpus\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell ignores it for its background jobs
        "from vllm_sizing.cli import main\n"
        "gpus.all_gpus = lambda: (print('ready', flush=True), time.sleep(60))\n"
        "main(['gpus'])\n"
    )
    done = subprocess.Popen(
        [sys.executable, "-c", code], env=python_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert done.stdout.readline() == b"ready\n"
    time.sleep(0.2)
    done.send_signal(signal.SIGINT)
    out, err = done.communicate(timeout=30)

    assert done.returncode == 130
    assert out == b""
    assert err.strip() == b""


def test_the_module_and_the_script_are_one_program(run, run_process):
    result = run_process("gpus", "l4")

    assert result.returncode == 0
    assert result.stdout.decode().splitlines() == run("gpus", "l4").stdout.splitlines()


def test_the_usage_line_names_the_program(run_process):
    assert run_process("--help").stdout.startswith(b"Usage: vllm-sizing ")
