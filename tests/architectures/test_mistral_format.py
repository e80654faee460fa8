"""
``params.json``: the same model as its config.json.
"""

import json

import pytest

import vllm_sizing as vs
from tests.architectures.recorded import DATA, check_start
from vllm_sizing.architectures.mistral_format import config_from_params

PARAMS = {
    "dim": 64, "n_layers": 4, "head_dim": 16, "hidden_dim": 128, "n_heads": 4, "n_kv_heads": 2, "norm_eps": 1e-5,
    "vocab_size": 1000, "rope_theta": 1e6, "max_seq_len": 4096,
}  # fmt: skip
CONFIG = {
    "architectures": ["MistralForCausalLM"], "hidden_size": 64, "num_hidden_layers": 4, "head_dim": 16,
    "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000,
    "rope_theta": 1e6, "max_position_embeddings": 128_000, "max_seq_len": 4096, "sliding_window": None,
}  # fmt: skip
LARGE = {
    **PARAMS, "q_lora_rank": 32, "kv_lora_rank": 64, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
    "v_head_dim": 128, "llama_4_scaling": {"original_max_position_embeddings": 8192, "beta": 0.1},
    "yarn": {"factor": 4, "original_max_position_embeddings": 8192, "beta": 32, "alpha": 1},
    "moe": {
        "num_experts": 8, "num_experts_per_tok": 2, "expert_hidden_dim": 32, "num_shared_experts": 1,
        "first_k_dense_replace": 1, "route_every_n": 1,
    },
}  # fmt: skip


RECORDED = json.loads((DATA / "mistral_params.json").read_text())["cases"]


def model_of(params):
    return vs.model_from_config(config_from_params(params), name="small")


def test_a_folder_with_params_alone_is_read(tmp_path):
    (tmp_path / "params.json").write_text(json.dumps({**PARAMS, "sliding_window": None}))
    ours, other = vs.load_model(tmp_path), vs.model_from_config(CONFIG)
    assert (ours.tensors, ours.cache_layers, ours.max_model_len) == (other.tensors, other.cache_layers, 4096)
    assert f"params.json: {tmp_path}" in ours.provenance


def test_experts_make_a_mistral_large_3():
    model = model_of(LARGE)
    assert (model.architecture, model.num_experts) == ("MistralLarge3ForCausalLM", 8)
    assert {type(cache).__name__ for cache in model.cache_layers} == {"MlaAttention"}
    assert [tensor.shape[0] for tensor in model.tensors if "cos_sin" in tensor.name] == [4 * 8192]


def test_windows_repeat_over_the_layers():
    kinds = {
        type(cache).__name__: cache.layers for cache in model_of({**PARAMS, "sliding_window": [64, None]}).cache_layers
    }
    assert kinds == {"SlidingWindow": (0, 2), "FullAttention": (1, 3)}


@pytest.mark.parametrize(
    ("written", "method"),
    [({"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}, "fp8"),
     ({"quant_method": "compressed_tensors", "format": "dense", "config_groups": {}}, "compressed-tensors"), ({}, None)],
)  # fmt: skip
def test_quantization_is_read(written, method):
    section = config_from_params({**PARAMS, "quantization": written}).get("quantization_config") or {}
    assert section.get("quant_method") == method


@pytest.mark.parametrize(("params", "fact"), [(case["config"], fact) for case in RECORDED for fact in case["facts"]])
def test_bytes_and_cache_are_those_of_vllm(params, fact):
    """
    Without images and with them: merged patches, biases, FP8, windows, experts.
    """
    check_start(config_from_params(params), fact)


@pytest.mark.parametrize("key", RECORDED[0]["config"]["vision_encoder"])
def test_an_encoder_needs_all_of_its_sizes(key):
    """
    vLLM's VisionEncoderArgs has no defaults for them.
    """
    vision = {**RECORDED[0]["config"]["vision_encoder"], key: None}
    with pytest.raises(vs.ConfigError, match=rf"vision_config\.{key} is missing; it must be a number"):
        model_of({**PARAMS, "vision_encoder": vision})


def test_the_largest_image_is_counted_in_merged_patches():
    """
    448 pixels make 32 patches of 14, and half as many per side where squares of four are merged.
    """
    vision = RECORDED[0]["config"]["vision_encoder"]
    merged = {**vision, "mm_projector_id": "patch_merge", "spatial_merge_size": 2}
    plain, fewer = (model_of({**PARAMS, "vision_encoder": one}).encoders for one in (vision, merged))
    assert [one.max_tokens_per_item for one in (*plain, *fewer)] == [32**2, 16**2]


def test_a_silent_window_is_none():
    """
    Nothing of MistralConfig's defaults: vLLM makes a plain PreTrainedConfig of the file.
    """
    assert {type(cache).__name__ for cache in model_of(PARAMS).cache_layers} == {"FullAttention"}


def test_an_image_encoder_makes_a_pixtral():
    vision = {"hidden_size": 64, "num_hidden_layers": 2}
    config = config_from_params({**PARAMS, "vision_encoder": vision})
    assert config["architectures"] == ["PixtralForConditionalGeneration"]
    assert config["vision_config"] == vision


@pytest.mark.parametrize(
    "more",
    [
        {"multimodal": {"a": 1}}, {"moe": {"num_experts": 8}}, {"qk_nope_head_dim": 64},
        {"quantization": {"quant_method": "other"}}, {"quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "ROW"}}, {"sliding_window": [64, 32]}, {"sliding_window": [1, None, None]},
    ],
)  # fmt: skip
def test_what_is_not_modelled_is_refused(more):
    with pytest.raises(vs.ConfigError, match=next(iter(more))):
        config_from_params({**PARAMS, **more})
