"""
Bad input and hostile values: 42 cases, each under its number.  Data stays data; what cannot be said is refused.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import yaml
from click.testing import CliRunner
from ruamel.yaml import YAML

import vllm_sizing as vs
from tests.render import matrix, views
from vllm_sizing.catalog.arguments import check_extra_args
from vllm_sizing.cli import main
from vllm_sizing.cli.files import File, write_files
from vllm_sizing.errors import InvalidValueError, SizingError, SourceError, UnsupportedError
from vllm_sizing.render.argv import plan_argv, to_argv
from vllm_sizing.render.artifacts import ARTIFACTS
from vllm_sizing.render.deployment import object_name
from vllm_sizing.render.markdown import escape
from vllm_sizing.render.prometheus import series
from vllm_sizing.render.yaml import to_yaml
from vllm_sizing.serialize import plan_from_dict, plan_to_dict
from vllm_sizing.sources.profile import parse_profile, profile_text

BASH = pytest.mark.skipif(os.name != "posix", reason="bash")
PLAN = matrix.plan("Qwen/Qwen3-8B", "h100-sxm", 1, 1, "0.33.0", {"max_model_len": 4096})
TWO_NODES = matrix.plan("Qwen/Qwen3-235B-A22B-FP8", "h100-sxm", 8, 2, "0.33.0", {"tensor_parallel_size": 16})
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz012345"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def named(name):
    return matrix.named(PLAN, name)


def with_args(**values):
    args = attrs.evolve(PLAN.engine_args, **values)
    return attrs.evolve(PLAN, engine_args=args, requested=vs.EngineArgs(**values))


def texts(plan):
    """
    Every file of every target that can express the plan.
    """
    for target, artifact in ARTIFACTS.items():
        try:
            found = artifact.render(plan)
        except SizingError:
            continue
        for name, text in found.items():
            yield f"{target}/{name}", text


@pytest.fixture
def run(tmp_path, monkeypatch):
    """
    The command line in an empty folder.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(*words):
        return CliRunner().invoke(main, [str(word) for word in words])

    return run


def generate(run, *words):
    return run("generate", "Qwen/Qwen3-8B", "--gpu", "h100-sxm", "-o", "out", *words)


@BASH
@pytest.mark.parametrize("target", ["script", "docker", "slurm", "command"])
@pytest.mark.parametrize("name", ["./m;touch P", "$(touch P)", "`touch P`", "${HF_TOKEN}"])
def test_case_01_and_02_a_name_is_one_word_and_runs_nothing(target, name):
    """
    The reader runs the file in an empty folder, and fails if anything is made there.
    """
    plan = named(name)
    if target == "slurm" and name.startswith("./"):
        with pytest.raises(UnsupportedError, match="full path"):
            ARTIFACTS[target].render(plan)
        return
    file = ARTIFACTS[target].file
    read, _ = views.VIEWS[target, file]
    assert read(ARTIFACTS[target].render(plan)[file])[0] == name


def test_case_02_dollars_are_doubled_where_a_reader_expands_them():
    plan = named("$HF_TOKEN")
    assert "$$HF_TOKEN" in vs.render.compose(plan)
    assert '"$$HF_TOKEN"' in vs.render.systemd(plan)
    assert "$$(X)" in vs.render.kubernetes(named("$(X)"))


@pytest.mark.parametrize("name", ["it's", 'say "so"', "back\\slash\\"])
def test_case_03_quotes_and_backslashes_survive_every_format(name):
    plan = named(name)
    for target in ("command", "config", "compose", "kubernetes", "systemd", "quadlet", "helm"):
        file = ARTIFACTS[target].file
        read, _ = views.VIEWS[target, file]
        words = read(ARTIFACTS[target].render(plan)[file])
        assert name in words


@pytest.mark.parametrize("mark", ["\n", "\0", "\x1b", "\x7f", "\u2028", "\u202e", "\u2066", "\r", "\t"])
@pytest.mark.parametrize("target", ARTIFACTS)
def test_case_04_what_nobody_sees_is_refused_or_shown(target, mark):
    if target in {"json", "report", "html", "kuberay"}:
        for text in ARTIFACTS[target].render(named("m")).values():
            assert mark not in text.replace("\n", "")
    else:
        with pytest.raises(InvalidValueError):
            ARTIFACTS[target].render(named(f"a{mark}b"))


def test_case_04_reports_show_it_and_steer_nothing():
    hostile = named("a\x1b[31m\u202eb\nc")
    for target in ("json", "report"):
        for text in ARTIFACTS[target].render(hostile).values():
            assert not set("\x1b\u202e") & set(text)
            assert "a" in text


@pytest.mark.parametrize("name", ["--host", "-x", "-"])
def test_case_05_a_name_is_no_option(name):
    with pytest.raises(InvalidValueError):
        plan_argv(named(name))
    with pytest.raises(InvalidValueError):
        plan_argv(with_args(served_model_name=name))


@pytest.mark.parametrize("text", ["a: b", "x #y", "*", "&a", "!tag", "{{ .Values.x }}", "- ", "~", "a\\nb", "%", "@x"])
def test_case_06_yaml_gives_back_the_text(text):
    for loaded in (yaml.safe_load(to_yaml({"k": text})), YAML(typ="safe", pure=True).load(to_yaml({"k": text}))):
        assert loaded == {"k": text}


@pytest.mark.parametrize("target", ["helm", "llm-d", "kserve", "kuberay"])
def test_case_06_templates_are_refused_in_values(target):
    with pytest.raises(UnsupportedError, match=r"\{\{|template|Hub id"):
        ARTIFACTS[target].render(named("{{ .Values.x }}"))


AMBIGUOUS = ("12e4567", "1e3", "08", "0o17", "yes", "null", "2026-01-01", "1:30", "0x1f", ".5", "1_000", "=", "<<", "y")


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_case_07_text_that_looks_like_another_type_is_quoted(text):
    written = to_yaml({"key": text})
    assert written == f'key: "{text}"\n'
    assert yaml.safe_load(written) == {"key": text}
    assert YAML(typ="safe", pure=True).load(written) == {"key": text}


def test_case_08_arguments_and_environment_of_kubernetes_are_text():
    for name, text in texts(PLAN):
        if not name.endswith(".yaml"):
            continue
        for document in yaml.safe_load_all(text):
            for found in re.findall(r"'(?:args|value)': (\[.*?\]|[^,}]+)", str(document)):
                values = yaml.safe_load(found) if found.startswith("[") else [found]
                assert all(isinstance(item, str) for item in values if not isinstance(item, dict)), (name, found)


@pytest.mark.parametrize(
    "values",
    [
        {"gpu_memory_utilization": float("nan")},
        {"gpu_memory_utilization": float("inf")},
        {"gpu_memory_utilization": 1.5},
        {"gpu_memory_utilization": -0.5},
        {"gpu_memory_utilization": 0},
        {"max_num_seqs": True},
        {"max_num_seqs": -1},
        {"tensor_parallel_size": 0},
        {"cpu_offload_gb": float("1e400")},
    ],
)
def test_case_09_numbers_that_are_none_are_refused(values):
    with pytest.raises(InvalidValueError, match=next(iter(values))):
        vs.EngineArgs(**values)


@pytest.mark.parametrize(
    ("value", "word"), [(0.92, "0.92"), (0.9, "0.9"), (1.0, "1"), (0.00001, "0.00001"), (0.92000001, "0.92000001")]
)
def test_case_09_fractions_are_written_without_exponent_and_as_given(value, word):
    assert to_argv("m", vs.EngineArgs(gpu_memory_utilization=value), "0.33.0")[-1] == word


def test_case_10_what_is_too_large_is_refused(run):
    with pytest.raises(SizingError, match="max_model_len"):
        vs.plan(matrix.model("Qwen/Qwen3-8B"), vs.find_gpu("l4"), engine_args=vs.EngineArgs(max_model_len=10**12))
    with pytest.raises(InvalidValueError, match="characters"):
        plan_argv(named("a" * 10**6))
    nested = "[" * 50_000
    assert generate(run, "--hf-overrides", nested).exit_code in {1, 2}
    assert not Path("out").exists()


@pytest.mark.parametrize("name", ["Qwen/Qwen3_8B", "a" * 200, "模型/三十二", "...", "vllm", "0", "-", "A" * 41, "a/b-"])
def test_case_11_object_names_are_dns_names(name):
    found = object_name(name)
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", found)
    assert len(found) <= 47  # room for -cache and -download
    assert found != "vllm"
    assert found == object_name(name)


def test_case_11_two_models_never_share_a_name():
    assert len({object_name(name) for name in ("a/b", "a_b", "A/B", "a-b", "a" * 200, "a" * 201)}) == 6


def test_case_12_labels_hold_the_slug_and_an_annotation_the_name():
    name = "owner/" + "long-" * 30
    (deployed,) = (one for one in yaml.safe_load_all(vs.render.kubernetes(named(name))) if one["kind"] == "Deployment")
    assert deployed["metadata"]["annotations"]["vllm-sizing/model"] == name
    assert all(len(value) <= 63 and "/" not in value for value in deployed["metadata"]["labels"].values())


def test_case_13_tokens_of_the_environment_reach_no_file(run, monkeypatch):
    for name in ("HF_TOKEN", "VLLM_API_KEY", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.setenv(name, TOKEN)
    result = generate(run, "--emit", "all")

    assert result.exit_code == 0
    assert TOKEN not in result.output
    assert not any(TOKEN in path.read_text() for path in Path("out").iterdir())
    assert "--hf-token" not in {name for param in main.get_command(None, "plan").params for name in param.opts}
    assert generate(run, "--hf-token", "x").exit_code == 2


@pytest.mark.parametrize("secret", [TOKEN, "sk-abcdefghijklmnopqrstuvwx", "-----BEGIN RSA PRIVATE KEY-----"])
@pytest.mark.parametrize(
    "flag", ["--extra-arg=--tokenizer={}", "--served-model-name={}", '--hf-overrides={{"a":"{}"}}']
)
def test_case_14_what_looks_like_a_secret_is_refused_and_not_repeated(run, flag, secret):
    result = generate(run, flag.format(secret))

    assert result.exit_code == 1
    assert "looks like a secret" in result.stderr
    assert secret not in result.output
    assert not Path("out").exists()


def test_case_15_the_example_of_the_secrets_is_empty_and_private(run):
    generate(run, "--emit", "config")

    example = Path("out/secrets.env.example")
    assert [line for line in example.read_text().splitlines() if line[0] != "#"] == ["HF_TOKEN=", "VLLM_API_KEY="]
    assert Path("out/.gitignore").read_text() == "secrets.env\n"
    assert os.name != "posix" or example.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_case_16_modes_are_tight_whatever_the_umask(run):
    umask = os.umask(0)
    try:
        generate(run, "--emit", "all")
    finally:
        os.umask(umask)
    assert Path("out").stat().st_mode & 0o777 == 0o755
    for path in Path("out").iterdir():
        assert path.stat().st_mode & 0o022 == 0
        assert bool(path.stat().st_mode & 0o100) == (path.suffix == ".sh")


def test_case_17_and_18_what_is_there_is_kept_without_force_and_replaced_with_it(run):
    Path("out").mkdir()
    for name in ("plan.json", "serve.sh", "other"):
        Path("out", name).write_text("mine")

    refused = generate(run)
    assert refused.exit_code == 1
    assert "serve.sh, plan.json" in refused.stderr
    assert Path("out/plan.json").read_text() == "mine"
    assert generate(run, "--force").exit_code == 0
    assert Path("out/other").read_text() == "mine"
    assert Path("out/plan.json").read_text() != "mine"
    assert generate(run).exit_code == 0  # the same text


def test_case_19_names_of_files_are_the_tools_own(run):
    every = {name for one in ARTIFACTS.values() for name in (one.file, *one.beside)}
    assert all(re.fullmatch(r"\.?[a-z][a-z.-]*", name) and ".." not in name for name in every)
    assert generate(run, "--emit", "../../etc/x").exit_code == 2
    assert not Path("out").exists()


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_case_20_links_are_never_followed(run):
    Path("mine").write_text("mine")
    Path("real").mkdir()
    Path("out").mkdir()
    Path("out/plan.json").symlink_to(Path("mine").resolve())
    Path("link").symlink_to("real")

    assert generate(run, "--force").exit_code == 1
    assert Path("mine").read_text() == "mine"
    assert run("generate", "Qwen/Qwen3-8B", "--gpu", "l4", "-o", "link").exit_code == 1
    assert not list(Path("real").iterdir())


def test_case_21_a_folder_that_cannot_be_written_is_told_and_nothing_is_left(run, monkeypatch):
    Path("out").write_text("a file")
    assert "there is a file in its place" in generate(run).stderr

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vllm_sizing.cli.files.os.fsync", full)
    with pytest.raises(SourceError, match="No space left"):
        write_files(Path("new"), [File(name="a", text="1"), File(name="b", text="2")])
    assert not Path("new").exists()


@pytest.mark.parametrize("name", ["/", "/etc", "/etc/x", "/root/m", "/home/me", "~/m", "../m", "/var/run/docker.sock"])
@pytest.mark.parametrize("target", ["docker", "compose", "quadlet"])
def test_case_22_folders_that_are_no_models_are_not_mounted(target, name):
    with pytest.raises(UnsupportedError):
        ARTIFACTS[target].render(named(name))


def test_case_22_a_models_folder_is_mounted_read_only():
    server = yaml.safe_load(vs.render.compose(named("/srv/models/m")))["services"]["server"]
    (mount,) = (volume for volume in server["volumes"] if volume["type"] == "bind")
    assert (mount["source"], mount["target"], mount["read_only"]) == ("/srv/models/m", "/srv/models/m", True)
    assert "target=/srv/models/m,readonly" in vs.render.docker(named("/srv/models/m"))
    assert "/srv/models/m:/srv/models/m:ro" in vs.render.quadlet(named("/srv/models/m"))


def test_case_23_paths_that_a_short_form_would_cut_are_refused_or_in_long_form():
    assert yaml.safe_load(vs.render.compose(named("/srv/a:b,c/m")))["services"]["server"]["volumes"][1]["source"] == (
        "/srv/a:b,c/m"
    )
    with pytest.raises(UnsupportedError, match="comma"):
        vs.render.docker(named("/srv/a,b/m"))
    with pytest.raises(UnsupportedError, match="colon"):
        vs.render.quadlet(named("/srv/a:b/m"))


@pytest.mark.parametrize("version", ["0.10.2", "0.22.0", "0.33.0"])
def test_case_24_and_38_images_are_of_the_planned_version(version):
    plan = matrix.plan("Qwen/Qwen3-8B", "h100-sxm", 1, 1, version, {"max_model_len": 4096})
    for name, text in texts(plan):
        for image in re.findall(r"[a-z./]*vllm-openai:[^\s\"]+", text):
            assert image.rpartition(":")[2] == f"v{version}", name
    ray = vs.render.kuberay(plan)
    inside = re.search(r"has vLLM ([0-9.]+),", ray)[1]
    assert (inside == version) != ray.startswith("# WARNING")


@pytest.mark.parametrize("target", sorted({target for target, _ in views.VIEWS} - {"command"}))
def test_case_25_code_of_a_repository_needs_a_commit_and_leaves_a_warning(target):
    with pytest.raises(UnsupportedError, match="trust_remote_code needs revision"):
        ARTIFACTS[target].render(with_args(trust_remote_code=True))
    for name, text in ARTIFACTS[target].render(with_args(trust_remote_code=True, revision=COMMIT)).items():
        if name not in {"kustomization.yaml", "vllm.env", "secrets.env.example", ".gitignore"}:
            assert "WARNING: trust_remote_code" in text
            assert COMMIT in text


def test_case_25_nothing_trusts_code_by_itself():
    assert not any("trust-remote-code" in " ".join(plan_argv(plan)) for plan in matrix.newest().values())


@pytest.mark.parametrize(
    "words",
    [
        ("--middleware", "a.b"),
        ("--worker-cls", "a.b"),
        ("--worker-extension-cls", "a.b"),
        ("--tool-parser-plugin", "p.py"),
        ("--reasoning-parser-plugin", "p.py"),
        ("--tool-server", "demo"),
        ("--allowed-local-media-path", "/"),
        ("--scheduler-cls", "a.b"),
        ("--logits-processors", "a.b"),
        ("--config", "c.yaml"),
        ("--speculative-config", '{"x_cls": "a.b"}'),
    ],
)
def test_case_26_what_loads_code_or_opens_the_disk_needs_a_word(run, words):
    result = generate(run, *(f"--extra-arg={word}" for word in words))
    assert result.exit_code == 1
    assert not Path("out").exists()


@pytest.mark.parametrize("words", [("--api-key", "x"), ("--hf-token", "x")])
def test_case_26_secrets_are_refused_even_then(words):
    with pytest.raises(UnsupportedError, match="environment variable"):
        check_extra_args(words, "0.33.0", vs.EngineArgs(), allow_unsafe=True)


@pytest.mark.parametrize("words", [("--nonsense", "1"), ("--swap-space", "4"), ("--max-num-seqs", "4"), ("word",)])
def test_case_26_unknown_removed_and_planned_flags_are_refused(words):
    with pytest.raises(UnsupportedError):
        check_extra_args(words, "0.33.0", vs.EngineArgs())


def test_case_26_code_behind_a_planned_flag_is_refused_too(run):
    result = generate(run, "--distributed-executor-backend", "evil.module.Class")
    assert result.exit_code == 1
    assert "load code" in result.stderr


def test_case_27_the_environment_is_the_tools_own():
    allowed = {"HOME", "HF_HOME", "VLLM_CACHE_ROOT", "VLLM_NO_USAGE_STATS", "VLLM_ENGINE_READY_TIMEOUT_S"}
    allowed |= {"HF_TOKEN", "VLLM_API_KEY"}
    for plan in (PLAN, TWO_NODES):
        for name, text in texts(plan):
            if name.endswith(".yaml") and not name.startswith(("json", "config")):
                found = set(re.findall(r"- name: ([A-Z][A-Z0-9_]+)$", text, re.MULTILINE))
                assert found <= allowed | {"VLLM_ADDITIONAL_ARGS"}, name
            assert not re.search(r"\b(LD_PRELOAD|PYTHONPATH|BASH_ENV|VLLM_SERVER_DEV_MODE)\b", text), name


@pytest.mark.parametrize("value", ["$(x)", "`x`", "a;b", "a|b", "a&b", "it's", "a\\b", "a b", 'a"b', "{a}", "a>b"])
def test_case_28_kserve_refuses_what_its_shell_would_evaluate(value):
    with pytest.raises(UnsupportedError, match="shell"):
        vs.render.kserve(with_args(served_model_name=value))


def test_case_29_paths_of_the_host_mean_nothing_in_a_container():
    for path in ("t.jinja", "./t.jinja", "~/t.jinja", "../t.jinja"):
        relative = with_args(extra_args=("--chat-template", path))
        with pytest.raises(UnsupportedError, match="full path there"):
            vs.render.compose(relative)
        assert path in vs.render.script(relative)
    absolute = with_args(extra_args=("--lora-modules", "a=/adapters/a"))
    assert "# lora_modules names /adapters/a, which must be in the image or mounted." in vs.render.kubernetes(absolute)


def test_case_29_json_is_one_word_in_one_form():
    one = with_args(speculative_config={"num_speculative_tokens": 3, "method": "ngram"})
    other = with_args(speculative_config={"method": "ngram", "num_speculative_tokens": 3})
    assert plan_argv(one) == plan_argv(other)
    assert '{"method":"ngram","num_speculative_tokens":3}' in plan_argv(one)


@pytest.mark.parametrize(
    "text",
    [
        "model: a\nmodel: b\n",
        "model: a\nnonsense: 1\n",
        "a: &a [x, x]\nmodel: *a\n",
        "model: !!python/object/apply:os.system [id]\n",
        "[]",
        "model: a\n" * 20_000,
    ],
)
def test_case_30_profiles_that_are_no_profiles_are_refused(text):
    with pytest.raises(SizingError):
        parse_profile(f"profile_version: 1\ngpu: l4\n{text}".encode())


@pytest.mark.parametrize("version", ["", "profile_version: 2\n", "profile_version: true\n", "profile_version: '1'\n"])
def test_case_30_versions_of_profiles_that_are_unknown_are_refused(version):
    with pytest.raises(SourceError, match="profile_version"):
        parse_profile(f"{version}model: a\ngpu: l4\n".encode())


def test_case_31_a_plan_that_was_edited_is_checked_again():
    data = json.loads(json.dumps(plan_to_dict(PLAN, full=True)))
    assert plan_from_dict(data) == PLAN
    for path, value in (("fits", "yes"), ("vllm_version", 33), ("nonsense", 1), ("workload", {"concurrency": -1})):
        with pytest.raises(InvalidValueError, match=path):
            plan_from_dict(data | {path: value})


def test_case_32_what_does_not_fit_is_not_written(run):
    words = ("generate", "Qwen/Qwen3-32B", "--gpu", "l4", "-o", "out")
    assert run(*words).exit_code == 3
    assert not Path("out").exists()
    assert run(*words, "--render-anyway").exit_code == 3
    assert "WARNING: the plan does not fit" in Path("out/serve.sh").read_text()


def test_case_33_what_was_asked_for_is_what_is_written():
    for name, plan in matrix.newest().items():
        given = plan.requested.fixed()
        assert {key: getattr(plan.engine_args, key) for key in given} == given, name


def test_case_33_files_and_profile_agree(run):
    generate(run, "--max-model-len", "8k", "--emit", "script,profile,json")
    profile = parse_profile(Path("out/profile.yaml").read_bytes())
    assert profile.engine_args.max_model_len == 8000
    assert "--max-model-len 8000" in Path("out/serve.sh").read_text()
    assert profile_text(profile) == Path("out/profile.yaml").read_text()


@pytest.mark.parametrize("target", ["docker", "compose", "kubernetes", "helm", "llm-d", "kserve", "systemd", "config"])
def test_case_34_a_target_that_cannot_express_the_plan_names_those_that_can(target):
    with pytest.raises(UnsupportedError, match=r"(lws|slurm).*can") as error:
        ARTIFACTS[target].render(TWO_NODES)
    able = set(re.findall(r"[a-z-]+", error.value.message.partition(";")[2])) & set(ARTIFACTS)
    assert able
    for name in able:
        assert ARTIFACTS[name].render(TWO_NODES)


def test_case_34_unknown_targets_are_refused_with_the_known_ones(run):
    result = generate(run, "--emit", "kubernetesx")
    assert result.exit_code == 2
    assert "kubernetes" in result.stderr


def test_case_35_nothing_faces_the_world_by_default():
    assert "127.0.0.1:8000:8000" in vs.render.compose(PLAN)
    assert "--publish 127.0.0.1:8000:8000" in vs.render.docker(PLAN)
    assert "PublishPort=127.0.0.1:8000:8000" in vs.render.quadlet(PLAN)
    assert "--host 127.0.0.1" in vs.render.systemd(PLAN)
    assert 'if [ -z "${VLLM_API_KEY:-}" ]; then args+=(--host 127.0.0.1); fi' in vs.render.script(PLAN)
    assert 'host: "127.0.0.1"' in vs.render.config(PLAN)["config.yaml"]
    kinds = {one["kind"] for one in yaml.safe_load_all(vs.render.kubernetes(PLAN))}
    assert "NetworkPolicy" in kinds
    assert "Ingress" not in kinds
    for target in ("slurm", "skypilot"):
        assert '"${VLLM_API_KEY:?' in "".join(ARTIFACTS[target].render(PLAN).values())


def test_case_36_nothing_reaches_the_host():
    for plan in (PLAN, TWO_NODES):
        for name, text in texts(plan):
            lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
            assert not re.search(
                r"privileged|hostNetwork|hostIPC|hostPath|docker\.sock|--ipc|ipc:", "\n".join(lines)
            ), name


def test_case_37_equal_plans_give_equal_bytes_in_any_process():
    code = (
        "from tests.render.test_bad_input import PLAN, texts; from hashlib import sha256; "
        "print(sha256(repr(sorted(texts(PLAN))).encode()).hexdigest())"
    )
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC+{seed}", "USER": f"u{seed}"}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1


def test_case_37_heads_say_by_whom_and_for_what():
    for name, text in texts(PLAN):
        if name.split("/")[1] in {
            "command.txt",
            "plan.json",
            "report.html",
            "kustomization.yaml",
            "vllm.env",
            ".gitignore",
        }:
            continue
        if "secrets" not in name:
            assert re.search(r"[Ww]ritten by vllm-sizing \S+ for vLLM 0\.33\.0; plan [0-9a-f]{12}", text), name


def test_case_39_percent_and_dollar_are_doubled_in_units():
    for target in ("systemd", "quadlet"):
        (text,) = ARTIFACTS[target].render(named("100%h $HOME")).values()
        assert '"100%%h $$HOME"' in text


def test_case_39_patterns_of_slurm_hold_the_slug_only():
    text = vs.render.slurm(named("a%j b"))
    assert re.findall(r"^#SBATCH --(?:job-name|output)=(.*)$", text, re.MULTILINE) == [
        object_name("a%j b"),
        "%x-%j.log",
    ]


def test_case_40_a_name_cannot_end_a_query():
    assert series(named('a"} or up{x="\\'), "m") == 'vllm:m{model_name="a\\"} or up{x=\\"\\\\"}'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a\\|b"),
        ("=1+1", "\\=1+1"),
        ("<script>", "\\<script\\>"),
        ("\x1b[2J", "\\\\x1b\\[2J"),
        ("`x`", "\\`x\\`"),
        ("[a](b)", "\\[a\\](b)"),
    ],
)
def test_case_41_markdown_shows_text_as_it_is(text, shown):
    assert escape(text) == shown


def test_case_41_the_command_in_a_report_ends_where_it_ends():
    text = vs.render.markdown(named("a ```` b"))
    assert "`````bash" in text


def test_case_42_hostile_files_are_never_run_or_unfolded():
    """
    Profiles are the files that this part reads; those of ``check`` are tested beside it.
    """
    bomb = "a: &a [x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(20))
    for text in (bomb, "x" * 200_000, "!!python/object:os.system {}", "{" * 5000):
        with pytest.raises(SizingError):
            parse_profile(text.encode())


def test_every_case_has_a_test():
    numbers = {
        int(number) for name in globals() if name.startswith("test_case_") for number in re.findall(r"\d\d", name)
    }
    assert numbers == set(range(1, 43))
