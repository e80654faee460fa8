import shlex

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.render.samples import fits
from vllm_sizing.catalog.arguments import parse_engine_args
from vllm_sizing.catalog.engine_options import engine_options
from vllm_sizing.catalog.flags import check_flag
from vllm_sizing.errors import InvalidValueError, SizingError, UnsupportedError
from vllm_sizing.render.argv import plan_argv, to_argv, to_shell, written_args
from vllm_sizing.sources.command_text import split_command
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.plan import Decision

VISIBLE = st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"))
NAMES = st.text(VISIBLE, min_size=1, max_size=40).filter(lambda name: name.strip() and not name.startswith("-"))
WORDS = NAMES.filter(lambda word: word != "None")
NUMBERS = st.floats(0, 1e6, allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=8), JSON, max_size=4)
CONFIG = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.integers(0, 3),
        "cudagraph_mode": st.sampled_from(["NONE", "FULL", "PIECEWISE"]),
        "cudagraph_capture_sizes": st.lists(st.integers(1, 512), max_size=3),
        "custom_ops": st.lists(st.text(max_size=5), max_size=2),
    },
)
BY_KIND = {
    "config": CONFIG,
    "float": NUMBERS,
    "int": st.integers(1, 2**40),
    "ints": st.lists(st.integers(1, 2**20), min_size=1, max_size=4),
    "json": OBJECTS,
    "object_or_text": OBJECTS,
    "switch": st.booleans(),
    "text": WORDS,
    "texts": st.lists(WORDS, min_size=1, max_size=3),
    "tokens": st.integers(1, 2**50),
    "tokens_or_auto": st.integers(1, 2**50) | st.just(-1),
}
# Narrower than their kind.
BY_NAME = {
    "gpu_memory_utilization": st.floats(0, 1, exclude_min=True),
    "max_lora_rank": st.sampled_from([1, 8, 16, 32, 64, 128, 256, 320, 512]),
    "optimization_level": st.integers(0, 3),
    "served_model_name": WORDS,
}
EXTRA = (
    ("--seed", "-7"),
    ("--uvicorn-log-level=error",),
    ("--no-enable-log-requests",),
    ("--lora-modules", "sql=/a b", '{"name":"x","path":"$HOME"}'),
    ("--chat-template", 'it\'s "this" \\ one.jinja'),
)


def strategy(option):
    values = check_flag(option.name, "0.33.0").values
    if option.name in BY_NAME:
        return BY_NAME[option.name]
    if values and option.kind in {"text", "name"}:
        return st.sampled_from(values)
    return BY_KIND[option.kind]


ENGINE_ARGS = st.builds(
    lambda values, extra: EngineArgs(**values, extra_args=[word for words in extra for word in words]),
    st.fixed_dictionaries({}, optional={option.name: strategy(option) for option in engine_options()}),
    st.lists(st.sampled_from(EXTRA), unique=True),
)


@given(model=NAMES, engine_args=ENGINE_ARGS)
def test_reading_the_written_command_gives_back_what_was_written(model, engine_args):
    parsed = parse_engine_args(to_argv(model, engine_args, "0.33.0"), "0.33.0", allow_unsafe=True)

    assert parsed.model == model
    assert parsed.engine_args == engine_args


@given(model=NAMES, engine_args=ENGINE_ARGS)
def test_a_shell_splits_the_text_into_the_words(model, engine_args):
    argv = to_argv(model, engine_args, "0.33.0")

    assert tuple(shlex.split(to_shell(argv))) == argv
    assert split_command(to_shell(argv)).words == argv


@given(model=st.text(), name=st.text(), revision=st.text(), extra=st.lists(st.text(), max_size=3))
def test_no_text_becomes_a_flag(model, name, revision, extra):
    given_args = {"served_model_name": name, "revision": revision, "extra_args": extra}
    try:
        argv = to_argv(model, EngineArgs(**given_args), "0.33.0")
    except SizingError:
        return

    flags = [word for word in argv[3:] if word.startswith("-")]
    assert argv[2] == model
    assert set(flags) <= {"--served-model-name", "--revision"}


def test_the_words_have_vllms_spelling():
    engine_args = EngineArgs(
        served_model_name="qwen",
        max_model_len=-1,
        tensor_parallel_size=2,
        gpu_memory_utilization=0.9,
        cpu_offload_gb=4.0,
        enable_prefix_caching=False,
        disable_hybrid_kv_cache_manager=False,
        enforce_eager=True,
        limit_mm_per_prompt={"video": 0, "image": {"count": 2, "width": 512}},
        cudagraph_capture_sizes=(1, 2, 4),
        speculative_config={"num_speculative_tokens": 3, "method": "ngram"},
        extra_args=("--seed", "7"),
    )

    assert to_argv("Qwen/Qwen3-8B", engine_args, "0.33.0", host="0.0.0.0", port=8001) == (  # noqa: S104
        "vllm",
        "serve",
        "Qwen/Qwen3-8B",
        "--served-model-name",
        "qwen",
        "--max-model-len",
        "auto",
        "--enforce-eager",
        "--limit-mm-per-prompt",
        '{"image":{"count":2,"width":512},"video":0}',
        "--tensor-parallel-size",
        "2",
        "--gpu-memory-utilization",
        "0.9",
        "--no-enable-prefix-caching",
        "--no-disable-hybrid-kv-cache-manager",
        "--cpu-offload-gb",
        "4",
        "--cudagraph-capture-sizes",
        "1",
        "2",
        "4",
        "--speculative-config",
        '{"method":"ngram","num_speculative_tokens":3}',
        "--host",
        "0.0.0.0",  # noqa: S104
        "--port",
        "8001",
        "--seed",
        "7",
    )


@pytest.mark.parametrize(
    ("engine_args", "version", "message"),
    [
        ({"moe_backend": "triton"}, "0.13.0", r"came with 0\.17\.0"),
        ({"kv_cache_memory_bytes": 2**30}, "0.10.1", r"came with 0\.10\.2"),
        ({"max_model_len": -1}, "0.13.0", r"since 0\.14\.0"),
        ({"kv_cache_dtype": "fp8_e4m3fn"}, "0.33.0", "kv_cache_dtype is 'fp8_e4m3fn'"),
        ({"mamba_cache_mode": "all"}, "0.33.0", "allows align, none"),
        ({"compilation_config": {"level": 3}}, "0.33.0", "no key 'level'"),
        ({"tensor_parallel_size": 2, "extra_args": ["-tp", "4"]}, "0.33.0", "tensor_parallel_size again"),
        ({"extra_args": ["--port", "4"]}, "0.33.0", "port again"),
        ({"extra_args": ["--api-key", "4"]}, "0.33.0", "VLLM_API_KEY"),
        ({"extra_args": ["m2"]}, "0.33.0", "belongs to no flag"),
    ],
)
def test_what_the_version_would_refuse_is_refused(engine_args, version, message):
    with pytest.raises(UnsupportedError, match=message):
        to_argv("m", EngineArgs(**engine_args), version, port=8001)


@pytest.mark.parametrize(
    ("model", "engine_args"),
    [
        ("--host", {}),
        ("-", {}),
        ("", {}),
        (" ", {}),
        ("a\nb", {}),
        ("a\x00", {}),
        ("a\u2028b", {}),
        ("a\u202eb", {}),
        ("m", {"served_model_name": "--port"}),
        ("m", {"revision": "None"}),
        ("m", {"revision": "a\tb"}),
        ("m", {"kv_cache_dtype_skip_layers": ["1", "--x"]}),
    ],
)
def test_names_that_would_be_read_as_something_else_are_refused(model, engine_args):
    with pytest.raises(InvalidValueError) as error:
        to_argv(model, EngineArgs(**engine_args), "0.33.0")

    assert error.value.message.isprintable()


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("./m/config.json", "./m"),
        ("config.json", "."),
        ("/config.json", "/"),
        ("owner/config.json.d", "owner/config.json.d"),
    ],
)
def test_the_folder_of_a_config_is_what_vllm_serves(name, word):
    assert to_argv(name, EngineArgs(), "0.33.0")[2] == word


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_ports_are_in_range(port):
    with pytest.raises(InvalidValueError, match=f"port is {port}"):
        to_argv("m", EngineArgs(), "0.33.0", port=port)


def decided(**changes):
    plan = fits()
    return attrs.evolve(plan, **changes)


def test_what_vllm_does_anyway_is_left_out_unless_asked_for():
    engine_args = EngineArgs(
        dtype="bfloat16",
        tensor_parallel_size=2,
        pipeline_parallel_size=1,
        max_model_len=40_960,
        max_num_seqs=256,
        enable_prefix_caching=True,
        performance_mode="balanced",
        extra_args=("--seed", "7"),
    )
    decisions = tuple(
        Decision(flag=name, value=None, reason="", source="vLLM default")
        for name in ("dtype", "max_num_seqs", "enable_prefix_caching")
    )
    plan = decided(engine_args=engine_args, decisions=decisions, requested=EngineArgs())
    asked = attrs.evolve(plan, requested=EngineArgs(enable_prefix_caching=True, pipeline_parallel_size=1))

    kept = EngineArgs(tensor_parallel_size=2, max_model_len=40_960, max_num_seqs=256, extra_args=("--seed", "7"))
    assert written_args(plan) == kept
    assert written_args(asked) == attrs.evolve(kept, enable_prefix_caching=True, pipeline_parallel_size=1)


def test_the_command_of_a_plan_has_its_model_and_version():
    plan = decided(requested=EngineArgs())

    assert plan_argv(plan)[:3] == ("vllm", "serve", plan.model.name)
    with pytest.raises(UnsupportedError):
        plan_argv(decided(vllm_version="0.13.0", requested=EngineArgs(), engine_args=EngineArgs(moe_backend="triton")))
