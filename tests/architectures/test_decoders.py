"""
The rarer decoders: AFMoE, Ling, Hunyuan 3, Param-2, ChatGLM, DBRX, Laguna, openPangu, Sarvam and others, against what vLLM allocates.
"""

import pytest

import vllm_sizing as vs
from tests.architectures.recorded import cases, check


@pytest.mark.parametrize(("config", "fact"), cases("decoders"))
def test_bytes_and_cache_are_those_of_vllm(config, fact):
    check(config, fact)


SIZES = {
    "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 4,
    "num_hidden_layers": 2, "vocab_size": 1000, "num_experts": 8, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "n_routed_experts": 8, "first_k_dense_replace": 1,
}  # fmt: skip


LATENT = {"kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32}


@pytest.mark.parametrize(
    ("architecture", "values", "field"),
    [
        ("BailingMoeForCausalLM", {"use_bias": True}, "use_bias"),
        ("HYV3ForCausalLM", {"first_k_dense_replace": 2}, "first_k_dense_replace"),
        ("ChatGLMModel", {"vision_config": {}}, "vision_config"),
        ("ChatGLMModel", {"rmsnorm": False}, "rmsnorm"),
        ("DbrxForCausalLM", {"tie_word_embeddings": True}, "tie_word_embeddings"),
        ("LagunaForCausalLM", {"num_attention_heads_per_layer": [4]}, "num_attention_heads_per_layer"),
        ("LagunaForCausalLM", {"num_attention_heads_per_layer": [6, 6]}, "num_key_value_heads"),
        ("LagunaForCausalLM", {"gating": "per-row"}, "gating"),
        ("PanguEmbeddedForCausalLM", {"param_sink_number": 4}, "param_sink_number"),
        ("PanguEmbeddedForCausalLM", {"interleaved_sliding_window": 4}, "interleaved_sliding_window"),
        ("PanguUltraMoEForCausalLM", {**LATENT, "first_k_dense_replace": 2}, "first_k_dense_replace"),
        ("WhisperForConditionalGeneration", {"d_model": 64, "decoder_attention_heads": 6}, "decoder_attention_heads"),
        ("Plamo3ForCausalLM", {}, "interleaved_sliding_window"),
        ("Plamo3ForCausalLM", {"interleaved_sliding_window": [4, 8]}, "interleaved_sliding_window"),
    ],
)
def test_what_is_not_modelled_is_refused(architecture, values, field):
    with pytest.raises(vs.ConfigError, match=field):
        vs.model_from_config({"architectures": [architecture], **SIZES, **values})
