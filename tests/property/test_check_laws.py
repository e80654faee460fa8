"""
What `check` reads back from any output of a plan is the plan; and no text makes it fail but by a line of ours.
"""

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import vllm_sizing as vs
from tests.property.strategies import dense_models, gpus, workloads
from vllm_sizing.checks.server import Wanted, check_server
from vllm_sizing.errors import SizingError
from vllm_sizing.sources.launches import parse_launches

VIEWS = (
    "command",
    "script",
    "docker",
    "compose",
    "kubernetes",
    "lws",
    "helm",
    "llm_d",
    "kserve",
    "kuberay",
    "config",
    "slurm",
    "systemd",
    "quadlet",
    "skypilot",
)
# Of an image that is older than vLLM's serve command, and of versions whose flags have other names.
VERSIONS = ("0.10.0", "0.11.0", "0.12.0", "0.17.1", "0.20.0", "0.27.0", "0.30.0", "0.33.0")


@st.composite
def plans(draw):
    model, gpu = draw(dense_models()), draw(gpus())
    number = draw(st.sampled_from((1, 2, 4, 8)))
    args = vs.EngineArgs(
        gpu_memory_utilization=draw(st.sampled_from((None, 0.5, 0.85))),
        kv_cache_dtype=draw(st.sampled_from((None, "fp8"))),
        enforce_eager=draw(st.sampled_from((None, True))),
        max_num_seqs=draw(st.sampled_from((None, 7, 300))),
        max_num_batched_tokens=draw(st.sampled_from((None, 2048))),
        enable_prefix_caching=draw(st.sampled_from((None, False))),
        served_model_name=draw(st.sampled_from((None, "$(x) 'y' {{z}}", "a: b #c"))),
        extra_args=draw(st.sampled_from(((), ("--seed", "7"), ("--port", "8001")))),
    )
    version = draw(st.sampled_from(VERSIONS))
    try:
        return vs.plan(model, gpu, draw(workloads()), num_gpus=number, engine_args=args, vllm_version=version)
    except vs.UnsupportedError:
        reject()


def texts(plan, view):
    try:
        text = getattr(vs.render, view)(plan)
    except SizingError:  # This view cannot express the plan.
        return []
    return [text] if isinstance(text, str) else [item for name, item in text.items() if name.endswith(".yaml")]


def wanted(plan):
    return Wanted(
        find_model=lambda *_: plan.model,
        gpu=plan.gpu,
        vllm_version=plan.vllm_version,
        workload=plan.workload,
        policy=plan.policy,
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans(), view=st.sampled_from(VIEWS))
def test_every_view_of_a_plan_is_read_back_to_its_numbers(plan, view):
    for text in texts(plan, view):
        for launch in parse_launches(text).launches:
            server = check_server(launch, wanted(plan))

            assert server.plan is not None, (text, server.findings)
            assert server.plan.memory == plan.memory
            assert server.plan.kv_cache == plan.kv_cache
            assert (server.fits, server.plan.shortfall_bytes) == (plan.fits, plan.shortfall_bytes)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    plan=plans(),
    view=st.sampled_from(
        (
            "docker",
            "compose",
            "kubernetes",
            "lws",
            "helm",
            "llm_d",
            "kserve",
            "kuberay",
            "systemd",
            "quadlet",
            "skypilot",
        )
    ),
)
def test_what_generate_writes_has_no_errors(plan, view):
    for text in texts(plan, view):
        for launch in parse_launches(text).launches:
            found = check_server(launch, wanted(plan)).findings

            errors = [item for item in found if item.severity == "error" and not item.code.startswith("does-not-fit")]
            assert errors == [], text


PIECES = (
    "vllm serve m", "docker run --gpus all vllm/vllm-openai:v0.33.0 m", " --max-model-len", " 32k", " -tp 2", "\n", "'", '"',
    "$X", "${A[@]}", "$(", ")", "`", "services:\n", "  a:\n", "    image: vllm\n", "    command: [m, --x]\n", "kind: Pod\n",
    "spec: {containers: [{image: vllm, args: [m]}]}\n", "&a ", "*a", "- ", "{", "}", "[", "]", ": ", "#", "\\", "<<EOF\n", "EOF\n",
    "A=(", "if ", "fi", "done", ";", "|", ">", "\t", "\x00", "é", "---\n", "!!python/object:os.system x", "model: m\n",
)  # fmt: skip


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join) | st.text(max_size=200))
def test_any_text_gives_a_report_or_one_line(text):
    try:
        report = vs.check_text(text, gpu="l4", model="Qwen/Qwen3-8B")
    except SizingError as error:
        assert "\n" not in error.message  # noqa: PT017
        return
    for shown in (vs.render.check_console(report), vs.render.check_json(report), vs.render.sarif(report)):
        assert shown.endswith("\n")
    lines = text.count("\n") + 1
    assert all(0 <= item.line <= lines for item in report.all_findings)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_any_log_gives_numbers_or_none(text):
    report = vs.check_text("vllm serve Qwen/Qwen3-8B", gpu="h100-sxm", log=text)

    assert report.servers[0].measured == ()


@pytest.mark.parametrize(
    "text",
    [
        "x" * 5_000_000,
        "a: &a [x, x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)),
        "a: &a {b: *a}\n",
        "services: " + "[" * 10_000,
        "services: !!python/object/apply:os.system [touch x]\n",
        "vllm serve 'm",
        'vllm serve "m',
        "\x00\x01\x02",
        "",
        " \n\t",
        "{" * 100_000,
        "vllm serve m " + "--x " * 100_000,
        "vllm serve m " + "a" * 400_000,
        "x=(" * 50_000,
        "$(" * 100_000,
        "services:\n" + "".join(f"  s{number}: {{image: vllm, command: [m]}}\n" for number in range(1000)),
    ],
    ids=range(16),
)  # fmt: skip
def test_hostile_text_is_refused_in_one_line_or_reported(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        report = vs.check_text(text, gpu="l4", model="Qwen/Qwen3-8B")
    except SizingError as error:
        assert "\n" not in error.message  # noqa: PT017
        assert len(error.message) < 500  # noqa: PT017
    else:
        assert report.worst == "error"
    assert list(tmp_path.iterdir()) == []
