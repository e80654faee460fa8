"""
Whole files: what is found in them, in which line, and what the plan says.
"""

import attrs
import pytest

import vllm_sizing as vs

PLAIN = "vllm serve Qwen/Qwen3-8B --max-model-len 16k"


def check(text, gpu="l4", **more):
    return vs.check_text(text, gpu=gpu, **more)


def found(report, *, least="info"):
    rank = ("info", "warning", "error")
    return {(item.code, item.line) for item in report.all_findings if rank.index(item.severity) >= rank.index(least)}


def codes(report):
    return {item.code for item in report.all_findings}


def test_a_command_that_stays_refused_is_not_called_corrected():
    report = vs.check_text("vllm serve Qwen/Qwen3-8B --max-model-len 200000", gpu="l4")
    assert "refused" in codes(report)
    assert report.servers[0].corrected == ()
    assert "numbers" not in vs.render.check_console(report)


def test_a_command_gives_the_numbers_of_plan_with_the_same_arguments():
    args = vs.EngineArgs(max_model_len=16_000, tensor_parallel_size=1)
    planned = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("l4"), engine_args=args)

    server = check(PLAIN).servers[0]

    assert server.plan.memory == planned.memory
    assert server.plan.kv_cache == planned.kv_cache
    assert server.engine_args == vs.EngineArgs(max_model_len=16_000)


def test_what_the_command_leaves_open_is_vllms_default_and_not_a_decision():
    """
    `plan` would shorten the context and use both GPUs; vLLM does neither.
    """
    report = check("vllm serve Qwen/Qwen3-8B", num_gpus=2)

    assert report.fits is False
    assert report.servers[0].plan.engine_args.max_model_len == 40_960
    assert report.servers[0].plan.engine_args.tensor_parallel_size == 1
    assert {"does-not-fit-max-model-len", "gpus-idle"} <= codes(report)
    assert [waste.name for waste in report.servers[0].waste] == ["idle-gpus"]


def test_max_num_seqs_is_not_raised_for_the_workload():
    report = check(PLAIN, workload=vs.Workload(100, 100, 5000))

    assert report.servers[0].plan.engine_args.max_num_seqs == 256
    assert "max-num-seqs-below-concurrency" in codes(report)


def test_the_corrected_command_of_one_that_does_not_fit_fits():
    report = check("vllm serve Qwen/Qwen3-8B --max-model-len 40000 --swap-space 4")
    assert report.fits is False

    again = check(" ".join(report.servers[0].corrected))

    assert again.fits is True
    assert not found(again, least="error")


def test_a_model_as_a_flag_is_the_model():
    report = check("python3 -m vllm.entrypoints.openai.api_server --model Qwen/Qwen3-8B --max-model-len=16k")

    assert (report.servers[0].model, report.fits) == ("Qwen/Qwen3-8B", True)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("vllm serve", "default-model"),
        ("vllm serve --api-key k Qwen/Qwen3-8B", "words-swallowed"),
        ("python -m vllm.entrypoints.openai.api_server Qwen/Qwen3-8B", "model-flag"),
        ("docker run --gpus all vllm/vllm-openai:v0.10.0 Qwen/Qwen3-8B", "model-flag"),
        ("docker run --gpus all vllm/vllm-openai:v0.20.0 vllm serve Qwen/Qwen3-8B", "program-repeated"),
        ("docker run vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B", "gpu-missing"),
        ("docker run --gpus all vllm/vllm-openai Qwen/Qwen3-8B", "image-latest"),
        ("docker run --gpus all vllm/vllm-openai:latest Qwen/Qwen3-8B", "image-latest"),
        ("docker run --gpus all Vllm/vllm:v1 Qwen/Qwen3-8B", "image-invalid"),
        ("docker run --gpus all vllm/vllm-openai:v0.99.0 Qwen/Qwen3-8B", "version-not-known"),
        ("docker run --gpus all -p 8000:8000 vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B", "wide-open"),
        ("docker run --gpus all -e HF_TOKEN=abcdef vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B", "secret-in-plain-text"),
        ("docker run --gpus all --ipc=host vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B -tp 2", "host-ipc"),
        ("docker run --gpus all vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B -tp 2", "shared-memory"),
        ("docker run --gpus all --shm-size 700m vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B -tp 2", "shared-memory-tight"),
        ("docker run --gpus 1 vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B -tp 2", "gpu-count"),
        ("docker run --gpus all --privileged vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B", "privileged"),
        ("docker run --gpus all vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B", "no-drain"),
        ("docker run --gpus all vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B --shutdown-timeout 60", "grace-short"),
        ("VLLM_USE_V1=1 vllm serve Qwen/Qwen3-8B", "dead-variable"),
        ("HUGGING_FACE_HUB_TOKEN=$T vllm serve Qwen/Qwen3-8B", "old-variable"),
        ("VLLM_SERVER_DEV_MODE=1 vllm serve Qwen/Qwen3-8B", "risky-variable"),
        ("vllm serve Qwen/Qwen3-8B --revision hf_abcdefghijklmnopqrst", "secret-in-plain-text"),
        ("vllm serve Qwen/Qwen3-8B --enforce-eager", "eager"),
        ("vllm serve Qwen/Qwen3-8B --enforce-eager --max-cudagraph-capture-size 8", "ignored-flag"),
        ("vllm serve Qwen/Qwen3-8B --max-loras 2", "ignored-flag"),
        ("vllm serve Qwen/Qwen3-8B --kv-cache-memory-bytes 4G --gpu-memory-utilization 0.9", "ignored-flag"),
        ("vllm serve Qwen/Qwen3-8B --no-enable-prefix-caching", "speed-switched-off"),
        ("vllm serve Qwen/Qwen3-8B --port 99999", "value-refused"),
        ("vllm serve Qwen/Qwen3-8B --trust-remote-code", "unpinned-code"),
        ("vllm serve Qwen/Qwen3-8B", "unpinned-revision"),
        ("vllm serve Qwen/Qwen3-8B", "unbounded-queue"),
        ("vllm serve Qwen/Qwen3-8B extra", "stray-word"),
        ("vllm serve Qwen/Qwen3-8B --config=f.yaml", "config-file-ignored"),
        ("vllm serve Qwen/Qwen3-8B -dp 2 --data-parallel-external-lb", "refused"),
        ("vllm serve Qwen/Qwen3-8B -tp 2 --nnodes 3", "refused"),
        ("VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 vllm serve Qwen/Qwen3-8B --max-model-len 400000", "flag-not-modelled"),
        ("vllm serve Qwen/Qwen3-8B $MORE", "unknown-word"),
        ("vllm serve --served-model-name n --enforce-eager Qwen/Qwen3-8B", "refused"),
        ("vllm serve --model Qwen/Qwen3-8B", "deprecated-flag"),
        ("vllm serve Qwen/Qwen3-8B --max-num-seqs 4 --max-num-seqs 8", "flag-given-twice"),
        ("vllm serve Qwen/Qwen3-8B --enable-auto-tool-choice", "refused"),
        ("vllm serve Qwen/Qwen3-8B --max-model-len 400000", "refused"),
        ("vllm serve Qwen/Qwen3-8B -tp 3", "refused"),
        ("vllm serve $MODEL", "unknown-word"),
        ("vllm serve $MODEL", "model-not-known"),
        ("vllm serve no/such-model-here", "model-not-known"),
        ("for i in 1 2; do vllm serve Qwen/Qwen3-8B; done", "sometimes"),
        ("docker run --gpus all vllm/vllm-openai:v0.20.0 /models/m", "model-not-known"),
        ("echo nothing", "no-server"),
        (
            "docker run --gpus all --entrypoint bash vllm/vllm-openai:v0.20.0 -c 'vllm serve Qwen/Qwen3-8B'",
            "shell-wrapper",
        ),
    ],
)
def test_what_is_wrong_with_a_command_is_found(text, code, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    assert code in codes(check(text))


def test_a_key_closes_the_port():
    words = "-p 8000:8000 vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B"

    assert "wide-open" not in codes(check(f"docker run --gpus all -e VLLM_API_KEY {words}"))


def test_no_secret_is_shown_again(monkeypatch):
    secret = "hf_" + "abcdefghijklmnopqrst"
    text = f"HF_TOKEN={secret} vllm serve Qwen/Qwen3-8B --hf-token {secret} --api-key {secret}"

    report = check(text)

    for shown in (vs.render.check_console(report), vs.render.sarif(report), vs.render.check_json(report)):
        assert secret not in shown


def test_without_a_gpu_nothing_is_planned_and_the_rest_is_checked():
    report = check("vllm serve Qwen/Qwen3-8B --swap-space 4", gpu=None)

    assert report.fits is None
    assert {"gpu-not-known", "removed-flag"} <= codes(report)


@pytest.mark.parametrize(
    ("text", "more", "version", "source"),
    [
        (PLAIN, {}, "0.33.0", "the newest one, because nothing says which"),
        (PLAIN, {"vllm_version": "0.12.0"}, "0.12.0", "given"),
        (PLAIN, {"log": "vLLM API server version 0.20.1\n"}, "0.20.1", "the log"),
        ("docker run --gpus 1 x/vllm:v0.11.2-cu129 m", {}, "0.11.2", "tag of x/vllm:v0.11.2-cu129"),
        ("docker run --gpus 1 x/vllm:v0.6.3 m", {}, "0.8.0", "the known one that is nearest to 0.6.3"),
        ("docker run --gpus 1 x/vllm:v0.99.0 m", {}, "0.33.0", "the known one that is nearest to 0.99.0"),
        ("docker run --gpus 1 x/vllm:nightly m", {}, "0.33.0", "the newest one, because nothing says which"),
    ],
)
def test_the_version_says_where_it_comes_from(text, more, version, source, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    server = check(text, **more).servers[0]

    assert (server.vllm_version, server.version_source) == (version, source)


def test_a_tag_that_is_no_release_is_told():
    assert "version-not-known" in codes(check("docker run --gpus 1 x/vllm:nightly Qwen/Qwen3-8B"))
    assert "version-not-known" not in codes(check("docker run --gpus 1 x/vllm:nightly m", vllm_version="0.33.0"))


def test_a_pinned_revision_that_cannot_be_read_is_told(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    report = check(f"{PLAIN} --revision {'0' * 40}")

    assert report.fits is True
    assert "revision-not-read" in codes(report)
    assert "model-not-known" in codes(check(f"vllm serve no/such-model-here --revision {'0' * 40}"))


def test_what_does_not_fit_says_what_would():
    report = check("vllm serve Qwen/Qwen3-8B --max-model-len 40000")

    (item,) = [item for item in report.all_findings if item.code.startswith("does-not-fit")]
    assert item.hint.startswith("it fits with max_model_len ")


def test_another_version_than_the_images_is_told():
    report = check("docker run --gpus 1 x/vllm:v0.11.2 --model Qwen/Qwen3-8B", vllm_version="0.12.0")

    assert "version-differs" in codes(report)


def test_a_model_can_be_given_for_a_folder_in_the_container():
    text = "docker run --gpus 1 vllm/vllm-openai:v0.33.0 /models/m --max-model-len 16k"

    assert check(text, model="Qwen/Qwen3-8B").fits is True


def test_unknown_words_stay_in_the_corrected_command():
    server = check("vllm serve Qwen/Qwen3-8B --port $PORT --swap-space 4 --max-model-len 16k").servers[0]

    assert server.corrected == ("vllm", "serve", "Qwen/Qwen3-8B", "--port", "$PORT", "--max-model-len", "16k")
    assert [item.severity for item in server.findings if item.code == "unknown-word"] == ["info"]


def test_waste_is_told_in_bytes():
    names = {
        waste.name: waste.num_bytes
        for waste in check(f"{PLAIN} --gpu-memory-utilization 0.5 --max-num-seqs 1", gpu="h100-sxm").servers[0].waste
    }

    assert names.keys() == {"unused-gpu-memory", "unreachable-kv-cache"}
    assert names["unused-gpu-memory"] == int(0.42 * vs.find_gpu("h100-sxm").memory_bytes)


def test_values_are_frozen_and_equal_by_value():
    report = check(PLAIN)

    assert report == check(PLAIN)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        report.kind = "x"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("$ARGS", "$ARGS"),
        ("${ARGS}", "${ARGS}"),
        ('--port "$PORT"', "--port $PORT"),
        ('--host "$A.$B"', '--host "$A.$B"'),
        ('"${A[@]}"', '"${A[@]}"'),
        ("--host $(id)", "--host '$(id)'"),
        ("--served-model-name '$x y'", "--served-model-name '$x y'"),
    ],
)
def test_variables_stay_variables_in_the_corrected_text(words, text):
    server = check(f"{PLAIN} {words}").servers[0]

    assert server.corrected_text == f"{PLAIN} {text}"


def test_json_over_several_lines_is_one_value():
    server = check(
        PLAIN
        + """ --limit-mm-per-prompt '{
      "image": 2}' --speculative-config='{"method": "ngram",
      "num_speculative_tokens": 2, "prompt_lookup_max": 3}' --hf-overrides '{
      x'"""
    ).servers[0]

    assert [item.code for item in server.findings if item.severity == "error"] == ["value-refused"]
    assert server.engine_args.speculative_config is not None


def test_other_text_over_several_lines_is_told():
    (item,) = [item for item in check(PLAIN + " --served-model-name 'a\nb'").all_findings if item.severity == "error"]

    assert item.message == r"'a\nb' has a line break or a control character; take it out"


def test_a_backslash_that_does_not_continue_is_told():
    report = check("vllm serve Qwen/Qwen3-8B \\  # the model\n  --max-model-len 16k")

    assert [item.message for item in report.all_findings if item.code == "stray-word"] == [
        "a backslash with a blank behind it does not continue the line: the command ends here"
    ]


def test_placeholders_are_no_secrets():
    for value in ("hf_xxxx", "hf_...", "<token>", "$TOKEN", "your-token", "sk-xxxx", "xxx"):
        assert "secret-in-plain-text" not in codes(check(f"HF_TOKEN='{value}' {PLAIN}"))


def test_unknown_words_stay_where_something_else_must_change():
    server = check("vllm serve Qwen/Qwen3-8B --port $PORT --max-model-len 40000").servers[0]

    assert server.corrected[:5] == ("vllm", "serve", "Qwen/Qwen3-8B", "--port", "$PORT")
    assert server.corrected[-2] == "--max-model-len"


def test_a_flag_that_begins_with_what_is_unknown():
    assert "unknown-word" in codes(check("vllm serve Qwen/Qwen3-8B --$FLAG"))


def test_a_plan_that_no_deployment_can_be_computed_for_is_still_checked(monkeypatch):
    def refuse(*args, **more):
        raise vs.UnsupportedError("x", field="emit")

    monkeypatch.setattr("vllm_sizing.checks.needs.deployment", refuse)

    report = check("docker run --gpus all vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B -tp 2", gpu="h100-sxm")

    assert report.fits is True
    assert "shared-memory" not in codes(report)


def test_the_multimodal_cache_in_shared_memory_counts():
    text = "docker run --gpus all --shm-size 3g vllm/vllm-openai:v0.20.0 Qwen/Qwen3-8B --mm-processor-cache-type shm"

    assert "shared-memory" in codes(check(text))


def test_the_report_shows_waste_log_and_an_unknown_verdict():
    log = "GPU KV cache size: 9 tokens\nMaximum concurrency for 16,000 tokens per request: 1.83x\n"
    shown = vs.render.check_console(check(f"{PLAIN} --max-num-seqs 1", log=log))
    unknown = vs.render.check_console(check("vllm serve --served-model-name ü", gpu=None), ascii_only=True)

    assert "unreachable-kv-cache" in shown
    assert "kv cache tokens" in shown
    assert unknown.startswith("NOT KNOWN")
    assert vs.render.check_console(check("vllm serve Qwen/Qwen3-8B --served-model-name ü"), ascii_only=True).isascii()


def test_auto_means_a_gpu_of_this_machine(monkeypatch):
    import types

    cluster = vs.Cluster(gpu=attrs.evolve(vs.find_gpu("l4"), free_memory_bytes=2**30))
    machine = types.SimpleNamespace(cluster=lambda: cluster)
    monkeypatch.setattr("vllm_sizing.sources.gpus.detect_machine", lambda: machine)

    report = check(PLAIN, gpu="auto")

    assert (report.servers[0].gpu, report.servers[0].gpu_source) == ("l4", "given")
    assert "does-not-fit-not-free" in codes(report)


def test_the_visible_devices_are_the_gpus():
    assert "gpu-count" in codes(check("CUDA_VISIBLE_DEVICES=0 vllm serve Qwen/Qwen3-8B -tp 2"))
    assert "gpus-idle" in codes(check("CUDA_VISIBLE_DEVICES=0,1 vllm serve Qwen/Qwen3-8B"))


@pytest.mark.parametrize("devices", ["all", "none", ""])
def test_devices_that_are_not_listed_are_not_counted(devices):
    server = check(f"NVIDIA_VISIBLE_DEVICES={devices} CUDA_VISIBLE_DEVICES=0,1 vllm serve Qwen/Qwen3-8B").servers[0]

    assert server.num_gpus == 2


def test_a_version_that_is_given_outweighs_an_image_that_is_not_known():
    server = check("docker run --gpus 1 x/vllm:v0.99.0 m", vllm_version="0.33.0", model="Qwen/Qwen3-8B").servers[0]

    assert (server.vllm_version, server.version_source) == ("0.33.0", "given")
    assert "version-not-known" in {item.code for item in server.findings}


def test_a_pool_that_is_given_has_no_interval():
    shown = vs.render.check_console(check(f"{PLAIN} --kv-cache-memory-bytes 4G", gpu="h100-sxm"))
    row = next(line for line in shown.splitlines() if line.split()[:2] == ["KV", "cache"])

    assert row.split()[2:] == ["4.00", "GiB", "exact"]


def test_a_report_without_findings_has_no_place_for_them():
    report = check(PLAIN)
    bare = attrs.evolve(report, servers=tuple(attrs.evolve(server, findings=()) for server in report.servers))
    titles = [
        [line for line in vs.render.check_console(each).splitlines() if line == "Findings"] for each in (report, bare)
    ]

    assert titles == [["Findings"], []]
