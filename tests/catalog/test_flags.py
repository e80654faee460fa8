import json
import subprocess
import sys
from pathlib import Path

import pytest

from vllm_sizing.catalog.flag_values import check_value, read_value, write_value
from vllm_sizing.catalog.flags import NEWEST, check_flag, flag_table
from vllm_sizing.errors import InvalidValueError, UnsupportedError

DATA = Path(__file__).parent.parent / "data" / "flags"
SPELLINGS = json.loads((DATA / "spellings.json").read_text())["releases"]


def test_0_33_reads_exactly_the_spellings_of_its_parser():
    assert set(flag_table("0.33.0").spellings) == set(SPELLINGS["0.33.0"].split())


# -O is not a flag of the table but a spelling of several, by version; see test_flag_words.
@pytest.mark.parametrize("version", sorted(set(SPELLINGS) - {"0.33.0", "0.28.0"}))
def test_older_releases_declare_exactly_what_their_sources_declare(version):
    table = flag_table(version)

    declared = {spelling for spelling, (_, opposite) in table.spellings.items() if not opposite}

    # 0.10.1.1 is read as 0.10.1, and the table knows releases of three numbers.
    assert declared == set(SPELLINGS[version].split()) - {"-O"}


@pytest.mark.parametrize(
    ("name", "version", "words"),
    {
        ("swap_space", "0.33.0", "0.17.1 was the last to have it"),
        ("--moe-backend", "0.13.0", "it came with 0.17.0"),
        ("runner", "0.10.0", "it came with 0.10.1; before it, use --task"),
        ("attention_backend", "0.12.0", "set the environment variable VLLM_ATTENTION_BACKEND"),
        ("task", "0.33.0", "use --runner"),
        ("disable_prefix_caching", "0.32.0", "write --no-enable-prefix-caching"),
        ("max_model_length", "0.33.0", "did you mean --max-model-len?"),
        ("-ep", "0.13.0", "write --enable-expert-parallel"),
        ("xyzzy", "0.33.0", "'--xyzzy' is not a flag of vLLM 0.33.0"),
        ("disable_log_requests", "0.20.0", "0.16.0 was the last to have it"),
    },
)
def test_a_flag_that_a_version_lacks_is_refused_with_the_way_out(name, version, words):
    with pytest.raises(UnsupportedError) as error:
        check_flag(name, version)

    assert words in error.value.message
    assert "\n" not in error.value.message
    assert error.value.field == name.lstrip("-").replace("-", "_")


def test_a_flag_that_went_away_and_came_back_as_an_opposite():
    assert check_flag("disable_log_requests", "0.10.0").name == "--disable-log-requests"
    assert check_flag("disable_log_requests", "0.33.0").name == "--enable-log-requests"


@pytest.mark.parametrize(
    ("version", "release"),
    [("0.33.0", NEWEST), ("v0.11", (0, 11, 0)), ("0.10.1.1", (0, 10, 1)), ("0.11.1rc2", (0, 11, 1))],
)
def test_versions_are_read_with_and_without_their_trimmings(version, release):
    assert flag_table(version).release == release


@pytest.mark.parametrize("version", ["0.34.0", "0.7.3", "1.0.0", "", "latest", "0.33.0; rm -rf /", "\u0660.33.0"])
def test_versions_that_nobody_knows_are_refused(version):
    with pytest.raises(InvalidValueError, match=r"flags are known from 0\.8\.0 to 0\.33\.0"):
        flag_table(version)


def test_an_ambiguous_beginning_names_what_it_could_be():
    with pytest.raises(UnsupportedError, match=r"could be .*--max-num-seqs"):
        flag_table("0.33.0").find("--max-num")


def test_defaults_are_vllms_and_have_the_kind_of_the_flag():
    table = flag_table("0.33.0")
    for name in table.names:
        flag, _ = table.find(name)
        if not flag.default or flag.kind in {"switch", "set"}:
            continue
        default = json.loads(flag.default)
        if isinstance(default, list):
            assert flag.kind in {"json", "texts", "append_text"}, name
        elif isinstance(default, (str, int, float)):
            assert read_value(flag, str(default)) == default, name
            check_value(flag, default, NEWEST)


def test_every_removed_flag_says_what_to_write_instead():
    newest = set(flag_table("0.33.0").names)
    removed = {name for version in SPELLINGS for name in flag_table(version).names} - newest

    assert len(removed) > 30
    for name in removed:
        with pytest.raises(UnsupportedError, match=r"was the last to have it; \S+"):
            check_flag(name, "0.33.0") if name != "--disable-log-requests" else check_flag(name, "0.32.0")


@pytest.mark.parametrize(
    ("flag", "word", "value"),
    [
        ("max_model_len", "25.6k", 25_600),
        ("max_model_len", "AUTO", -1),
        ("kv_cache_memory_bytes", "40G", 40 * 2**30),
        ("kv_cache_memory_bytes", "None", None),
        ("gpu_memory_utilization", ".9", 0.9),
        ("moe_backend", "flashinfer-CUTLASS", "flashinfer_cutlass"),
        ("compilation_config", '{"max_cudagraph_capture_size": 1k}', {"max_cudagraph_capture_size": 1000}),
        ("compilation_config", '{"backend": "1k"}', {"backend": "1k"}),
        ("compilation_config", '{"compile_sizes": ["8", "x"]}', {"compile_sizes": [8, "x"]}),
        ("compilation_config", '{"compile_sizes": 8}', {"compile_sizes": 8}),
        ("hf_overrides", "word", "word"),
        ("allowed_origins", '["*"]', ["*"]),
    ],
)
def test_words_are_read_as_vllm_reads_them(flag, word, value):
    assert read_value(check_flag(flag, "0.33.0"), word) == value


@pytest.mark.parametrize(
    ("flag", "word"),
    [
        ("max_model_len", "25.6K"),
        ("max_num_seqs", "1k"),
        ("max_num_seqs", "9" * 5000),
        ("gpu_memory_utilization", "nan"),
        ("gpu_memory_utilization", "inf"),
        ("speculative_config", '{"a": NaN}'),
        ("speculative_config", "[" * 20_000),
        ("compilation_config", "[1]"),
        ("lora_modules", "{"),
    ],
)
def test_words_that_vllm_would_refuse_are_refused_in_one_line(flag, word):
    with pytest.raises(InvalidValueError) as error:
        read_value(check_flag(flag, "0.33.0"), word)

    assert error.value.message.startswith(f"{flag} is ")
    assert len(error.value.message) < 250


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("kv_cache_dtype", "fp8_e4m3fn", "allows auto"),
        ("mamba_cache_mode", "all", "allows align, none"),
        ("max_lora_rank", 48, "allows 1, 8, 16"),
        ("compilation_config", {"cudagraph_mod": "FULL"}, "it has cudagraph_mode"),
        ("eplb_config", {"zzz": 1}, "no key 'zzz'"),
    ],
)
def test_values_that_0_33_does_not_know_are_refused_with_those_it_knows(flag, value, words):
    found = check_flag(flag, "0.33.0")

    with pytest.raises(UnsupportedError, match=words):
        check_value(found, value, NEWEST)

    check_value(found, value, (0, 20, 0))


def test_auto_context_is_refused_before_0_14():
    flag = check_flag("max_model_len", "0.33.0")

    with pytest.raises(UnsupportedError, match=r"since 0\.14\.0"):
        write_value(flag, -1, (0, 13, 0))

    assert write_value(flag, -1, (0, 14, 0)) == ("auto",)


def test_looking_up_a_flag_imports_next_to_nothing():
    code = (
        "import sys; import attrs; before = set(sys.modules);"
        "from vllm_sizing.catalog.flags import check_flag; check_flag('max_model_len', '0.33.0');"
        "print(*sorted(m for m in set(sys.modules) - before if not m.startswith('vllm_sizing')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
