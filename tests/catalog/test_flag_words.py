"""
Our reading of commands against what vLLM 0.33.0's own parser said about them.
"""

import json
from pathlib import Path

import pytest

from vllm_sizing.catalog.arguments import parse_engine_args
from vllm_sizing.catalog.flag_words import read_words
from vllm_sizing.catalog.flags import flag_table
from vllm_sizing.errors import InvalidValueError, SizingError, UnsupportedError
from vllm_sizing.sources.command_text import split_command
from vllm_sizing.specs.engine import EngineArgs, thaw

RECORDED = json.loads((Path(__file__).parent.parent / "data/flags/commands-0.33.0.json").read_text())["commands"]
ACCEPTED = [record for record in RECORDED if record["accepted"]]
REFUSED = [record for record in RECORDED if not record["accepted"]]

# vLLM takes these; a plan cannot, or will not.
STRICTER = {
    "--hf-overrides hello": "its engine configuration refuses what its parser takes",
    "--cudagraph-capture-sizes 0": "a graph for no requests",
}
# vLLM turns these into its own classes and records what differs from their defaults.
OBJECTS = {"compilation_config", "eplb_config", "structured_outputs_config"}


def line(record):
    return record["line"]


def stricter(record):
    return any(record["line"].endswith(tail) for tail in STRICTER)


def test_the_record_is_large_enough_to_mean_something():
    assert len(ACCEPTED) > 130
    assert len(REFUSED) > 70


@pytest.mark.parametrize("record", [r for r in ACCEPTED if not stricter(r)], ids=line)
def test_what_vllm_accepts_is_read_with_vllms_values(record):
    words = split_command(record["line"]).words
    parsed = parse_engine_args(words, "0.33.0", allow_unsafe=True)
    skip = 3 if words[0] == "python" else 2
    model, uses = read_words(words[skip:], flag_table("0.33.0"))
    read = {}
    for use in uses:
        dest = use.flag.dest
        read[dest] = read.get(dest, []) + use.value if use.flag.kind == "append_text" else use.value

    wanted = dict(record["values"])
    assert parsed.model == model == wanted.pop("model_tag", None)
    for name, value in wanted.items():
        if name in OBJECTS:
            assert set(value) <= set(read[name]), name
        elif name == "device_ids":
            assert read[name] == ",".join(map(str, value))
        elif name == "optimization_level":
            assert read[name] == int(value)
        else:
            assert read[name] == value, name
    for name, value in parsed.engine_args.fixed().items():
        if name in wanted and name not in OBJECTS | {"optimization_level", "served_model_name"}:
            assert thaw(value) == wanted[name], name


@pytest.mark.parametrize("record", REFUSED, ids=line)
def test_what_vllm_refuses_is_refused_in_one_line(record):
    words = split_command(record["line"]).words

    with pytest.raises(SizingError) as error:
        parse_engine_args(words, "0.33.0", allow_unsafe=True)

    assert "\n" not in error.value.message
    assert len(error.value.message) < 400


@pytest.mark.parametrize("record", [r for r in RECORDED if stricter(r)], ids=line)
def test_what_only_the_plan_refuses_is_refused_as_a_bad_value(record):
    with pytest.raises(InvalidValueError):
        parse_engine_args(split_command(record["line"]).words, "0.33.0")


def read(text, version="0.33.0", **more):
    return parse_engine_args(split_command(text).words, version, **more)


def args(text, version="0.33.0"):
    return thaw_all(read(text, version).engine_args)


def thaw_all(engine_args):
    return {name: thaw(value) for name, value in engine_args.fixed().items()}


@pytest.mark.parametrize(
    ("version", "text", "wanted"),
    [
        ("0.33.0", "-O3", {"optimization_level": 3}),
        ("0.12.0", "-O 1", {"optimization_level": 1}),
        ("0.12.0", "-O.backend=eager", {"compilation_config": {"backend": "eager"}}),
        ("0.11.2", "-O3", {"compilation_config": {"mode": 3}}),
        ("0.10.0", "-O3", {"compilation_config": {"level": 3}}),
        ("0.10.0", "-O 2", {"compilation_config": {"level": 2}}),
        ("0.10.0", "-O.level 2", {"compilation_config": {"level": 2}}),
    ],
)
def test_the_letter_o_means_what_it_meant_in_the_release(version, text, wanted):
    assert args(f"vllm serve m {text}", version) == wanted


def test_dotted_keys_are_put_together_and_win_over_the_whole():
    text = (
        "vllm serve m --compilation-config.pass_config.fuse_norm_quant true --compilation-config.mode 3 "
        "--compilation-config.cudagraph_capture_sizes+ 1,2 --compilation-config.cudagraph_capture_sizes+=4"
    )

    assert args(text) == {
        "compilation_config": {
            "cudagraph_capture_sizes": [1, 2, 4],
            "mode": 3,
            "pass_config": {"fuse_norm_quant": True},
        }
    }


def test_dotted_objects_merge_and_later_values_win():
    text = """vllm serve m --hf-overrides.a '{"x": 1}' --hf-overrides.a '{"y": 2}' --hf-overrides.a.x 3"""

    assert args(text) == {"hf_overrides": {"a": {"x": 3, "y": 2}}}


def test_a_dotted_key_under_a_plain_value_replaces_it():
    assert args("vllm serve m --hf-overrides.a 1 --hf-overrides.a.b 2") == {"hf_overrides": {"a": {"b": 2}}}


@pytest.mark.parametrize("text", ["--seed.x 1", "--max-num-seqs.a=2", "--enable-lora.x true"])
def test_a_key_of_a_flag_without_keys_is_refused(text):
    with pytest.raises(UnsupportedError, match="has no keys"):
        read(f"vllm serve m {text}")


def test_json_that_is_nested_too_deeply_is_refused():
    with pytest.raises(InvalidValueError, match="hf_overrides is nested too deeply"):
        read_words(["--hf-overrides.a", "[" * 20_000], flag_table("0.33.0"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m\n--host"], "line break"),
        (["m", "--revision", "a\u202eb"], "control character"),
        (["m", "--revision", "a\0b"], "control character"),
        (["m", "--revision", "\ud800"], "control character"),
        (["m" * 70_000], "70000 characters"),
        (["--enable-lora"] * 3000, "3000 words"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(words, message):
    with pytest.raises(InvalidValueError, match=message):
        read_words(words, flag_table("0.33.0"))


def test_negative_numbers_are_values():
    assert read("vllm serve m --seed -5 --max-model-len -1").engine_args == EngineArgs(
        max_model_len=-1, extra_args=("--seed", "-5")
    )


def test_everything_after_two_dashes_is_no_flag():
    assert read("vllm serve --enforce-eager -- m").model == "m"
    with pytest.raises(UnsupportedError, match="belongs to no flag"):
        read("vllm serve -- m --enforce-eager")


@pytest.mark.parametrize("words", [["--model"], ["m", "--revision"], ["m", "--hf-overrides.a"]])
def test_a_flag_at_the_end_without_its_value_is_refused(words):
    with pytest.raises(UnsupportedError, match="needs a value behind it"):
        read_words(words, flag_table("0.33.0"))


def test_a_negative_fraction_is_read_as_a_flag_with_a_key_as_vllm_does():
    with pytest.raises(UnsupportedError, match="'-0' is not a flag"):
        read_words(["-0.5", "m"], flag_table("0.33.0"))
