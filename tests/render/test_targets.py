"""
What single targets say and refuse.
"""

import json
import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import attrs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

import vllm_sizing as vs
from tests.render import matrix, samples, views
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.argv import plan_argv
from vllm_sizing.render.artifacts import ARTIFACTS
from vllm_sizing.render.deployment import deployment
from vllm_sizing.render.unit_file import unit_word
from vllm_sizing.render.yaml import to_yaml
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.gpu import Cluster, GpuSpec
from vllm_sizing.specs.workload import LatencyTarget, Workload

PLAN = matrix.plan("Qwen/Qwen3-8B", "h100-sxm", 1, 1, "0.33.0", {"max_model_len": 4096})
MI300X = GpuSpec(name="mi300x", vendor="amd", memory_bytes=2 * samples.H100.memory_bytes)


def over_nodes(version):
    return matrix.plan("Qwen/Qwen3-30B-A3B", "h100-sxm", 1, 2, version, {"tensor_parallel_size": 2})


def with_extra(*words):
    return attrs.evolve(PLAN, engine_args=attrs.evolve(PLAN.engine_args, extra_args=words))


@pytest.mark.parametrize("target", ["docker", "compose", "kubernetes", "helm", "kserve", "quadlet", "skypilot"])
def test_containers_are_for_nvidia(target):
    plan = attrs.evolve(PLAN, cluster=Cluster(gpu=MI300X))
    with pytest.raises(UnsupportedError, match="written for NVIDIA GPUs, and mi300x is none; command, script"):
        ARTIFACTS[target].render(plan)
    assert "vllm serve" in vs.render.script(plan)


@pytest.mark.parametrize("words", [("--uds", "/run/x"), ("--ssl-keyfile", "/k"), ("--headless",), ("--host", "::")])
def test_containers_need_a_server_that_probes_reach(words):
    with pytest.raises(UnsupportedError, match="plain HTTP"):
        vs.render.compose(with_extra(*words))


@pytest.mark.parametrize("target", ["kubernetes", "lws", "kuberay", "skypilot", "download", "keda", "alerts"])
def test_what_runs_elsewhere_cannot_mount_a_folder(target):
    with pytest.raises(UnsupportedError, match=f"{target} cannot mount a folder of one machine"):
        ARTIFACTS[target].render(matrix.named(PLAN, "/srv/models/m"))


@pytest.mark.parametrize("target", ["lws", "slurm"])
def test_several_nodes_on_ray_are_for_kuberay(target):
    for plan in (
        over_nodes("0.10.2"),
        attrs.evolve(over_nodes("0.33.0"), engine_args=EngineArgs(nnodes=2, distributed_executor_backend="ray")),
    ):
        with pytest.raises(UnsupportedError, match="kuberay can"):
            ARTIFACTS[target].render(plan)
    assert "numOfHosts" in vs.render.kuberay(over_nodes("0.10.2"))


def test_charts_choose_the_port():
    with pytest.raises(UnsupportedError, match="chooses the port itself"):
        vs.render.helm(with_extra("--port", "9000"))
    assert "127.0.0.1:9000:9000" in vs.render.compose(with_extra("--port", "9000"))


def test_long_contexts_are_words_for_helm():
    """
    Helm would write 1048576 of a values file as 1.048576e+06.
    """
    plan = attrs.evolve(PLAN, engine_args=attrs.evolve(PLAN.engine_args, max_model_len=1_048_576))
    (model,) = yaml.safe_load(vs.render.helm(plan))["servingEngineSpec"]["modelSpec"]
    assert "maxModelLen" not in model["vllmConfig"]
    assert model["vllmConfig"]["extraArgs"][:2] == ["--max-model-len", "1048576"]


def test_names_leave_room_for_those_of_the_chart():
    long = matrix.named(PLAN, "owner/" + "x" * 80)
    (model,) = yaml.safe_load(vs.render.helm(long))["servingEngineSpec"]["modelSpec"]
    assert len(model["name"]) <= 31
    (other,) = yaml.safe_load(vs.render.helm(matrix.named(PLAN, "owner/" + "x" * 81)))["servingEngineSpec"]["modelSpec"]
    assert model["name"] != other["name"]


def test_ray_that_lacks_an_argument_is_refused():
    plan = attrs.evolve(PLAN, engine_args=attrs.evolve(PLAN.engine_args, moe_backend="triton"), vllm_version="0.17.0")
    with pytest.raises(UnsupportedError, match=r"kuberay's image has vLLM 0\.15\.0: .*lws can"):
        vs.render.kuberay(plan)


def test_ray_takes_no_words():
    with pytest.raises(UnsupportedError, match="extra_args may be others"):
        vs.render.kuberay(with_extra("--seed", "7"))


def test_a_gpu_without_a_label_binds_no_node():
    plan = attrs.evolve(PLAN, cluster=Cluster(gpu=attrs.evolve(PLAN.gpu, product_names=("Unknown GPU",))))
    assert "affinity" not in vs.render.kubernetes(plan)
    assert "nodeSelectorTerms" not in vs.render.helm(plan)
    assert "acceleratorTypes" not in vs.render.llm_d(plan)


def test_a_gpu_that_no_cloud_rents_out_is_refused():
    plan = attrs.evolve(PLAN, cluster=Cluster(gpu=attrs.evolve(PLAN.gpu, name="h100-odd")))
    with pytest.raises(UnsupportedError, match="skypilot has no name for h100-odd"):
        vs.render.skypilot(plan)


def test_offloading_and_data_parallel_ranks_are_counted():
    plan = matrix.plan(
        "Qwen/Qwen3-30B-A3B", "h100-sxm", 4, 1, "0.33.0",
        {"tensor_parallel_size": 2, "data_parallel_size": 2, "cpu_offload_gb": 8, "max_model_len": 4096},
    )  # fmt: skip
    wanted = deployment(plan, "test")
    # vLLM: 10 x 16 MiB for the broadcast and 10 x 24 MiB a worker, for each engine; half a GiB for NCCL.
    assert wanted.shm_bytes == 2 * 2**30 >= 2 * (160 + 480) * 2**20 + 2**29
    assert wanted.memory_bytes == (4 + 4 * 4 + 4 * 8) * 2**30 + wanted.shm_bytes
    assert wanted.cpus == 2 * (2 + 2 + 4 + 1)
    assert dict(wanted.environment)["VLLM_ENGINE_READY_TIMEOUT_S"] == str(wanted.start_s)
    assert wanted.gpus == 4


@pytest.mark.parametrize(
    "words",
    [
        ("--no-enable-log-requests",),
        ("--enable-log-requests",),
        ("--structured-outputs-config.backend", "xgrammar"),
        ("--structured-outputs-config.backend=xgrammar", "--structured-outputs-config.disable_any_whitespace", "true"),
        ("--structured-outputs-config", '{"backend":"xgrammar"}'),
        ("--code-revision", "None"),
        ("--mm-processor-cache-gb", "0.00001"),
        ("--mm-processor-cache-gb=1e-05",),
        ("--max-logprobs=7",),
        ("--allowed-media-domains", "a.example", "b.example"),
    ],
)
def test_a_config_file_says_what_words_say(words):
    plan = with_extra(*words)
    found = views.meaning(views.read_config(vs.render.config(plan)["config.yaml"]), "0.33.0")

    assert found == views.meaning(plan_argv(plan)[2:], "0.33.0") | {"host": "127.0.0.1"}


def test_of_several_names_metrics_and_questions_use_the_first():
    plan = with_extra("--served-model-name", "first", "second")
    assert 'model_name=\\"first\\"' in vs.render.alerts(plan)
    assert '"model": "first"' in vs.render.smoke_test(plan)
    assert "--served-model-name first" in vs.render.bench(plan)


def test_a_report_without_estimates_says_so():
    text = vs.render.markdown(attrs.evolve(PLAN, performance=None, decisions=()))
    assert "Not estimated." in text
    assert "## Flags" not in text


def test_front_ends_wait_as_long_as_a_start_takes_wherever_there_are_several_engines():
    for args, told in (({"data_parallel_size": 2}, True), ({"tensor_parallel_size": 2}, False)):
        plan = matrix.plan("Qwen/Qwen3-30B-A3B", "h100-sxm", 2, 1, "0.33.0", {**args, "max_model_len": 4096})
        for target in (
            "script",
            "config",
            "docker",
            "compose",
            "kubernetes",
            "systemd",
            "quadlet",
            "slurm",
            "skypilot",
        ):
            text = "".join(ARTIFACTS[target].render(plan).values())
            assert ("VLLM_ENGINE_READY_TIMEOUT_S" in text) == told, target
            assert "VLLM_NO_USAGE_STATS" in text


# podman-systemd.unit(5), section [Container], of Podman 5.
QUADLET = (
    "AddCapability AddDevice AddHost Annotation AutoUpdate CgroupsMode ContainerName ContainersConfModule DNS DNSOption "
    "DNSSearch DropCapability Entrypoint Environment EnvironmentFile EnvironmentHost Exec ExposeHostPort GIDMap "
    "GlobalArgs Group GroupAdd HealthCmd HealthInterval HealthLogDestination HealthMaxLogCount HealthMaxLogSize "
    "HealthOnFailure HealthRetries HealthStartPeriod HealthStartupCmd HealthStartupInterval HealthStartupRetries "
    "HealthStartupSuccess HealthStartupTimeout HealthTimeout HostName Image IP IP6 Label LogDriver LogOpt Mask Memory "
    "Mount Network NetworkAlias NoNewPrivileges Notify PidsLimit Pod PodmanArgs PublishPort Pull ReadOnly "
    "ReadOnlyTmpfs ReloadCmd ReloadSignal Retry RetryDelay Rootfs RunInit SeccompProfile Secret SecurityLabelDisable "
    "SecurityLabelFileType SecurityLabelLevel SecurityLabelNested SecurityLabelType ShmSize StartWithPod StopSignal "
    "StopTimeout SubGIDMap SubUIDMap Sysctl Timezone Tmpfs UIDMap Ulimit Unmask User UserNS Volume WorkingDir"
)


def test_a_quadlet_has_keys_that_podman_knows_and_gpus_by_number():
    plan = matrix.plan("Qwen/Qwen3-8B", "h100-sxm", 2, 1, "0.33.0", {"tensor_parallel_size": 2})
    section = vs.render.quadlet(plan).partition("[Container]\n")[2].partition("\n[")[0]
    keys = [line.partition("=")[0] for line in section.splitlines() if line]
    assert set(keys) <= set(QUADLET.split())
    assert "AddDevice=nvidia.com/gpu=0\nAddDevice=nvidia.com/gpu=1\n" in section


def test_multimodal_caches_are_counted():
    words = ("--mm-processor-cache-type", "shm", "--mm-processor-cache-gb", "8")
    plan = attrs.evolve(samples.hybrid(), cluster=Cluster(gpu=samples.H100, num_gpus=16))
    plan = attrs.evolve(plan, engine_args=attrs.evolve(plan.engine_args, extra_args=words))
    wanted = deployment(plan, "test")
    assert wanted.shm_bytes == 16 * 2**30
    assert any("+ 8 GiB multimodal cache" in note for note in wanted.notes)
    assert any("16 GiB (multimodal)" in note for note in wanted.notes)


@pytest.mark.parametrize(
    ("changes", "seconds", "note"),
    [
        ({"performance": None}, 300, "is not known"),
        ({"vllm_version": "0.16.0"}, 0, "before 0.18 aborts"),
        ({"engine_args": attrs.evolve(PLAN.engine_args, extra_args=("--shutdown-timeout", "77"))}, 77, "as asked"),
    ],
)
def test_requests_get_time_to_end(changes, seconds, note):
    plan = attrs.evolve(PLAN, **changes)
    wanted = deployment(plan, "test")
    assert wanted.drain_s == seconds
    assert wanted.grace_s == seconds + 30
    assert any(text.startswith("Drain: ") and note in text for text in wanted.notes)
    assert wanted.words.count("--shutdown-timeout") == (0 if plan.vllm_version == "0.16.0" else 1)


def test_alerts_follow_the_target_or_the_estimate():
    target = attrs.evolve(PLAN, workload=Workload(target=LatencyTarget(ttft_ms=1500)))
    assert ") > 1.5" in vs.render.alerts(target)
    assert "is the target of the plan" in vs.render.alerts(target)
    unknown = attrs.evolve(PLAN, performance=None)
    assert "VllmSlowFirstToken" not in vs.render.alerts(unknown)
    assert "VllmSlowFirstToken" in vs.render.alerts(PLAN)


def test_several_nodes_scale_and_are_read_by_their_first():
    plan = over_nodes("0.33.0")
    scaled = yaml.safe_load(vs.render.keda(plan))
    assert scaled["spec"]["scaleTargetRef"]["kind"] == "LeaderWorkerSet"
    monitor = yaml.safe_load(vs.render.podmonitor(plan))
    assert monitor["spec"]["selector"]["matchLabels"]["vllm-sizing/role"] == "leader"
    claim, _ = yaml.safe_load_all(vs.render.download(plan))
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_a_download_asks_for_the_commit_and_only_for_ids():
    revision = "0123456789abcdef0123456789abcdef01234567"
    pinned = attrs.evolve(PLAN, engine_args=attrs.evolve(PLAN.engine_args, revision=revision))
    _, job = yaml.safe_load_all(vs.render.download(pinned))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"][-2:] == ["Qwen/Qwen3-8B", revision]
    compile(container["command"][2], "download", "exec")
    with pytest.raises(UnsupportedError, match="Hub id"):
        vs.render.download(matrix.named(PLAN, "no id"))


def bench_words(plan):
    return views.run(vs.render.bench(plan))


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash")
def test_the_benchmark_is_the_workload():
    words = bench_words(attrs.evolve(PLAN, workload=Workload(512, 64, 40)))
    assert words[:4] == ["bench", "serve", "--base-url", "http://127.0.0.1:8000"]
    assert words[words.index("--random-input-len") + 1] == "512"
    assert words[words.index("--random-output-len") + 1] == "64"
    assert words[words.index("--max-concurrency") + 1] == "40"
    assert words[words.index("--num-prompts") + 1] == "200"
    assert "--goodput" not in words


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash")
def test_the_benchmark_holds_rates_and_targets():
    workload = Workload(request_rate=2.5, target=LatencyTarget(ttft_ms=500, tpot_ms=20.5, e2el_ms=9000))
    words = bench_words(attrs.evolve(PLAN, workload=workload, performance=None))
    assert words[words.index("--request-rate") + 1] == "2.5"
    assert words[words.index("--goodput") + 1 :] == ["ttft:500", "tpot:20.5", "e2el:9000"]
    with pytest.raises(UnsupportedError, match="generated tokens"):
        vs.render.bench(samples.encoder_only())


class Server(BaseHTTPRequestHandler):
    """
    What a smoke test talks to.
    """

    answers = True

    def log_message(self, *_):
        """
        Say nothing.
        """

    def reply(self, body):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.reply(b"")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, asked, self.headers.get("Authorization")))
        self.reply(b'{"choices":[{"text":" 4"}],"data":[]}' if self.server.good else b"{}")


@pytest.fixture
def server():
    found = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    found.seen, found.good = [], True
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()
    thread.join()


def smoke(plan, server, *more, **environment):
    url = f"http://127.0.0.1:{server.server_port}"
    return subprocess.run(
        ["bash", "-c", vs.render.smoke_test(plan), "smoke-test.sh", url, *more],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


CURL = pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="bash and curl")


@CURL
def test_the_smoke_test_asks_and_compares(server, tmp_path):
    log = tmp_path / "vllm.log"
    log.write_text(f"INFO GPU KV cache size: {PLAN.kv_cache.size_tokens:,} tokens\n")

    done = smoke(PLAN, server, str(log), VLLM_API_KEY="k")

    assert done.stdout.splitlines()[-1] == "PASSED"
    assert "as planned" in done.stdout
    ((path, asked, key),) = server.seen
    assert (path, asked["model"], key) == ("/v1/completions", "Qwen/Qwen3-8B", "Bearer k")


@CURL
@pytest.mark.parametrize(("line", "words"), [("GPU KV cache size: 16 tokens", "planned were"), ("", "no line with")])
def test_the_smoke_test_fails_where_the_cache_is_another(server, tmp_path, line, words):
    (tmp_path / "log").write_text(line)

    done = smoke(PLAN, server, str(tmp_path / "log"))

    assert done.returncode == 1
    assert words in done.stderr


@CURL
def test_the_smoke_test_fails_where_the_answer_is_none(server):
    server.good = False
    assert "unexpected answer" in smoke(PLAN, server).stderr
    server.good = True
    assert smoke(samples.encoder_only(), server).returncode == 0
    assert server.seen[-1][0] == "/pooling"


VISIBLE = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), max_size=40)


@given(text=VISIBLE, key=VISIBLE)
def test_any_text_survives_yaml_for_readers_of_both_versions(text, key):
    written = to_yaml({key: [text, {"n": text}]})
    wanted = {key: [text, {"n": text}]}

    assert yaml.safe_load(written) == wanted
    assert YAML(typ="safe", pure=True).load(written) == wanted


@given(text=VISIBLE)
def test_any_text_survives_units(text):
    assert views.unit_words(f"Exec={unit_word(text)}\n", "Exec") == [text] or not text
