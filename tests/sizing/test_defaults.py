"""
What releases choose by themselves: CUDA graph sizes and the model runner.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vllm_sizing as vs
from vllm_sizing.sizing.defaults import capture_sizes, rules_for, uses_v2_runner

VERSIONS = [(0, 10, 0), (0, 11, 1), (0, 17, 0), (0, 20, 1), (0, 28, 0), (0, 29, 0), (0, 31, 0), (0, 33, 0)]


def sizes(version=(0, 33, 0), *, seqs=256, tokens=8192, **words):
    return capture_sizes(rules_for(version), max_num_seqs=seqs, max_num_batched_tokens=tokens, **words)


@pytest.mark.parametrize(
    ("version", "words", "number", "largest"),
    [
        ((0, 11, 0), {}, 67, 512),
        ((0, 11, 1), {}, 51, 512),
        ((0, 28, 0), {"seqs": 1024, "blackwell": True}, 83, 1024),
        ((0, 27, 0), {"seqs": 1024, "blackwell": True}, 51, 512),
        ((0, 12, 0), {"seqs": 8, "decode_query_len": 4}, 5, 16),
        ((0, 13, 0), {"seqs": 8, "decode_query_len": 4}, 11, 64),
    ],
)
def test_sizes_of_a_release(version, words, number, largest):
    found = sizes(version, **words)
    assert (len(found), found[-1]) == (number, largest)


def test_a_batch_off_the_stride_is_captured():
    """
    All tokens of the batch since 0.20.1, all its requests since 0.31; neither where they are above the largest.
    """
    assert 203 in sizes((0, 20, 1), tokens=203)
    assert 203 not in sizes((0, 20, 0), tokens=203)
    assert 99 in sizes((0, 31, 0), seqs=99)
    assert 99 not in sizes((0, 30, 0), seqs=99)
    assert 99 not in sizes(seqs=99, tokens=64)


def test_speculation_captures_whole_requests():
    """
    With three drafted tokens 1, 2, 4, 8 and 11 requests are 4, 8, 16, 32 and 44 tokens; since 0.29.
    """
    strided = {1, 2, 4, *range(8, 89, 8)}
    assert set(sizes((0, 28, 0), seqs=11, decode_query_len=4)) == strided
    assert set(sizes((0, 29, 0), seqs=11, decode_query_len=4)) == strided | {44}
    assert set(sizes((0, 33, 0), seqs=11, decode_query_len=5)) == {1, 2, 4, *range(8, 111, 8), 5, 10, 20, 40, 55}


def test_small_batches_are_not_padded_for_interactivity():
    assert sizes((0, 17, 0), interactive=True)[:34] == (*range(1, 33), 40, 48)
    assert sizes((0, 16, 0), interactive=True) == sizes((0, 16, 0))


@given(
    version=st.sampled_from(VERSIONS),
    seqs=st.integers(1, 2048),
    more=st.integers(0, 20_000),
    query=st.integers(1, 9),
    largest=st.none() | st.integers(1, 2048),
    interactive=st.booleans(),
)
def test_sizes_are_batches_that_can_be(version, seqs, more, query, largest, interactive):
    """
    Ascending, at least one, none beyond the batch nor beyond what was asked for.
    """
    found = sizes(
        version, seqs=seqs, tokens=seqs + more, decode_query_len=query, largest=largest, interactive=interactive
    )
    assert list(found) == sorted(set(found))
    assert found[0] == 1
    assert found[-1] <= min(seqs + more, 2048 if largest is None else largest)
    if largest is not None:
        assert found == sizes(version, seqs=1, tokens=seqs + more, largest=largest, interactive=interactive)


@pytest.mark.parametrize("size", ["64", 0, -8, 1.5, [64]])
def test_a_largest_graph_is_a_count(size):
    """
    vLLM asserts that it is at least 1.
    """
    args = vs.EngineArgs(compilation_config={"max_cudagraph_capture_size": size})
    with pytest.raises(vs.InvalidValueError, match="it must be an integer of at least 1") as caught:
        vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"), engine_args=args)
    assert caught.value.field == "max_cudagraph_capture_size"


@pytest.mark.parametrize(
    ("architecture", "since", "quantized_since"),
    [
        ("Qwen3ForCausalLM", (0, 22, 0), (0, 24, 0)),
        ("LlamaForCausalLM", (0, 23, 0), (0, 24, 0)),
        ("GraniteMoeForCausalLM", (0, 24, 0), (0, 24, 0)),
        ("GemmaForCausalLM", (0, 25, 0), (0, 25, 0)),
        ("LongcatFlashNgramForCausalLM", (0, 26, 0), (0, 26, 0)),
        ("KimiK3ForConditionalGeneration", (0, 27, 0), (0, 27, 0)),
        ("DeepseekV4ForCausalLM", (0, 28, 0), (0, 28, 0)),
        ("MixtralForCausalLM", (0, 29, 0), (0, 29, 0)),
    ],
)
def test_the_second_runner_came_architecture_by_architecture(architecture, since, quantized_since):
    """
    As ``config/vllm.py:_is_default_v2_model_runner_model`` of each release lists them.
    """
    moe = architecture not in {"Qwen3ForCausalLM", "LlamaForCausalLM", "GemmaForCausalLM"}
    for quantized, first in ((False, since), (True, quantized_since)):
        used = [
            uses_v2_runner(
                rules_for((0, minor, 0)), architecture=architecture, moe=moe, hybrid=False, quantized=quantized,
                generate=True,
            )
            for minor in range(10, 34)
        ]  # fmt: skip
        assert used == [(0, minor, 0) >= first for minor in range(10, 34)]
