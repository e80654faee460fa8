import pytest

from vllm_sizing.catalog.arguments import check_extra_args, parse_engine_args
from vllm_sizing.errors import InvalidValueError, SizingError, UnsupportedError
from vllm_sizing.specs.engine import EngineArgs, thaw


def codes(parsed):
    return [finding.code for finding in parsed.findings]


@pytest.mark.parametrize(
    "program",
    [
        (),
        ("serve",),
        ("vllm", "serve"),
        ("/opt/venv/bin/vllm", "serve"),
        ("python3", "-m", "vllm.entrypoints.openai.api_server"),
    ],
)
def test_the_words_of_the_program_may_stand_before(program):
    parsed = parse_engine_args((*program, "m", "-tp", "2"), "0.33.0")

    assert parsed == ("m", EngineArgs(tensor_parallel_size=2), ())


def test_lists_and_tuples_of_words_are_the_same():
    assert parse_engine_args(["vllm", "serve", "m"], "0.33.0") == parse_engine_args(("vllm", "serve", "m"), "0.33.0")


def test_the_last_of_two_uses_counts_and_is_told():
    parsed = parse_engine_args(
        ["m", "--max-num-seqs", "8", "--max_num_seqs=16", "--seed", "1", "--seed", "1"], "0.33.0"
    )

    assert parsed.engine_args == EngineArgs(max_num_seqs=16, extra_args=("--seed", "1"))
    assert [(f.code, f.severity) for f in parsed.findings] == [
        ("flag-given-twice", "warning"),
        ("flag-given-twice", "info"),
    ]


def test_flags_that_a_plan_does_not_know_stay_as_they_were_written():
    words = [
        "m",
        "--port=8001",
        "--default_chat_template_kwargs.enable_thinking",
        "false",
        "--uvicorn-log-level",
        "error",
    ]

    assert parse_engine_args(words, "0.33.0").engine_args.extra_args == (
        "--port=8001",
        "--uvicorn-log-level",
        "error",
        "--default_chat_template_kwargs.enable_thinking",
        "false",
    )


def test_repeated_flags_that_add_up_are_all_kept():
    words = ["m", "--middleware", "a.B", "--middleware", "c.D"]
    parsed = parse_engine_args(words, "0.33.0", allow_unsafe=True)

    assert parsed.engine_args.extra_args == tuple(words[1:])
    assert codes(parsed) == ["unsafe-flag"]


def test_one_served_name_is_an_argument_and_several_are_words():
    one = parse_engine_args(["m", "--served-model-name", "a"], "0.33.0").engine_args
    two = parse_engine_args(["m", "--served-model-name", "a", "b"], "0.33.0").engine_args

    assert one == EngineArgs(served_model_name="a")
    assert two == EngineArgs(extra_args=("--served-model-name", "a", "b"))


def test_the_short_way_to_speculation_is_the_long_one():
    parsed = parse_engine_args(["m", "--spec-method", "ngram", "--spec-tokens", "3"], "0.33.0")
    mixed = parse_engine_args(["m", "--spec-tokens", "3", "-sc", '{"method": "mtp"}'], "0.33.0")

    assert thaw(parsed.engine_args.speculative_config) == {"method": "ngram", "num_speculative_tokens": 3}
    assert thaw(mixed.engine_args.speculative_config) == {"method": "mtp", "num_speculative_tokens": 3}
    with pytest.raises(UnsupportedError, match="both give method; keep one"):
        parse_engine_args(["m", "--spec-method", "ngram", "-sc", '{"method": "mtp"}'], "0.33.0")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--max-num-seqs 4", "no-model"),
        ("m --disable-cascade-attn", "deprecated-flag"),
        ("m --offload-group-size 8", "flag-not-modelled"),
    ],
)
def test_findings_say_what_is_easily_overlooked(words, code):
    assert codes(parse_engine_args(words.split(), "0.33.0")) == [code]


def test_a_config_file_is_named_and_not_opened():
    parsed = parse_engine_args(["m", "--config", "/does/not/exist.yaml"], "0.33.0", allow_unsafe=True)

    assert codes(parsed) == ["unsafe-flag", "config-file-not-read"]


def test_a_flag_at_its_default_is_no_finding():
    assert codes(parse_engine_args(["m", "--offload-backend", "auto", "--worker-cls", "auto"], "0.33.0")) == []


@pytest.mark.parametrize(
    "words",
    [
        "m --trust-remote-code",
        "m --middleware a.B",
        "m --worker-cls a.B",
        "m --worker-extension-cls a.B",
        "m --scheduler-cls a.B",
        "m --tool-parser-plugin x.py",
        "m --reasoning-parser-plugin x.py",
        "m --logits-processors a:B",
        "m --tool-server demo",
        "m --config x.yaml",
        "m --allowed-local-media-path /",
        "m --distributed-executor-backend a.B",
        'm --kv-transfer-config {"kv_connector":"X","kv_role":"kv_both","kv_connector_module_path":"a.b"}',
        'm --ec-manager-config {"encoder_cache_manager_cls":"a.B"}',
        'm --additional-config {"a":[{"worker_cls":"a.B"}]}',
        "m --api-key abc",
        "m --hf-token abc",
        "m --hf-token",
    ],
)
def test_what_loads_code_opens_files_or_is_secret_wants_a_yes(words):
    with pytest.raises(UnsupportedError) as error:
        parse_engine_args(words.split(), "0.33.0")

    assert "abc" not in error.value.message
    parsed = parse_engine_args(words.split(), "0.33.0", allow_unsafe=True)
    assert codes(parsed)[0] == "unsafe-flag"
    assert "abc" not in repr(parsed)


def test_switching_unsafe_things_off_is_safe():
    assert parse_engine_args(["m", "--no-trust-remote-code"], "0.33.0").engine_args.trust_remote_code is False


@pytest.mark.parametrize(
    "secret",
    ["hf_" + "a" * 34, "sk-" + "b" * 40, "-----BEGIN RSA PRIVATE KEY-----"],
)
def test_what_looks_like_a_secret_is_refused_without_showing_it(secret):
    words = ["m", "--default-chat-template-kwargs", f'{{"key": "{secret}"}}']
    for refuse in (
        lambda: parse_engine_args(words, "0.33.0"),
        lambda: check_extra_args(words[1:], "0.33.0", EngineArgs(), allow_unsafe=True),
    ):
        with pytest.raises(UnsupportedError, match="looks like a secret") as error:
            refuse()
        assert secret not in repr(vars(error.value))


PLANNED = EngineArgs(tensor_parallel_size=2, max_num_seqs=64, served_model_name="qwen")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tensor-parallel-size", "4"], "tensor_parallel_size again"),
        (["-tp=4"], "tensor_parallel_size again"),
        (["--max_num_seqs", "64"], "max_num_seqs again"),
        (["--served-model-name", "x"], "served_model_name again"),
        (["--port", "1"], "port again"),
        (["--max-model-len", "4096"], "changes the plan; give it as the engine argument max_model_len"),
        (["--spec-tokens", "2"], "the engine argument speculative_config"),
        (["--seed", "1", "--seed", "2"], "seed twice"),
        (["--api-key", "k"], "VLLM_API_KEY"),
        (["--hf-token", "k"], "HF_TOKEN"),
        (["--middleware", "a.B"], "nobody has checked"),
        (["--sede", "7"], "did you mean --seed"),
        (["--swap-space", "4"], "was the last to have it"),
        (["--seed 7"], "give a flag and each of its values as one word"),
        (["m"], "belongs to no flag"),
        (["--model", "x"], "belongs to no flag"),
        (["--enable-auto-tool-choice"], "needs tool_call_parser"),
        (["--kv-transfer-config", '{"kv_connector":"NixlConnector"}'], "no kv_role; add it"),
        (["--seed"], "needs a value"),
        (["--seed", "seven"], "must be an integer"),
        (["--root-path", "a\nb"], "line break"),
    ],
)
def test_extra_words_that_cannot_be_passed_through_are_refused(words, message):
    with pytest.raises(SizingError, match=message) as error:
        check_extra_args(words, "0.33.0", PLANNED, also_planned=["port"])

    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--seed", "7"),
        ("--uvicorn-log-level=error", "--enable-log-requests"),
        ("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
        ("--lora-modules", "sql=/adapters/sql", "de=/adapters/de"),
        ("--default-chat-template-kwargs.enable_thinking", "false"),
    ],
)
def test_other_extra_words_are_passed_as_they_are(words):
    assert check_extra_args(list(words), "0.33.0", PLANNED) == words


def test_unsafe_extra_words_pass_when_the_caller_says_so():
    words = ("--middleware", "a.B", "--middleware", "c.D")

    assert check_extra_args(words, "0.33.0", PLANNED, allow_unsafe=True) == words


def test_values_that_could_not_work_are_refused_by_the_arguments_themselves():
    with pytest.raises(InvalidValueError, match=r"gpu_memory_utilization is 1\.5"):
        parse_engine_args(["m", "--gpu-memory-utilization", "1.5"], "0.33.0")
