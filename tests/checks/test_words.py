"""
Single flags that are wrong: what is said of them, and what should stand there.
"""

import shlex

import pytest

from vllm_sizing.catalog.flags import flag_table
from vllm_sizing.checks.words import read_parts
from vllm_sizing.sources.launch import Word


def parts(line, version="0.33.0"):
    words = [Word(text, number, text if text.startswith("$") else "") for number, text in enumerate(shlex.split(line))]
    return read_parts(words, flag_table(version))


@pytest.mark.parametrize(
    ("line", "code", "corrected"),
    [
        ("--swap-space 4", "removed-flag", ()),
        ("--swap-space=4", "removed-flag", ()),
        ("--device cuda", "removed-flag", ()),
        ("--task embed", "removed-flag", ("--runner", "pooling", "--convert", "embed")),
        ("--task generate", "removed-flag", ()),
        ("--cuda-graph-sizes 1 2 4", "removed-flag", ("--cudagraph-capture-sizes", "1", "2", "4")),
        ("--cuda-graph-sizes 64", "removed-flag", ("--max-cudagraph-capture-size", "64")),
        (
            """--rope-scaling '{"rope_type": "yarn"}'""",
            "removed-flag",
            ("--hf-overrides", '{"rope_parameters": {"rope_type": "yarn"}}'),
        ),
        ("--rope-scaling yarn", "removed-flag", None),
        ("--cuda-graph-sizes", "removed-flag", None),
        ("--guided-decoding-backend xgrammar", "removed-flag", ("--structured-outputs-config.backend", "xgrammar")),
        ("--speculative-model m", "removed-flag", ("--speculative-config.model", "m")),
        ("--speculative_model [ngram]", "removed-flag", ("--speculative-config.method", "ngram")),
        ("--num-redundant-experts 4", "removed-flag", ("--eplb-config.num_redundant_experts", "4")),
        ("--disable-mm-preprocessor-cache", "removed-flag", ("--mm-processor-cache-gb", "0")),
        ("--worker-use-ray", "removed-flag", ("--distributed-executor-backend", "ray")),
        ("--prompt-adapters a", "removed-flag", None),
        ("--max-model-length 8", "unknown-flag", ("--max-model-len", "8")),
        ("--xyzzy 8", "unknown-flag", ()),
        ("-tp4", "unknown-flag", ("-tp",)),
        ("--max-num 8", "ambiguous-flag", ()),
        ("--dtype bf16", "value-refused", ("--dtype", "bfloat16")),
        ("--dtype fp16", "value-refused", ("--dtype", "float16")),
        ("--kv-cache-dtype=fp8_e4m3fn", "value-refused", ("--kv-cache-dtype", "fp8_e4m3")),
        ("--limit-mm-per-prompt image=2", "value-refused", ("--limit-mm-per-prompt", '{"image": 2}')),
        ("--allowed-origins https://x", "value-refused", ("--allowed-origins", '["https://x"]')),
        ("--gpu-memory-utilization 90%", "value-refused", ("--gpu-memory-utilization", "0.9")),
        ("--gpu-memory-utilization 1.5", "value-refused", None),
        ("--cudagraph-capture-sizes 1,2,4", "value-refused", ("--cudagraph-capture-sizes", "1", "2", "4")),
        ("--tensor-parallel-size 0", "value-refused", None),
        ("--max-model-len", "value-refused", None),
        ("--enable-prefix-caching true", "stray-word", ("--enable-prefix-caching",)),
        ("--enable-prefix-caching False", "stray-word", ("--no-enable-prefix-caching",)),
        ("'--max-num-seqs 5'", "args-in-one-string", ()),
        ("--api-key k", "secret-in-plain-text", ()),
        ("--disable-cascade-attn", "deprecated-flag", ("--disable-cascade-attn",)),
        ("--enable-sleep-mode", "flag-not-modelled", ("--enable-sleep-mode",)),
        ("--worker-cls a.B", "unsafe-flag", ("--worker-cls", "a.B")),
        ('"--seed\t7\x07"', "args-in-one-string", ()),
        ('"--seed \'a"', "args-in-one-string", ()),
        ("--se\x07ed", "value-refused", ()),
        ("--config=f.yaml", "config-file-ignored", ("--config", "f.yaml")),
        ("--config f.yaml", "config-file-not-read", ("--config", "f.yaml")),
        ("--max-model-len $LEN", "unknown-word", ("--max-model-len", "$LEN")),
    ],
)
def test_a_flag_that_is_wrong_is_told_with_what_should_stand_there(line, code, corrected):
    first = parts(line)[0]

    assert code in [found.code for found in first.findings]
    assert first.corrected == corrected


@pytest.mark.parametrize(
    ("line", "version", "code", "corrected"),
    [
        ("--disable-prefix-caching", "0.12.0", "renamed-flag", ("--no-enable-prefix-caching",)),
        ("-ep", "0.12.0", "renamed-flag", ("--enable-expert-parallel",)),
        ("--moe-backend x", "0.12.0", "flag-too-new", ()),
        ("--attention-backend FLASH_ATTN", "0.12.0", "flag-too-new", ()),
        ("--disable-log-requests", "0.20.0", "removed-flag", ()),
    ],
)
def test_flags_are_those_of_the_version(line, version, code, corrected):
    first = parts(line, version)[0]

    assert ([found.code for found in first.findings], first.corrected) == ([code], corrected)


@pytest.mark.parametrize(
    "line",
    ["-tp 2", "--max_model_len=32k", "-O3", "-O 3", "--enable-lora", "--no-enable-prefix-caching", "--disable-log-requests",
     "--compilation-config.mode 3", "--gpu-mem 0.9", "--cudagraph-capture-sizes 1 2 4", "-q awq", "--max-model-len -1"],
)  # fmt: skip
def test_a_flag_that_is_right_has_no_findings(line):
    found = parts(line)

    assert len(found) == 1
    assert found[0].findings == ()
    assert found[0].corrected == tuple(shlex.split(line))


def test_words_belong_to_the_flag_before_them():
    found = parts("m --served-model-name a b -tp 2 --enable-lora n")

    assert [[word.text for word in part.words] for part in found] == [
        ["m"],
        ["--served-model-name", "a", "b"],
        ["-tp", "2"],
        ["--enable-lora"],
        ["n"],
    ]
    assert [part.positional for part in found] == [True, False, False, False, True]


def test_every_finding_has_the_line_of_its_word():
    found = parts("m --swap-space 4 --xyzzy --dtype bf16")

    assert [(item.code, item.line) for part in found for item in part.findings] == [
        ("removed-flag", 1),
        ("unknown-flag", 3),
        ("value-refused", 4),
    ]
