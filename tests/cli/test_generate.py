"""
`generate`: all files or none, and none where the model does not fit.
"""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

import vllm_sizing as vs
from vllm_sizing.render.artifacts import ARTIFACTS
from vllm_sizing.sources.profile import read_profile

WORDS = ("Qwen/Qwen3-8B", "--gpu", "2xh100-sxm")
ALL = {name for artifact in ARTIFACTS.values() for name in (artifact.file, *artifact.beside)} | {"profile.yaml"}
PROGRAMS = {artifact.file for artifact in ARTIFACTS.values() if artifact.executable}


def names(folder):
    return {path.name for path in Path(folder).iterdir()}


def test_the_default_is_script_plan_and_profile(run):
    result = run("generate", *WORDS, "-o", "out")

    assert result.exit_code == 0
    paths = [str(Path("out") / name) for name in ("serve.sh", "plan.json", "profile.yaml")]
    assert result.stdout.splitlines() == paths
    assert result.stderr.startswith("FITS ")
    assert names("out") == {"serve.sh", "plan.json", "profile.yaml"}


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["--emit", "all"], ALL),
        (["--emit", "command"], {"command.txt"}),
        (["--emit", "command, json"], {"command.txt", "plan.json"}),
        (["--emit", "command", "--emit", "report,command"], {"command.txt", "report.md"}),
        (["--emit", "all,json"], ALL),
    ],
)
def test_emit_chooses_the_files(run, words, files):
    result = run("generate", *WORDS, "-o", "out", *words)

    assert names("out") == files
    assert len(result.stdout.splitlines()) == len(files)


def test_the_files_are_what_the_renderers_give(run):
    run("generate", *WORDS, "-o", "out", "--emit", "all")

    plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"), num_gpus=2)
    assert Path("out/command.txt").read_bytes() == vs.render.command(plan).encode()
    assert Path("out/serve.sh").read_bytes() == vs.render.script(plan).encode()
    assert Path("out/plan.json").read_bytes() == vs.render.json(plan).encode()
    assert Path("out/report.md").read_bytes() == vs.render.markdown(plan).encode()
    assert read_profile("out/profile.yaml") == vs.PlanRequest(model=WORDS[0], gpu="h100-sxm", num_gpus=2)


def test_json_lists_the_files(run):
    data = json.loads(run("generate", *WORDS, "-o", "out", "--emit", "json", "--json").stdout)

    assert data["fits"] is True
    assert data["files"] == [str(Path("out/plan.json"))]


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_what_does_not_fit_writes_nothing(run, words):
    result = run("generate", "Qwen/Qwen3-32B", "--gpu", "l4", "-o", "out", *words)

    assert result.exit_code == 3
    assert not Path("out").exists()
    assert result.stderr.startswith("DOES NOT FIT: ")
    assert result.stderr.count("\n") == 1
    assert "It would fit with" in result.stderr
    if words:
        assert json.loads(result.stdout)["files"] == []
    else:
        assert result.stdout == ""


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_scripts_can_be_started_and_nothing_else(run):
    umask = os.umask(0o022)
    try:
        run("generate", *WORDS, "-o", "out", "--emit", "all")
    finally:
        os.umask(umask)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in Path("out").iterdir()}
    assert modes == {name: 0o755 if name in PROGRAMS else 0o644 for name in ALL} | {"secrets.env.example": 0o600}


@pytest.mark.skipif(os.name != "posix", reason="bash")
def test_the_script_is_a_script(run):
    run("generate", *WORDS, "-o", "out", "--emit", "script")

    subprocess.run(["bash", "-n", "out/serve.sh"], check=True)


def test_a_plan_of_a_profile_is_the_plan_that_wrote_it(run):
    words = [*WORDS, "-c", "7", "--max-model-len", "8k", "--enforce-eager", "--headroom-gb", "1.5"]
    run("generate", *words, "-o", "out", "--emit", "profile,json")

    assert run("plan", "--profile", "out/profile.yaml", "--json").stdout == Path("out/plan.json").read_text()


def test_the_command_line_wins_over_the_profile(run):
    run("generate", *WORDS, "-c", "7", "--max-model-len", "8k", "-o", "out", "--emit", "profile")

    result = run(
        *["plan", "--profile", "out/profile.yaml", "-c", "9", "--gpu", "l4", "--max-model-len", "4k", "--json"]
    )

    data = json.loads(result.stdout)
    assert data["workload"]["concurrency"] == 9
    assert data["gpu"]["name"] == "l4"
    assert data["cluster"]["num_gpus"] == 2
    assert data["requested"]["max_model_len"] == 4000
    assert result.stderr == ""


def test_another_model_than_the_profiles_is_told(run):
    run("generate", *WORDS, "-o", "out", "--emit", "profile")

    result = run("plan", "Qwen/Qwen3-4B", "--profile", "out/profile.yaml", "--json")

    assert json.loads(result.stdout)["model"]["name"] == "Qwen/Qwen3-4B"
    assert result.stderr == "Note: planning Qwen/Qwen3-4B, not Qwen/Qwen3-8B of the profile.\n"


def test_the_same_model_as_the_profiles_is_not_told(run):
    run("generate", *WORDS, "-o", "out", "--emit", "profile")

    assert run("plan", WORDS[0], "--profile", "out/profile.yaml", "--json").stderr == ""


def test_a_revision_stays_with_the_profiles_model(run):
    Path("p.yaml").write_text("profile_version: 1\nmodel: a/b\nrevision: main\ngpu: h100-sxm\n")

    assert json.loads(run("plan", WORDS[0], "--profile", "p.yaml", "--json").stdout)["model"]["revision"] is None


def test_files_that_are_there_are_kept(run):
    Path("out").mkdir()
    Path("out/plan.json").write_text("mine")

    result = run("generate", *WORDS, "-o", "out")

    assert result.exit_code == 1
    assert "out already has plan.json; --force overwrites" in result.stderr
    assert names("out") == {"plan.json"}
    assert Path("out/plan.json").read_text() == "mine"


def test_force_overwrites(run):
    Path("out").mkdir()
    Path("out/plan.json").write_text("mine")
    Path("out/other").write_text("mine")

    assert run("generate", *WORDS, "-o", "out", "--force").exit_code == 0
    assert Path("out/plan.json").read_text().startswith("{")
    assert names("out") == {"serve.sh", "plan.json", "profile.yaml", "other"}


def test_what_is_there_already_is_left_alone(run):
    run("generate", *WORDS, "-o", "out")
    before = {path.name: path.stat().st_mtime_ns for path in Path("out").iterdir()}

    result = run("generate", *WORDS, "-o", "out")

    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3
    assert {path.name: path.stat().st_mtime_ns for path in Path("out").iterdir()} == before


def test_what_does_not_fit_is_written_on_demand_with_a_warning_in_it(run):
    words = ("Qwen/Qwen3-32B", "--gpu", "l4", "-o", "out", "--emit", "all", "--render-anyway")
    result = run("generate", *words)

    assert result.exit_code == 3
    assert result.stderr.startswith("DOES NOT FIT: ")
    assert "What was written will not start." in result.stderr
    for path in Path("out").iterdir():
        text = path.read_text()
        if path.name in {"kustomization.yaml", "vllm.env", "secrets.env.example", "profile.yaml", ".gitignore"}:
            continue  # they start nothing, or come with what does
        stamp = (
            '"fits": false'
            if path.name == "plan.json"
            else "DOES NOT FIT"
            if path.suffix in {".md", ".html"}
            else "WARNING"
        )
        assert stamp in text, path


@pytest.mark.parametrize("command", ["plan", "generate"])
def test_a_profile_cannot_agree_to_run_code(run, command):
    words = ["-o", "out"] if command == "generate" else []
    Path("p.yaml").write_text(
        "profile_version: 1\nmodel: Qwen/Qwen3-8B\ngpu: l4\nengine_args: {trust_remote_code: true}\n"
    )

    refused = run(command, "--profile", "p.yaml", *words)
    agreed = run(command, "--profile", "p.yaml", "--trust-remote-code", *words, "--json")
    declined = run(command, "--profile", "p.yaml", "--no-trust-remote-code", *words, "--json")

    assert refused.exit_code == 2
    assert "a file cannot agree to that for you" in refused.stderr
    assert not Path("out/serve.sh").exists() or command == "generate"
    assert declined.exit_code == 0
    # Without a commit no script is written that would run code of any later day.
    assert agreed.exit_code == (1 if command == "generate" else 0)
    if command == "generate":
        assert "trust_remote_code needs" in agreed.stderr or "--trust-remote-code needs" in agreed.stderr


def test_unsafe_flags_need_a_word_and_leave_a_warning(run):
    words = ("generate", *WORDS, "-o", "out", "--extra-arg=--middleware", "--extra-arg=a.b")

    refused = run(*words)
    written = run(*words, "--allow-unsafe", "--emit", "script,kubernetes")

    assert refused.exit_code == 1
    assert "pass --allow-unsafe" in refused.stderr
    assert written.exit_code == 0
    for name in ("serve.sh", "kubernetes.yaml"):
        assert "WARNING: middleware makes vLLM load code" in Path("out", name).read_text()


def test_a_target_that_is_named_and_cannot_express_the_plan_is_an_error_and_left_out_of_all(run):
    words = ("generate", "Qwen/Qwen3-8B", "--gpu", "1xh100-sxm", "--nodes", "2", "-tp", "2", "-o", "out", "--emit")

    named = run(*words, "compose,script")
    every = run(*words, "all")

    assert named.exit_code == 1
    assert "compose runs on one node and the plan needs 2" in named.stderr
    assert every.exit_code == 0
    assert "Left out: compose runs on one node" in every.stderr
    assert {"serve.sh", "leaderworkerset.yaml"} <= names("out")
