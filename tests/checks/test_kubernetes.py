"""
What is wrong with a pod and the objects around it, each found at its line.
"""

import pytest
import yaml

import vllm_sizing as vs

GOOD = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: qwen
spec:
  progressDeadlineSeconds: 3000
  strategy: {type: Recreate}
  selector:
    matchLabels: {app: qwen}
  template:
    metadata:
      labels: {app: qwen}
    spec:
      enableServiceLinks: false
      terminationGracePeriodSeconds: 90
      nodeSelector: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}
      containers:
        - name: server
          image: vllm/vllm-openai:v0.33.0
          args: [Qwen/Qwen3-32B, --tensor-parallel-size, "2", --shutdown-timeout, "60", --max-num-queued-reqs, "99"]
          env:
            - {name: HF_TOKEN, valueFrom: {secretKeyRef: {name: hf, key: token}}}
          ports: [{name: http, containerPort: 8000}]
          startupProbe: {httpGet: {path: /health, port: http}, periodSeconds: 10, failureThreshold: 200}
          livenessProbe: {httpGet: {path: /health, port: 8000}, periodSeconds: 15, timeoutSeconds: 10}
          readinessProbe: {httpGet: {path: /health, port: http}}
          lifecycle: {preStop: {sleep: {seconds: 15}}}
          resources:
            requests: {memory: 64Gi, nvidia.com/gpu: "2"}
            limits: {memory: 96Gi, nvidia.com/gpu: "2"}
          volumeMounts:
            - {name: shm, mountPath: /dev/shm}
            - {name: cache, mountPath: /home/vllm/.cache}
      volumes:
        - {name: shm, emptyDir: {medium: Memory, sizeLimit: 2Gi}}
        - {name: cache, persistentVolumeClaim: {claimName: cache}}
"""


def findings(text, least="info"):
    order = ("info", "warning", "error")
    report = vs.check_text(text)
    return {(item.code, item.line) for item in report.all_findings if order.index(item.severity) >= order.index(least)}


def test_a_good_deployment_has_remarks_only():
    report = vs.check_text(GOOD)

    assert report.fits is True
    assert report.servers[0].gpu_source == "the file's node selector"
    assert findings(GOOD, "warning") == set()


@pytest.mark.parametrize(
    ("before", "after", "code", "line"),
    [
        ("openai:v0.33.0", "openai:latest", "image-latest", 19),
        ('"2", --shutdown', "2, --shutdown", "number-in-args", 20),
        ('--tensor-parallel-size, "2"', '"--tensor-parallel-size 2"', "args-in-one-string", 20),
        ('--shutdown-timeout, "60", ', "", "no-drain", 18),
        ("PeriodSeconds: 90", "PeriodSeconds: 60", "grace-short", 15),
        ("{name: hf, key: token}}}", "{name: hf, key: token}}}\n            - {name: API_KEY, value: abc123}", "secret-in-plain-text", 23),
        ("startupProbe: {httpGet: {path: /health, port: http}, periodSeconds: 10, failureThreshold: 200}\n          ", "", "probe-short", 24),
        ("failureThreshold: 200", "failureThreshold: 2", "probe-kills-start", 24),
        ("failureThreshold: 200", "failureThreshold: 61", "probe-short", 24),
        ("timeoutSeconds: 10", "timeoutSeconds: 1", "probe-impatient", 25),
        ("readinessProbe: {httpGet: {path: /health", "readinessProbe: {httpGet: {path: /ready", "probe-path", 26),
        ("readinessProbe: {httpGet: {path: /health", "readinessProbe: {httpGet: {path: /v1/models", "probe-path", 26),
        ("          readinessProbe: {httpGet: {path: /health, port: http}}\n", "", "readiness-missing", 18),
        ("path: /health, port: 8000", "path: /health, port: 9000", "probe-port", 25),
        ("path: /health, port: 8000", "path: /health, port: web", "probe-port", 25),
        ('"99"]', '"99", --port, "8001"]', "probe-port", 24),
        ('"99"]', '"99", --headless]', "probe-on-worker", 24),
        ('limits: {memory: 96Gi, nvidia.com/gpu: "2"}', "limits: {memory: 96Gi}", "gpu-missing", 28),
        ('96Gi, nvidia.com/gpu: "2"', '96Gi, nvidia.com/gpu: "1"', "gpu-count", 30),
        ('96Gi, nvidia.com/gpu: "2"', '96Gi, nvidia.com/gpu: "4"', "gpus-idle", 30),
        ('64Gi, nvidia.com/gpu: "2"', '64Gi, nvidia.com/gpu: "4"', "gpu-request-differs", 29),
        ("memory: 96Gi", "memory: 96Gi, cpu: 4", "cpu-limit", 30),
        ("memory: 96Gi", "memory: 40 GB", "memory-limit", 30),
        ("memory: 96Gi", "memory: 60Gi", "memory-limit", 30),
        (
            'requests: {memory: 64Gi, nvidia.com/gpu: "2"}\n            limits: {memory: 96Gi',
            'requests: {nvidia.com/gpu: "2"}\n            limits: {memory: 8Gi',
            "memory-limit-tight",
            30,
        ),
        ("sizeLimit: 2Gi", "sizeLimit: 512Mi", "shared-memory", 35),
        ("sizeLimit: 2Gi", "sizeLimit: 800Mi", "shared-memory-tight", 35),
        ("            - {name: shm, mountPath: /dev/shm}\n", "", "shared-memory", 18),
        ("- {name: cache, persistentVolumeClaim: {claimName: cache}}", "", "volume-missing", 33),
        ("            - {name: cache, mountPath: /home/vllm/.cache}\n", "", "cache-lost", 18),
        ("strategy: {type: Recreate}", "strategy: {type: RollingUpdate}", "rollout-stuck", 7),
        ("progressDeadlineSeconds: 3000", "progressDeadlineSeconds: 600", "rollout-deadline", 6),
        ("labels: {app: qwen}", "labels: {app: q}", "selector-differs", 9),
        ("readinessProbe: {httpGet: {path: /health, port: http}}", "readinessProbe: {tcpSocket: {port: 9}}", "probe-port", 26),
        ("          livenessProbe: {httpGet: {path: /health, port: 8000}, periodSeconds: 15, timeoutSeconds: 10}\n", "", "liveness-missing", 18),
        ("lifecycle: {preStop: {sleep: {seconds: 15}}}", "lifecycle: {preStop: {exec: {command: [sh, -c, sleep 40]}}}", "grace-short", 15),
        ("livenessProbe:", "livenesProbe:", "unknown-key", 25),
        ("failureThreshold: 200", "failureThreshhold: 200", "unknown-key", 24),
        ("nodeSelector:", "nodeSelectors:", "unknown-key", 16),
        ('"60"', "12e4567", "number-in-args", 20),
        ("{name: hf, key: token}}}", "{name: hf, key: token}}}\n            - {name: A, value: 1}", "number-in-args", 23),
        ("enableServiceLinks: false", "hostNetwork: true", "privileged", 14),
        ("enableServiceLinks: false", "hostIPC: true", "host-ipc", 14),
        ("args: [Qwen/Qwen3-32B", "args: [vllm, serve, Qwen/Qwen3-32B", "program-repeated", 20),
        ("args: [Qwen/Qwen3-32B", "args: [$(MODEL)", "unknown-word", 20),
        ("NVIDIA-H100-80GB-HBM3", "NVIDIA-X9000", "gpu-not-known", 30),
    ],
)  # fmt: skip
def test_each_fault_is_found_where_it_is(before, after, code, line):
    assert before in GOOD

    found = findings(GOOD.replace(before, after))

    assert (code, line) in found
    assert (code, line) not in findings(GOOD)


def test_another_gpu_than_the_files_is_told():
    assert "gpu-differs" in {item.code for item in vs.check_text(GOOD, gpu="h200-sxm").all_findings}
    assert "gpu-differs" not in {item.code for item in vs.check_text(GOOD, gpu="h100-sxm").all_findings}


def test_a_shell_around_the_server_is_seen_through():
    words = "[sh, -c, 'vllm serve Qwen/Qwen3-32B -tp 2 --swap-space 4']"
    text = GOOD.replace("args: [", f"command: {words}\n          unused: [")

    assert {("shell-wrapper", 20), ("removed-flag", 20)} <= findings(text)


def test_a_script_in_a_block_has_its_own_lines():
    script = "command: [bash, -c]\n          args:\n            - |\n              set -e\n              exec vllm serve Qwen/Qwen3-32B \\\n                --swap-space 4\n"
    text = GOOD.replace("args: [", f"{script}          unused: [")

    assert ("removed-flag", 25) in findings(text)


def test_variables_of_the_container_are_put_in():
    text = GOOD.replace("Qwen/Qwen3-32B,", "$(MODEL),").replace(
        "env:\n", "env:\n            - {name: MODEL, value: Qwen/Qwen3-32B}\n"
    )

    assert vs.check_text(text).servers[0].model == "Qwen/Qwen3-32B"


def test_a_service_named_vllm_is_an_error_where_links_are_on():
    service = "---\nkind: Service\nmetadata: {name: vllm}\n"

    assert "service-variable" not in {code for code, _ in findings(GOOD + service)}
    assert ("service-variable", 39) in findings(
        GOOD.replace("enableServiceLinks: false", "restartPolicy: Always") + service
    )


def test_secrets_and_dead_metrics_are_found_in_any_object():
    text = (
        GOOD
        + "---\nkind: Secret\nstringData: {token: abcdef}\n---\nkind: ScaledObject\nspec: {query: 'vllm:gpu_cache_usage_perc > 1'}\n"
    )

    assert {("secret-in-plain-text", 39), ("dead-metric", 42)} <= findings(text)


def test_a_secret_that_is_filled_in_later_is_none():
    text = GOOD + "---\nkind: Secret\nstringData: {token: <your token>}\n"

    assert "secret-in-plain-text" not in {code for code, _ in findings(text)}


def test_a_pod_without_probes_is_told_of_two():
    text = "".join(line for line in GOOD.splitlines(keepends=True) if "Probe:" not in line)
    codes = {code for code, _ in findings(text) if code.startswith(("probe", "liveness", "readiness"))}

    assert codes == {"liveness-missing", "readiness-missing"}


def test_a_probe_that_runs_a_program_asks_no_port():
    probe = "livenessProbe: {exec: {command: [curl, localhost]}, timeoutSeconds: 10}"
    text = GOOD.replace(
        "livenessProbe: {httpGet: {path: /health, port: 8000}, periodSeconds: 15, timeoutSeconds: 10}", probe
    )

    assert probe in text
    assert not {code for code, _ in findings(text) if code.startswith("probe")}


def test_a_service_must_send_to_a_port_of_the_container():
    service = "---\nkind: Service\nmetadata: {name: s}\nspec: {selector: {app: qwen}, ports: [{port: 80, targetPort: PORT}]}\n"

    assert ("service-port", 40) in findings(GOOD + service.replace("PORT", "9000"))
    assert "service-port" not in {code for code, _ in findings(GOOD + service.replace("PORT", "http"))}
    assert "service-port" not in {
        code for code, _ in findings(GOOD + service.replace("app: qwen", "app: other").replace("PORT", "9"))
    }


def test_a_secret_anywhere_in_values_is_found_once():
    secret = "hf_" + "a1b2c3d4e5f6g7h8i9j0"
    text = f"servingEngineSpec: {{modelSpec: [{{modelURL: Qwen/Qwen3-8B, hf_token: {secret}}}]}}"
    twice = GOOD.replace("valueFrom: {secretKeyRef: {name: hf, key: token}}", f"value: {secret}")

    assert ("secret-in-plain-text", 1) in findings(text)
    assert [item.code for item in vs.check_text(twice).all_findings].count("secret-in-plain-text") == 1


def test_lists_and_workers_of_a_group_are_read():
    pod = yaml.safe_load(GOOD)["spec"]["template"]
    group = {
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "g"},
        "spec": {"leaderWorkerTemplate": {"size": 2, "leaderTemplate": pod, "workerTemplate": pod}},
    }
    text = yaml.safe_dump({"kind": "List", "items": [group]})

    report = vs.check_text(text)

    assert [server.num_nodes for server in report.servers] == [2, 2]


def test_claims_of_a_stateful_set_are_volumes():
    text = GOOD.replace("kind: Deployment", "kind: StatefulSet").replace(
        "        - {name: cache, persistentVolumeClaim: {claimName: cache}}\n", ""
    )
    text += "  volumeClaimTemplates: [{metadata: {name: cache}}]\n"

    assert "volume-missing" not in {code for code, _ in findings(text)}
