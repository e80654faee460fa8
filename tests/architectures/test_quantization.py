"""
Quantized checkpoints against vLLM's own numbers, and how a checkpoint says what it is.
"""

import json
from pathlib import Path

import pytest

import vllm_sizing as vs
from tests.architectures.quantized import DENSE, EXPERTS, quantized
from vllm_sizing.architectures import model_from_config
from vllm_sizing.architectures.checkpoint_formats import parse_quantization
from vllm_sizing.architectures.config import Config
from vllm_sizing.errors import ConfigError, UnsupportedError
from vllm_sizing.sizing.defaults import rules_for
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.sizing.methods import expert_padding
from vllm_sizing.sizing.weights import Loading, scheme_bytes, stage_weights

FACTS = json.loads((Path(__file__).parents[1] / "data/architectures/quantization.json").read_text())["facts"]
NEWEST = rules_for((0, 33, 0))
MODULES = ("q_proj", "k_proj", "v_proj")


def rank_bytes(model, tensor, gpu="h100-sxm"):
    padding = expert_padding(model, vs.find_gpu(gpu), NEWEST)
    loading = Loading(dtype="bfloat16", max_num_batched_tokens=8192, expert_padding=padding)
    return stage_weights(model, Layout(tensor=tensor), loading)[0].num_bytes


@pytest.mark.parametrize(
    ("name", "tensor", "expected"),
    [(name, int(size), expected) for name, fact in FACTS.items() for size, expected in fact["bytes"].items()],
)
def test_weights_equal_vllms_to_the_byte(name, tensor, expected):
    """
    Every format in a small model: as many bytes as vLLM allocates, or a refusal where it refuses.
    """
    fact = FACTS[name]
    if expected is None:
        with pytest.raises((UnsupportedError, ConfigError)):
            rank_bytes(quantized(fact["quantization_config"], mixture=fact["mixture"]), tensor)
    else:
        model = quantized(fact["quantization_config"], mixture=fact["mixture"])
        assert rank_bytes(model, tensor, fact.get("gpu", "h100-sxm")) == expected


@pytest.mark.parametrize("name", [name for name, fact in FACTS.items() if fact["method"]])
def test_the_method_is_called_as_vllm_calls_it(name):
    model = quantized(FACTS[name]["quantization_config"], mixture=FACTS[name]["mixture"])
    assert model.quantization == FACTS[name]["method"]
    assert {tensor.scheme.method for tensor in model.tensors if tensor.scheme} <= {model.quantization}


@pytest.mark.parametrize("name", [name for name, fact in FACTS.items() if "kv_cache_dtype" in fact])
def test_a_checkpoint_may_choose_the_cache(name):
    model = quantized(FACTS[name]["quantization_config"])
    assert model.kv_cache_dtype == FACTS[name]["kv_cache_dtype"]


# --- where a checkpoint says so ---


def parse(config, companion=None, architecture="LlamaForCausalLM"):
    beside = None if companion is None else Config(companion, "hf_quant_config.json")
    return parse_quantization(Config(config), beside, architecture=architecture)


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
MODELOPT = {
    "producer": {"name": "modelopt"},
    "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]},
}


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": FP8},
        {"compression_config": FP8},
        {"text_config": {"quantization_config": FP8}},
        {"quantization_config": FP8, "text_config": {"quantization_config": {"quant_method": "nothing"}}},
    ],
)
def test_a_config_keeps_its_section_in_several_places(config):
    assert parse(config).method == "fp8"


def test_the_file_beside_the_config_counts_where_the_config_says_nothing():
    found = parse({}, MODELOPT)
    assert (found.method, found.kv_cache_dtype) == ("modelopt", "fp8_e4m3")
    assert found.lm_head("lm_head") is None
    assert found.linear("model.layers.0.mlp.down_proj").name == "fp8 per tensor"


def test_the_config_counts_before_the_file_beside_it():
    assert parse({"quantization_config": FP8}, MODELOPT).method == "fp8"
    assert parse({"quantization_config": {"quant_algo": "FP8"}}, MODELOPT).method == "modelopt"


def test_layers_of_a_mixture_may_stand_in_the_file_beside():
    section = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
    layers = {"model.layers.0.mlp.down_proj": {"quant_algo": "NVFP4"}}
    beside = {"quantization": {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers}}
    found = parse({"quantization_config": section}, beside)
    assert found.method == "modelopt_mixed"
    assert found.linear("model.layers.0.mlp.down_proj").name == "nvfp4"
    assert found.linear("model.layers.1.mlp.down_proj") is None


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        ("FP8", "fp8_e4m3"), ("NVFP4", "nvfp4"), ("INT8", None), (None, None), ({}, None),
        ({"type": "float", "num_bits": 8, "dynamic": False}, "fp8_e4m3"),
        ({"type": "float", "num_bits": 8, "dynamic": True}, None),
        ({"type": "float", "num_bits": 4}, "nvfp4"),
    ],
)  # fmt: skip
def test_modelopt_may_choose_the_cache(scheme, expected):
    section = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": scheme}
    assert parse({"quantization_config": section}).kv_cache_dtype == expected


def test_two_architectures_have_methods_of_their_own():
    mxfp4 = {"quantization_config": {"quant_method": "mxfp4"}}
    assert parse(mxfp4).method == "mxfp4"
    assert parse(mxfp4, architecture="GptOssForCausalLM").method == "gpt_oss_mxfp4"
    assert parse({"quantization_config": FP8, "model_type": "deepseek_v4"}).method == "deepseek_v4_fp8"


@pytest.mark.parametrize(
    ("facts", "linear", "experts"),
    [
        ({}, 1, "mxfp4"),
        ({"expert_dtype": "fp8"}, 4, "fp8 128x128"),
    ],
)
def test_deepseek_v4_stores_experts_as_its_config_says(facts, linear, experts):
    section = {**FP8, "weight_block_size": [128, 128]}
    found = parse({"quantization_config": section, "model_type": "deepseek_v4", **facts})
    assert found.linear("model.layers.0.attn.wq_b").extras[0].element_bytes == linear
    assert found.experts("model.layers.0.ffn.experts")[0].name == experts


def test_experts_that_modelopt_left_alone_stay_as_deepseek_made_them():
    section = {**FP8, "weight_block_size": [128, 128], "moe_quant_algo": "NVFP4", "ignore": ["layers.1.*"]}
    found = parse({"quantization_config": section, "model_type": "deepseek_v4"})
    assert found.experts("model.layers.0.ffn.experts")[0].name == "nvfp4"
    assert found.experts("model.layers.1.ffn.experts")[0].name == "mxfp4"
    assert found.varies_by_layer


def test_an_unknown_expert_dtype_is_refused():
    with pytest.raises(ConfigError, match="expert_dtype is 'int3'"):
        parse({"quantization_config": FP8, "model_type": "deepseek_v4", "expert_dtype": "int3"})


# --- names in a larger model ---

PREFIXES = (("model.language_model.", "language_model.model."), ("lm_head", "language_model.lm_head"))


@pytest.mark.parametrize(
    "section",
    [
        {**FP8, "ignored_layers": [f"model.language_model.layers.0.self_attn.{part}" for part in MODULES]},
        {
            "quant_method": "modelopt", "quant_algo": "NVFP4",
            "ignore": ["model.language_model.layers.0.self_attn*"],
        },
        {
            "quant_method": "compressed-tensors", "format": "float-quantized",
            "ignore": [f"model.language_model.layers.0.self_attn.{part}" for part in MODULES],
            "config_groups": {"g": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}},
        },
        {
            "quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True,
            "modules_to_not_convert": ["model.language_model.layers.0.self_attn"],
        },
        {
            "quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True,
            "modules_in_block_to_quantize": ["model.language_model.layers.1."],
        },
        {
            "quant_method": "quark", "export": {"pack_method": "reorder"},
            "exclude": [f"model.language_model.layers.0.self_attn.{part}" for part in MODULES],
            "global_quant_config": {
                "weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"},
                "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": True},
            },
        },
        {
            "quant_method": "auto-round", "bits": 4, "group_size": 128,
            "extra_config": {f"model.language_model.layers.0.self_attn.{part}": {"bits": 16} for part in MODULES},
        },
        {"quant_method": "bitsandbytes", "llm_int8_skip_modules": ["model.language_model.layers.0.self_attn"]},
        {
            "quant_method": "modelopt", "quant_algo": "MIXED_PRECISION",
            "quantized_layers": {
                f"model.language_model.layers.1.self_attn.{part}": {"quant_algo": "FP8"} for part in MODULES
            },
        },
    ],
    ids=lambda section: section["quant_method"] + section.get("quant_algo", ""),
)  # fmt: skip
def test_rules_follow_the_names_of_the_model_class(section):
    """
    The checkpoint's names are Hugging Face's; a wrapper class has its own.
    """
    found = parse({"quantization_config": section})
    mapped = found.with_prefixes(PREFIXES)
    kept = "language_model.model.layers.0.self_attn.qkv_proj"
    other = "language_model.model.layers.1.self_attn.qkv_proj"
    assert mapped.varies_by_layer
    assert mapped.linear(kept, MODULES) is None
    assert mapped.linear(other, MODULES) is not None
    assert found.linear(kept.replace("language_model.model.", "model.language_model."), MODULES) is None


def test_prefixes_leave_the_original_as_it_is():
    found = parse({"quantization_config": {**FP8, "ignored_layers": ["a.x"]}})
    assert found.with_prefixes((("a.", "b."),)).linear("b.x") is None
    assert found.linear("b.x") is not None
    assert found.linear("a.x") is None


def test_a_plain_checkpoint_has_no_rules():
    plain = parse({})
    assert plain.with_prefixes(PREFIXES).linear("x") is None
    assert (plain.experts("x"), plain.embedding("x"), plain.lm_head("x")) == ((None, None), None, None)
    assert not plain.varies_by_layer


# --- by layer ---


def test_only_rules_that_name_layers_split_them():
    everywhere = quantized({**FP8, "ignored_layers": ["lm_head"]})
    one = quantized({**FP8, "ignored_layers": ["model.layers.0.mlp.down_proj"]})
    assert len(one.tensors) == len(everywhere.tensors) + 1


def test_long_lists_stay_cheap():
    """
    128 layers of experts, every one named: many thousand rules, read within a second.
    """
    names = [f"model.layers.{at}.{name}" for at in range(128) for name in ("mlp.gate", "self_attn*", "mlp.experts.0.x")]
    section = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": [*names, "lm_head"]}
    model = quantized(section, mixture=True, num_hidden_layers=128)
    assert not [tensor.name for tensor in model.tensors if tensor.scheme is not None]
    layers = {
        f"model.layers.{at}.mlp.experts.{expert}.{part}_proj": {"quant_algo": "NVFP4", "group_size": 16}
        for at in range(128) for expert in range(128) for part in ("gate", "up", "down")
    }  # fmt: skip
    section = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    model = quantized(section, mixture=True, num_hidden_layers=128, num_experts=128)
    experts = [tensor for tensor in model.tensors if tensor.role == "experts"]
    assert {tensor.scheme.name for tensor in experts} == {"nvfp4"}
    assert len(experts) == 2


@pytest.mark.parametrize("base", [DENSE, EXPERTS])
def test_parameters_do_not_depend_on_the_format(base):
    plain = model_from_config(base, name="x").num_parameters
    assert model_from_config({**base, "quantization_config": FP8}, name="x").num_parameters == plain


def test_methods_that_need_a_flag_say_so():
    model = quantized({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0})
    assert [finding.code for finding in model.findings] == ["deprecated-quantization"]
    model = quantized({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}})
    assert [finding.code for finding in model.findings] == ["torchao-layout"]


@pytest.mark.parametrize("facts", [{"load_in_4bit": True}, {"load_in_4bit": True, "bnb_4bit_use_double_quant": True}])
def test_bitsandbytes_keeps_a_scale_per_64_weights(facts):
    """
    In float32, also where the checkpoint quantized the scales in turn.
    """
    model = quantized({"quant_method": "bitsandbytes", **facts}, mixture=True)
    schemes = {tensor.scheme for tensor in model.tensors if tensor.scheme}
    assert {(scheme.weight_bits, scheme.extras[0].cols, scheme.extras[0].element_bytes) for scheme in schemes} == {
        (4, 64, 4)
    }
    assert any(tensor.role == "experts" and tensor.scheme for tensor in model.tensors)


def test_bitsandbytes_keeps_a_scale_per_row_of_8_bit_weights():
    model = quantized({"quant_method": "bitsandbytes", "load_in_8bit": True})
    assert {tensor.scheme.extras[0].rows for tensor in model.tensors if tensor.scheme} == {1}
    assert "eager" in model.traits
    with pytest.raises(ConfigError, match="no experts that bitsandbytes packed in 8 bits"):
        quantized({"quant_method": "bitsandbytes", "load_in_8bit": True}, mixture=True)


@pytest.mark.parametrize(("codec", "bits"), [("IQ2_XS", 74 / 32), ("IQ2_XXS", 66 / 32), ("Q8_0", 34 / 4)])
def test_packed_blocks_hold_their_scales(codec, bits):
    """
    vLLM 0.33 ``utils/b12x.py``: 256 weights in 74 bytes, and so on; embeddings too.
    """
    layers = {"model.layers.0.mlp.down_proj": {"quant_algo": codec}, "model.embed_tokens": {"quant_algo": codec}}
    section = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    found = parse({"quantization_config": section})
    for scheme in (found.linear("model.layers.0.mlp.down_proj"), found.embedding("model.embed_tokens")):
        assert scheme_bytes(scheme, 512, 1024) == 512 * 1024 * bits / 8


def test_a_mixture_names_the_head_as_it_likes():
    section = {
        "quant_method": "modelopt",
        "quant_algo": "MIXED_PRECISION",
        "quantized_layers": {"lm_head": {"quant_algo": "FP8"}},
    }
    found = parse({"quantization_config": section})
    assert found.lm_head("language_model.lm_head").name == "fp8 per tensor"
    assert found.lm_head("head") is None
    assert found.embedding("model.embed_tokens") is None


def test_mxfp8_blocks_of_deepseek_v4_are_spread_over_rows():
    section = {**FP8, "weight_block_size": [32, 32]}
    found = parse({"quantization_config": section, "model_type": "deepseek_v41"})
    assert found.linear("model.layers.0.attn.wq_b").name == "mxfp8"


@pytest.mark.parametrize("pattern", ["pack-quantized", "int-quantized"])
def test_rounded_activations_keep_two_scales(pattern):
    fixed = {"num_bits": 8, "type": "int", "strategy": "tensor"}
    group = {
        "targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "strategy": "channel"},
        "input_activations": fixed, "output_activations": fixed,
    }  # fmt: skip
    section = {"quant_method": "compressed-tensors", "format": pattern, "config_groups": {"g": group}}
    scheme = parse({"quantization_config": section}).linear("x")
    assert [extra.name for extra in scheme.extras][-2:] == ["input_scale", "output_scale"]
    assert scheme.weight_bits == (4 if pattern == "pack-quantized" else 8)


def test_outputs_that_do_not_fill_a_word_are_refused():
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
    model = quantized(awq, num_attention_heads=12, num_key_value_heads=12, head_dim=11)
    with pytest.raises(UnsupportedError, match="packed by 8"):
        rank_bytes(model, 1)
