import attrs
import pytest

from vllm_sizing.catalog.engine_options import engine_options, read_option
from vllm_sizing.catalog.flags import check_flag, flag_table
from vllm_sizing.errors import InvalidValueError
from vllm_sizing.specs.engine import EngineArgs


def test_every_engine_argument_is_an_option_in_its_order():
    names = [field.name for field in attrs.fields(EngineArgs) if field.name != "extra_args"]

    assert [option.name for option in engine_options()] == names


@pytest.mark.parametrize("option", engine_options(), ids=lambda option: option.name)
def test_options_are_spelt_and_read_as_vllms_flags(option):
    flag = check_flag(option.name, "0.33.0")
    spellings = flag_table("0.33.0").spellings
    short = tuple(s for s, found in spellings.items() if found == (flag.name, False) and not s.startswith("--"))

    assert option.spellings == (flag.name, *short)
    assert option.kind == flag.kind
    assert bool(option.metavar) == (option.kind != "switch")
    assert option.opposite == (f"--no-{flag.name[2:]}" if flag.kind == "switch" else "")
    assert option.help.endswith((".", "auto, bfloat16, ...", "fp8, bfloat16, ..."))
    assert len(option.help) < 80


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_model_len", "32k", 32_000),
        ("max_model_len", "auto", -1),
        ("max_num_batched_tokens", "8K", 8192),
        ("kv_cache_memory_bytes", "40g", 40 * 10**9),
        ("gpu_memory_utilization", "0.9", 0.9),
        ("limit_mm_per_prompt", '{"image": 2}', {"image": 2}),
        ("cudagraph_capture_sizes", "1, 2 4", [1, 2, 4]),
        ("kv_cache_dtype_skip_layers", "0,sliding_window", ["0", "sliding_window"]),
        ("served_model_name", "a b,c", "a b,c"),
        ("moe_backend", "FLASHINFER-CUTLASS", "flashinfer_cutlass"),
        ("quantization", "None", None),
    ],
)
def test_options_are_read_into_values_that_engine_args_takes(name, text, value):
    assert read_option(name, text) == value
    EngineArgs(**{name: value})


@pytest.mark.parametrize(
    ("name", "text"),
    [("max_num_seqs", "1k"), ("cudagraph_capture_sizes", "1,x"), ("speculative_config", "ngram")],
)
def test_bad_texts_name_the_argument(name, text):
    with pytest.raises(InvalidValueError, match=f"^{name} is "):
        read_option(name, text)
