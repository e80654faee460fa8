"""
Configs of language models with one wrong value: one line that names it and the way out.
"""

import pytest

import vllm_sizing as vs
from tests.architectures.recorded import recorded

LAYERS = ["sliding_attention"]


@pytest.mark.parametrize(
    ("family", "number", "changes", "message"),
    [
        ("decoders", 0, {"num_experts_per_tok": 99}, "99 experts per token, but there are"),
        ("deepseek", 7, {"index_topk": None}, "index_topk is missing; it must be a number of tokens"),
        ("deepseek", 7, {"index_topk_pattern": [1, 2]}, "index_topk_pattern is [1, 2]; it must be a string of F and S"),
        ("deepseek", 4, {"n_routed_experts": None}, "n_routed_experts is missing"),
        ("dense", 0, {"layer_types": ["full_attention"]}, "it must be a list of 64 strings, one for each layer"),
        ("dense", 0, {"layer_types": [1] * 64}, "it must be a list of strings"),
        ("dense", 5, {"num_experts": 8}, "num_experts is 8; it must be 0: MiniCPM with experts is not modelled"),
        ("glm_moe", 0, {"n_routed_experts": None}, "n_routed_experts is missing"),
        ("granite", 7, {"layer_rope_theta": ["1e4"] * 8}, "layer_rope_theta is"),
        ("granite", 7, {"layer_rope_theta": [True] * 8}, "it must be a list of numbers"),
        ("granite", 7, {"layer_rope_theta": [1e4]}, "it must be a list of 8 numbers, one for each layer"),
        ("hrm", 0, {"H_cycles": 64, "L_cycles": 64}, "at most 1024"),
        ("hy_v4", 0, {"gating_type": "diagonal"}, "gating_type is 'diagonal'; it must be elementwise or headwise"),
        ("mimo", 0, {"hybrid_layer_pattern": [1, 0]}, "hybrid_layer_pattern is [1, 0]; it must be a list of 7 zeros"),
        ("mimo", 0, {"moe_layer_freq": None}, "moe_layer_freq is missing; it must be a list of 7 zeros and ones"),
        ("minimax_m3", 0, {"text_config__sparse_attention_config__sparse_attention_freq": [1]}, "sparse_attention_freq"),
        ("nemotron_h", 0, {"layers_block_type": ["mlp"] * 7, "intermediate_size": [1024] * 7}, "intermediate_size is"),
        ("transformers_backend", 0, {"multi_query": False}, "multi_query is False; it must be true"),
        ("transformers_backend", 11, {"moe_intermediate_size": [768, 512, 768, 768]}, "the same for every layer"),
        ("transformers_backend", 24, {"no_rope_layers": [1, 0]}, "it must be a list of 4 zeros and ones"),
        ("variants", 20, {"mamba_ssm_dtype": "int8"}, "mamba_ssm_dtype is 'int8'; it must be float32, float16 or"),
        ("variants", 20, {"num_experts": 0}, "no layer of this Qwen3NextForCausalLM has experts"),
        ("variants", 24, {"no_rope_layers": [1]}, "no_rope_layers is [1]; it must be a list of 4 integers"),
        ("variants", 27, {"num_kv_shared_layers": 5, "layer_types": LAYERS * 6}, "to leave a layer of kind full_att"),
        ("variants", 28, {"per_layer_config": {"6": {"head_dim": 64}}}, "an object with layer numbers below 6 as keys"),
        ("variants", 28, {"per_layer_config": {"last": {}}}, "per_layer_config is {'last': {}}"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(family, number, changes, message):
    with pytest.raises(vs.ConfigError) as refusal:
        vs.model_from_config(recorded(family, number, **changes), name="model")
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
