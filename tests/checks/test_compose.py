"""
What is wrong with services of Compose.
"""

import pytest

import vllm_sizing as vs

GOOD = """\
name: qwen
services:
  server:
    image: vllm/vllm-openai:v0.33.0
    command: [Qwen/Qwen3-8B, --max-model-len, 16k, --shutdown-timeout, "30"]
    environment: {HF_TOKEN: , VLLM_API_KEY: }
    ports: ["8000:8000"]
    shm_size: 1gb
    stop_grace_period: 60s
    healthcheck:
      test: [CMD, curl, -fsS, "http://127.0.0.1:8000/health"]
      start_period: 1200s
    deploy:
      resources:
        reservations:
          devices:
            - {driver: nvidia, count: 1, capabilities: [gpu]}
"""


def findings(text):
    return {(item.code, item.line) for item in vs.check_text(text, gpu="l4").all_findings}


def test_a_good_service_has_remarks_only():
    report = vs.check_text(GOOD, gpu="l4")

    assert (report.kind, report.fits, report.worst) == ("compose", True, "info")
    assert (report.servers[0].name, report.servers[0].line) == ("server", 3)


@pytest.mark.parametrize(
    ("before", "after", "code", "line"),
    [
        ("stop_grace_period:", "stop_grace_periods:", "unknown-key", 9),
        ("name: qwen", "version: '3.8'", "obsolete-key", 1),
        (", VLLM_API_KEY: ", "", "wide-open", 7),
        ("HF_TOKEN: ,", "HF_TOKEN: abc123,", "secret-in-plain-text", 6),
        ("stop_grace_period: 60s\n", "ipc: host\n", "host-ipc", 9),
        ("stop_grace_period: 60s\n", "privileged: true\n", "privileged", 9),
        ("stop_grace_period: 60s\n", "volumes: [/var/run/docker.sock:/x]\n", "privileged", 9),
        ("    stop_grace_period: 60s\n", "", "grace-short", 4),
        ("start_period: 1200s", "start_period: 30s", "probe-short", 11),
        ("127.0.0.1:8000/health", "127.0.0.1:9000/health", "probe-port", 11),
        ("count: 1", "count: 1, device_ids: ['0']", "conflicting-keys", 17),
        ("    deploy:", "    other:", "gpu-missing", 4),
        ("count: 1", "count: 2", "gpus-idle", 17),
        ("--max-model-len, 16k", "--tensor-parallel-size, '2'", "gpu-count", 17),
        ('[Qwen/Qwen3-8B, --max-model-len, 16k, --shutdown-timeout, "30"]', "Qwen/Qwen3-8B --swap-space 4", "removed-flag", 5),
        ("[Qwen/Qwen3-8B,", "[Qwen/Qwen3-8B, '${FLAGS}',", "unknown-word", 5),
        ("image: vllm/vllm-openai:v0.33.0", "image: vllm/vllm-openai:${TAG:-x}", "unpinned-revision", 5),
        ('    healthcheck:\n      test: [CMD, curl, -fsS, "http://127.0.0.1:8000/health"]\n      start_period: 1200s\n', "", "liveness-missing", 3),
        ("resources:\n", "resources:\n        limits: {memory: 2g}\n", "memory-limit-tight", 15),
        ('--shutdown-timeout, "30"', "--seed, '1'", "no-drain", 3),
    ],
)  # fmt: skip
def test_each_fault_is_found_where_it_is(before, after, code, line):
    assert before in GOOD

    assert (code, line) in findings(GOOD.replace(before, after))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("gpus: all", None),
        ("gpus: [{driver: nvidia, count: 2}]", 2),
        ("runtime: nvidia", None),
        ("devices: [nvidia.com/gpu=all]", None),
        ("deploy: {resources: {reservations: {devices: [{device_ids: ['0', '3'], capabilities: [gpu]}]}}}", 2),
        ("deploy: {resources: {reservations: {devices: [{count: all, capabilities: [gpu]}]}}}", None),
    ],
)
def test_gpus_are_counted_however_they_are_asked_for(text, number):
    service = f"services:\n  a:\n    image: vllm/vllm-openai:v0.33.0\n    command: [m]\n    {text}\n"

    report = vs.check_text(service, gpu="l4", model="Qwen/Qwen3-8B")

    assert report.servers[0].num_gpus == number
    assert "gpu-missing" not in {item.code for item in report.all_findings}


def test_an_entrypoint_that_starts_vllm_is_the_program():
    text = "services: {a: {image: x/y:1, gpus: all, entrypoint: [python3, -m, vllm.entrypoints.openai.api_server], command: [--model, Qwen/Qwen3-8B]}}"

    assert vs.check_text(text, gpu="l4").servers[0].model == "Qwen/Qwen3-8B"


def test_a_shell_in_the_entrypoint_is_seen_through():
    text = "services: {a: {image: x/y:1, gpus: all, entrypoint: [/bin/sh, -c], command: ['vllm serve Qwen/Qwen3-8B']}}"

    report = vs.check_text(text, gpu="l4")

    assert report.servers[0].model == "Qwen/Qwen3-8B"
    assert "shell-wrapper" in {item.code for item in report.all_findings}


def test_services_on_one_gpu_must_share_it():
    device = "deploy: {resources: {reservations: {devices: [{device_ids: ['0'], capabilities: [gpu]}]}}}"
    service = "{{image: vllm/vllm-openai:v0.33.0, command: [Qwen/Qwen3-8B, --gpu-memory-utilization, '{}'], {}}}"

    def codes(first, second):
        text = f"services:\n  a: {service.format(first, device)}\n  b: {service.format(second, device)}\n"
        return [item.code for item in vs.check_text(text, gpu="h100-sxm").findings]

    assert codes(0.5, 0.6) == ["gpu-shared"]
    assert codes(0.4, 0.5) == []


def test_services_without_vllm_are_left_alone():
    text = "services: {db: {image: postgres:17}, ui: {image: x/vllm-ui:1, entrypoint: [node]}}"

    assert vs.check_text(text).servers == ()


def test_anchors_and_merges_are_read():
    text = "x-base: &base {image: vllm/vllm-openai:v0.33.0, gpus: all}\nservices: {a: {<<: *base, command: [Qwen/Qwen3-8B]}}"

    assert vs.check_text(text, gpu="h100-sxm").fits is True


def test_a_healthcheck_is_not_judged_without_a_model(monkeypatch):
    """
    How long a start takes, and how much it needs, follows from the model.
    """
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = (
        GOOD.replace("Qwen/Qwen3-8B", "no/such-model-here")
        .replace("1200s", "1s")
        .replace("127.0.0.1:8000", "127.0.0.1:9")
    )

    assert {code for code, _ in findings(text) if code.startswith(("probe", "memory"))} == set()
    assert "model-not-known" in {code for code, _ in findings(text)}


def test_a_list_of_no_devices_asks_for_no_gpu():
    text = GOOD.replace("            - {driver: nvidia, count: 1, capabilities: [gpu]}\n", "").replace(
        "devices:", "devices: []"
    )

    assert "gpu-missing" in {code for code, _ in findings(text)}
