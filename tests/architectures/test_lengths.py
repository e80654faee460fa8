"""
The longest request that a config allows, as vLLM derives it.
"""

import pytest

import vllm_sizing as vs

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
    "num_hidden_layers": 2, "vocab_size": 1000, "max_position_embeddings": 256,
}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "length"),
    [({}, 256), ({"model_max_length": 4096}, 4096), ({"model_max_length": 128}, 128), ({"max_seq_len": 64}, 64)],
)
def test_one_key_counts_alone_and_of_the_others_the_smallest(values, length):
    assert vs.model_from_config({**LLAMA, **values}).max_model_len == length
