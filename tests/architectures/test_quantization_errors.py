"""
Quantization configs that are wrong: one line that names the value and the way out.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.architectures.quantized import DENSE, quantized
from vllm_sizing.architectures import model_from_config
from vllm_sizing.errors import ConfigError, SizingError
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.sizing.weights import Loading, stage_weights

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
ROUND = {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True}
QUARK = {
    "quant_method": "quark", "export": {"pack_method": "reorder", "kv_cache_group": []}, "exclude": [],
    "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor"}, "input_tensors": {"dtype": "x"}},
}  # fmt: skip


def compressed(weights, inputs=None, *, form="pack-quantized", targets=("Linear",), **facts):
    group = {"targets": list(targets), "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors", "format": form, "config_groups": {"g": group}, "ignore": ["lm_head"],
        **facts,
    }  # fmt: skip


NVFP4 = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
FP8_TOKENS = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "quantization_config is"),
        ("fp8", "quantization_config is"),
        ({"quant_method": 8}, "quant_method is 8; it must be a string"),
        ({"quant_method": "gguf"}, "tensor_types is missing"),
        ({"quant_method": "x" * 5000}, "which is not modelled"),
        ({"quant_method": "fp8"}, "activation_scheme is missing"),
        ({**FP8, "activation_scheme": "sometimes"}, "activation_scheme is 'sometimes'"),
        ({**FP8, "weight_block_size": [128]}, "weight_block_size"),
        ({**FP8, "weight_block_size": [0, 128]}, "weight_block_size"),
        ({**FP8, "weight_block_size": [128, 128], "activation_scheme": "static"}, "'dynamic' with weight_block_size"),
        ({**FP8, "ignored_layers": "lm_head"}, "ignored_layers"),
        ({**FP8, "modules_to_not_convert": [1]}, "modules_to_not_convert"),
        ({**FP8, "ignored_layers": ["model.layers.0.self_attn.q_proj"]}, "some but not all of q_proj, k_proj, v_proj"),
        ({**AWQ, "bits": 5}, "bits is 5"),
        ({**AWQ, "bits": None}, "w_bit is missing"),
        ({**AWQ, "group_size": 0}, "group_size is 0"),
        ({**AWQ, "group_size": -2}, "group_size is -2"),
        ({**AWQ, "zero_point": None}, "zero_point is missing"),
        ({**GPTQ, "bits": 7}, "bits is 7"),
        ({**GPTQ, "sym": None}, "sym is missing"),
        ({**GPTQ, "desc_act": "no"}, "desc_act"),
        ({**GPTQ, "dynamic": []}, "dynamic"),
        ({**GPTQ, "dynamic": {"+:.*": 1}}, "dynamic"),
        ({**GPTQ, "dynamic": {"+:.*": {"bits": 7}}}, "bits is 7"),
        ({**GPTQ, "dynamic": {"-:(a+)+": {}}}, "too costly"),
        ({**GPTQ, "modules_in_block_to_quantize": [[1]]}, "modules_in_block_to_quantize"),
        ({**ROUND, "bits": 9}, "bits is 9"),
        ({**ROUND, "data_type": "mx_fp"}, "32, for data_type mx_fp"),
        ({**ROUND, "data_type": "fp8"}, "for data_type fp"),
        ({**ROUND, "extra_config": {"x": 1}}, "extra_config"),
        ({**ROUND, "extra_config": {"x" * 2000: {}}}, "extra_config"),
        ({**ROUND, "extra_config": {"o_proj": {"bits": 12}}}, "2 to 8, or 16"),
        ({**GPTQ, "dynamic": {"x" * 2000: {}}}, "dynamic"),
        ({**ROUND, "extra_config": {"model.layers.0.self_attn.q_proj": {"bits": 16}}}, "q_proj|several formats"),
        (compressed({**INT4, "strategy": "tensor"}), "stores int4 by tensor"),
        (compressed({**INT4, "strategy": "group", "group_size": None}), "group_size"),
        (compressed({**INT4, "type": "complex"}), "'int' or 'float'"),
        (compressed({**INT4, "strategy": "sometimes"}), "strategy is 'sometimes'"),
        (compressed(INT4, config_groups={str(at): {} for at in range(2000)}), "at most 1024 groups"),
        (compressed({**NVFP4}, {"num_bits": 8, "type": "float"}), "NVFP4 weights want NVFP4 or 16-bit inputs"),
        (compressed({**INT4, "group_size": 64}, FP8_TOKENS), "want groups of 128"),
        (compressed({**INT4, "num_bits": 16}), "packed weights have 2 to 8 bits"),
        (compressed(NVFP4, targets=["Embedding"]), "embeddings want weight-only integers"),
        (compressed({**INT4, "num_bits": 99}), "num_bits is 99"),
        (compressed({**INT4, "strategy": "block", "type": "float"}), "block_structure"),
        (compressed(None), "weights is missing"),
        (compressed(INT4, form="dense"), "as dense with 16-bit inputs"),
        (compressed(INT4, ignore=["re:["]), "not a regular expression"),
        (compressed(INT4, ignore=["re:(x+)+$"]), "too costly"),
        (compressed(INT4, kv_cache_scheme={"type": "int", "num_bits": 8}), "kv_cache_scheme.num_bits"),
        (
            compressed(INT4, kv_cache_scheme={"type": "float", "num_bits": 8, "strategy": "channel"}),
            "'tensor' or 'attn_head'",
        ),
        (
            compressed(INT4, kv_cache_scheme={"type": "float", "num_bits": 8, "strategy": "tensor"}),
            "symmetric is missing; it must be true",
        ),
        (compressed(INT4, sparsity_config={"targets": ["Linear"]}), "sparsity"),
        ({"quant_method": "modelopt"}, "quant_algo"),
        ({"quant_method": "modelopt", "quant_algo": "FP9"}, "quant_algo is 'FP9'"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "quantized_layers is missing"),
        (
            {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {"x": {}}},
            "quant_algo is one of",
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {}},
            "1 to 65,536 modules",
        ),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "MIXED_PRECISION",
                "quantized_layers": {
                    "model.layers.0.self_attn.q_proj": {"quant_algo": "FP8"},
                    "model.layers.0.self_attn.k_proj": {"quant_algo": "NVFP4"},
                },
            },
            "fused parts of model.layers.0.self_attn.qkv_proj several formats",
        ),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": 8}, "a string or a JSON object"),
        ({"quant_method": "quark"}, "export"),
        ({**QUARK, "global_quant_config": {"weight": None}}, "global_quant_config.weight is None"),
        ({**QUARK, "global_quant_config": {"weight": [{}, {}, {}]}}, "one weight format, or NVFP4"),
        ({**QUARK, "global_quant_config": {"weight": {}, "bias": {"dtype": "int8"}}}, "output_tensors and bias"),
        ({**QUARK, "layer_quant_config": {str(at): {} for at in range(70_000)}}, "layer_quant_config"),
        ({**QUARK, "global_quant_config": {"weight": {"dtype": "fp9"}}}, "Quark scheme"),
        ({"quant_method": "torchao"}, "quant_type is missing"),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "X"}}}, "_type is 'X'"),
        ({"quant_method": "fp_quant", "forward_dtype": "int4"}, "'mxfp4' or 'nvfp4'"),
    ],
)
def test_a_wrong_quantization_config_is_one_line(config, message):
    with pytest.raises(ConfigError, match=message) as caught:
        quantized(config)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**AWQ, "group_size": -1}, "positive for experts"),
        (compressed(INT4, form="dense"), "experts want pack-quantized weights|as dense"),
        (compressed({**INT4, "num_bits": 8, "symmetric": False}), "experts with zero points have 4 bits"),
        (compressed({"num_bits": 8, "type": "int", "strategy": "tensor"}), "int8 by tensor"),
        (compressed(INT4, form="naive-quantized", targets=["re:.*experts.*"]), "experts want pack-quantized weights"),
        (
            compressed(
                {"num_bits": 8, "type": "int", "strategy": "channel"},
                {"num_bits": 8, "type": "int", "strategy": "tensor", "dynamic": False},
                form="int-quantized",
            ),
            "a format that vLLM documents for experts",
        ),
    ],
)
def test_experts_take_fewer_formats(config, message):
    with pytest.raises(ConfigError, match=message):
        quantized(config, mixture=True)


def test_the_file_beside_the_config_is_read_as_strictly():
    mixed = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}
    beside = {"quantization": {"quant_algo": "FP9"}}
    with pytest.raises(ConfigError, match=r"hf_quant_config\.json\.quantization\.quant_algo is 'FP9'"):
        model_from_config({**DENSE, "quantization_config": mixed}, hf_quant_config=beside)


def test_a_pattern_without_wildcards_is_a_name():
    name = "model.layers.0.self_attn.o_proj"
    ours, other = (quantized(compressed(INT4, ignore=[ignored])) for ignored in (f"re:{name}", name))
    assert ours.tensors == other.tensors != quantized(compressed(INT4, ignore=[])).tensors


@pytest.mark.parametrize("config", [None, {}, {"quant_method": ""}, {"producer": {"name": "someone"}}])
def test_nothing_said_is_a_plain_checkpoint(config):
    assert quantized(config).quantization is None


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8),
    st.sampled_from(("group", "channel", "float", "int", "FP8", "NVFP4", "re:(a+)+", "re:.*", "Linear", "model.*", 4, 8, 16, 128)),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("quant_algo", "bits", "group_size", "targets", "x")), inner, max_size=3)
    ),
    max_leaves=6,
)
GOOD = [
    FP8, AWQ, GPTQ, ROUND, QUARK, compressed(INT4), {"quant_method": "bitsandbytes"}, {"quant_method": "mxfp4"},
    {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16, "ignore": ["lm_head"]},
    {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {"lm_head": {"quant_algo": "FP8"}}},
    {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}},
    {"quant_method": "fp_quant", "forward_dtype": "nvfp4", "hadamard_group_size": 32},
]  # fmt: skip
KEYS = sorted(
    {key for config in GOOD for key in config} | {"ignored_layers", "dynamic", "extra_config", "kv_cache_scheme"}
)


@given(st.sampled_from(GOOD), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_whatever_stands_there_is_read_or_refused(config, wrong):
    """
    A hostile quantization config gives bytes or one of our errors, never another exception.
    """
    try:
        model = model_from_config({**DENSE, "quantization_config": {**config, **wrong}}, name="x")
        stage_weights(model, Layout(tensor=2), Loading(dtype="bfloat16"))
    except SizingError as error:
        assert "\n" not in str(error)  # noqa: PT017 both outcomes are right
