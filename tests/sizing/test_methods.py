"""
Quantization methods: what a release loads on which GPU, what it converts while loading, how kernels pad.
"""

import pytest

import vllm_sizing as vs
from tests.architectures.quantized import DENSE, EXPERTS, quantized
from vllm_sizing.architectures import model_from_config
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.defaults import rules_for
from vllm_sizing.sizing.kernels import METHODS, ONLINE, expert_multiples
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.sizing.methods import check_method, expert_padding, online_schemes, online_schemes_for
from vllm_sizing.sizing.storage import ExpertPadding
from vllm_sizing.sizing.weights import Loading, stage_weights

NEWEST = rules_for((0, 33, 0))
H100, A100, L4, T4, B200 = map(vs.find_gpu, ("h100-sxm", "a100-sxm-80gb", "l4", "t4", "b200"))
PLAIN = model_from_config(DENSE, name="plain")
MIXTURE = model_from_config(EXPERTS, name="mixture")
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}


def bytes_with(model, word, tensor=1):
    online = online_schemes_for(model, word, NEWEST)
    loading = Loading(dtype=model.dtype, max_num_batched_tokens=8192, online=online)
    return stage_weights(model, Layout(tensor=tensor), loading)[0].num_bytes


# --- on-line ---


@pytest.mark.parametrize("word", sorted(ONLINE))
def test_converting_while_loading_never_takes_more(word):
    newest = (0, 27, 0) if word == "bitsandbytes" else (0, 33, 0)
    for model in (PLAIN, MIXTURE):
        online = online_schemes_for(model, word, rules_for(newest))
        loading = Loading(dtype="bfloat16", online=online)
        converted = stage_weights(model, Layout(), loading)[0].num_bytes
        stored = stage_weights(model, Layout(), Loading(dtype="bfloat16"))[0].num_bytes
        experts_only = online is not None and online[0] is None
        assert converted == stored if experts_only and model is PLAIN else converted < stored


def test_fp8_is_one_byte_and_a_scale_per_layer():
    """
    As vLLM 0.33 recorded it for Qwen3-8B: one float32 scale for a fused linear layer.
    """
    linear, w13, w2 = online_schemes("fp8")
    assert linear == w13 == w2
    assert [(extra.rows, extra.cols, extra.element_bytes) for extra in linear.extras] == [(0, 0, 4)]


def test_plain_models_are_loaded_as_stored():
    assert online_schemes_for(PLAIN, None, NEWEST) is None


@pytest.mark.parametrize("word", ["awq", "gptq", "modelopt", "fp9", "", "gguf", "bitsandbytes"])
def test_a_method_that_converts_nothing_is_refused(word):
    with pytest.raises(UnsupportedError, match=r"0\.33\.0 cannot convert.*fp8_per_block"):
        online_schemes_for(PLAIN, word, NEWEST)


@pytest.mark.parametrize(
    ("word", "before", "since"),
    [
        ("fp8_per_tensor", (0, 19, 1), (0, 20, 0)),
        ("fp8_per_channel", (0, 23, 0), (0, 24, 0)),
        ("nvfp4_per_token", (0, 25, 0), (0, 26, 0)),
        ("mxfp4", (0, 27, 0), (0, 28, 0)),
        ("bitsandbytes", (0, 28, 0), (0, 27, 0)),
    ],
)
def test_on_line_methods_belong_to_releases(word, before, since):
    assert online_schemes_for(MIXTURE, word, rules_for(since)) is not None
    with pytest.raises(UnsupportedError, match=word):
        online_schemes_for(MIXTURE, word, rules_for(before))


@pytest.mark.parametrize(
    ("config", "word"),
    [(FP8, "fp8"), (AWQ, "awq"), (AWQ, "awq_marlin"), (AWQ, "auto_awq"), (GPTQ, "gptq_marlin"), (GPTQ, "GPTQ")],
)
def test_the_checkpoints_own_method_is_a_confirmation(config, word):
    assert online_schemes_for(quantized(config), word, NEWEST) is None


@pytest.mark.parametrize("word", ["fp8_per_tensor", "awq", "mxfp4", "humming"])
def test_another_method_than_the_checkpoints_is_refused(word):
    with pytest.raises(UnsupportedError, match="stored as 'fp8'"):
        online_schemes_for(quantized(FP8), word, NEWEST)


# --- releases and GPUs ---


@pytest.mark.parametrize(
    ("config", "gpu", "version", "refused"),
    [
        (FP8, A100, (0, 33, 0), None),
        (FP8, T4, (0, 33, 0), None),
        (FP8, T4, (0, 13, 0), "8.0 or newer; t4 has 7.5"),
        (AWQ, T4, (0, 10, 0), None),
        (GPTQ, T4, (0, 21, 0), None),
        ({**GPTQ, "bits": 8}, T4, (0, 33, 0), None),
        ({**GPTQ, "bits": 3}, A100, (0, 33, 0), "before 0.22.0"),
        ({**GPTQ, "bits": 3}, A100, (0, 21, 0), None),
        ({**GPTQ, "desc_act": True}, A100, (0, 30, 0), "before 0.30.0"),
        ({**GPTQ, "desc_act": True}, A100, (0, 29, 0), None),
        ({**GPTQ, "desc_act": True, "group_size": -1}, A100, (0, 33, 0), None),
        ({**AWQ, "bits": 8}, A100, (0, 12, 0), "before 0.12.0"),
        ({"quant_method": "experts_int8"}, T4, (0, 33, 0), "8.0 or newer"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, A100, (0, 33, 0), "before 0.28.0"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, A100, (0, 27, 0), None),
        ({"quant_method": "mxfp4"}, H100, (0, 10, 0), "from 0.10.1 on"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, A100, (0, 26, 0), "8.9 or newer"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, A100, (0, 27, 0), None),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, A100, (0, 33, 0), None),
    ],
)
def test_a_method_needs_its_release_and_its_gpu(config, gpu, version, refused):
    model = quantized(config, mixture="mxfp4" in config["quant_method"] or "experts" in config["quant_method"])
    if refused is None:
        check_method(model, None, gpu, rules_for(version))
    else:
        with pytest.raises(UnsupportedError, match=refused):
            check_method(model, None, gpu, rules_for(version))


def int4_for_fp8_inputs():
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
    inputs = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {
        "quant_method": "compressed-tensors", "format": "pack-quantized",
        "config_groups": {"group_0": group}, "ignore": ["lm_head"],
    }  # fmt: skip


def test_some_formats_run_on_one_generation_only():
    model = quantized(int4_for_fp8_inputs())
    check_method(model, None, H100, NEWEST)
    for gpu in (L4, B200):
        with pytest.raises(UnsupportedError, match=r"9\.0 exactly"):
            check_method(model, None, gpu, NEWEST)


def test_activation_order_belongs_to_older_releases():
    config = int4_for_fp8_inputs()
    group = config["config_groups"]["group_0"]
    group["input_activations"], group["weights"]["actorder"] = None, "group"
    model = quantized(config)
    check_method(model, None, A100, rules_for((0, 29, 0)))
    with pytest.raises(UnsupportedError, match=r"with activation order.*before 0\.30\.0"):
        check_method(model, None, A100, NEWEST)


def test_on_line_methods_need_their_gpu():
    with pytest.raises(UnsupportedError, match=r"8\.9 or newer; a100"):
        check_method(PLAIN, "fp8_per_channel", A100, NEWEST)
    check_method(PLAIN, "fp8_per_channel", L4, NEWEST)
    with pytest.raises(UnsupportedError, match=r"10\.0 exactly"):
        check_method(MIXTURE, "nvfp4_per_token", H100, NEWEST)
    check_method(MIXTURE, "nvfp4_per_token", B200, NEWEST)


def test_narrow_fp8_experts_have_no_kernel_on_an_a100():
    """
    MiniMax-M2.5 at TP 8, recorded: "No FP8 MoE backend supports the deployment configuration".
    """
    blocks = {**FP8, "weight_block_size": [128, 128]}
    model = quantized(blocks, mixture=True)
    check_method(model, None, A100, NEWEST, layout=Layout(tensor=1))
    check_method(model, None, L4, NEWEST, layout=Layout(tensor=4))
    check_method(model, None, A100, NEWEST, layout=Layout(tensor=4, expert=True))
    with pytest.raises(UnsupportedError, match="enable_expert_parallel"):
        check_method(model, None, A100, NEWEST, layout=Layout(tensor=4))


@pytest.mark.parametrize(
    ("config", "dtype", "allowed"),
    [
        (FP8, "float16", True),
        (FP8, "float32", False),
        ({"quant_method": "mxfp4"}, "float16", False),
        ({"quant_method": "bitsandbytes"}, "float32", True),
    ],
)
def test_methods_compute_in_few_dtypes(config, dtype, allowed):
    model = quantized(config, mixture=True)
    if allowed:
        check_method(model, None, H100, rules_for((0, 27, 0)), dtype=dtype)
    else:
        with pytest.raises(UnsupportedError, match="dtype is"):
            check_method(model, None, H100, rules_for((0, 27, 0)), dtype=dtype)


def test_on_line_methods_compute_in_16_bits():
    check_method(PLAIN, "fp8", H100, NEWEST, dtype="float16")
    with pytest.raises(UnsupportedError, match="dtype is float32"):
        check_method(PLAIN, "fp8", H100, NEWEST, dtype="float32")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_newest_floor_counts(name):
    """
    Oldest first, and a release between two has the older one's floor.
    """
    support = METHODS[name]
    releases = [release for release, _ in support.floors]
    assert releases == sorted(set(releases))
    for release, floor in support.floors:
        assert support.floor(release) == floor


# --- padding ---


@pytest.mark.parametrize(
    ("rule", "capability", "version", "multiples"),
    [
        ("gpt_oss_mxfp4", (8, 0), (0, 33, 0), (128, 256, 1)),
        ("gpt_oss_mxfp4", (8, 9), (0, 33, 0), (128, 256, 1)),
        ("gpt_oss_mxfp4", (9, 0), (0, 33, 0), (64, 1, 1)),
        ("gpt_oss_mxfp4", (9, 0), (0, 11, 0), (64, 1, 256)),
        ("gpt_oss_mxfp4", (9, 0), (0, 10, 1), (128, 256, 1)),
        ("gpt_oss_mxfp4", (10, 0), (0, 26, 0), (256, 256, 1)),
        ("gpt_oss_mxfp4", (10, 0), (0, 27, 0), (128, 256, 1)),
        ("gpt_oss_mxfp4", (12, 0), (0, 11, 0), (64, 1, 1)),
        ("gpt_oss_mxfp4", (12, 0), (0, 31, 0), (128, 256, 1)),
        ("gpt_oss_mxfp4", (12, 0), (0, 32, 0), (64, 1, 1)),
        ("gpt_oss_mxfp4", (12, 1), (0, 33, 0), (128, 256, 1)),
        ("mxfp4", (9, 0), (0, 33, 0), (64, 1, 1)),
        ("mxfp4", (8, 0), (0, 33, 0), (128, 256, 1)),
        ("plain", (9, 0), (0, 33, 0), (1, 1, 1)),
        ("plain", (10, 0), (0, 33, 0), (128, 1, 1)),
        ("plain", (10, 0), (0, 31, 0), (1, 1, 1)),
    ],
)
def test_kernels_pad_by_gpu_and_release(rule, capability, version, multiples):
    assert expert_multiples(rule, capability, version) == multiples


def test_dense_models_and_other_vendors_are_not_padded():
    assert expert_padding(PLAIN, B200, NEWEST) == ()
    assert expert_padding(MIXTURE, H100, NEWEST) == ()
    assert expert_padding(MIXTURE, B200, NEWEST) == (ExpertPadding(rule="plain", intermediate=128),)


def test_the_blackwell_kernel_wants_silu_experts():
    """
    gpt-oss in 16 bits has another activation, which that kernel does not know.
    """
    config = {
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 512, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_local_experts": 8, "vocab_size": 1000, "torch_dtype": "bfloat16",
    }  # fmt: skip
    assert expert_padding(model_from_config(config, name="x"), B200, NEWEST) == ()


def test_padding_is_allocated():
    """
    Experts of width 96 on a rank are held as if they were 128 wide.
    """
    loading = Loading(dtype="bfloat16", expert_padding=expert_padding(MIXTURE, B200, NEWEST))
    padded = stage_weights(MIXTURE, Layout(tensor=4), loading)[0].num_bytes
    bare = stage_weights(MIXTURE, Layout(tensor=4), Loading(dtype="bfloat16"))[0].num_bytes
    layers, experts, hidden = 2, 8, 512
    assert padded - bare == layers * experts * 3 * hidden * (128 - 96) * 2


def test_packed_bitsandbytes_weights_are_not_divided():
    model = quantized({"quant_method": "bitsandbytes", "load_in_4bit": True})
    gpu, rules = vs.find_gpu("h100-sxm"), rules_for((0, 27, 0))
    check_method(model, None, gpu, rules, layout=Layout(tensor=1, pipeline=2))

    with pytest.raises(UnsupportedError, match="does not divide the packed weights of a bitsandbytes checkpoint"):
        check_method(model, None, gpu, rules, layout=Layout(tensor=2))
    check_method(PLAIN, "bitsandbytes", gpu, rules, layout=Layout(tensor=2))


def test_bitsandbytes_of_8_bits_runs_without_cuda_graphs():
    gpu = vs.find_gpu("h100-sxm")
    graphs = {
        bits: vs.plan(quantized({"quant_method": "bitsandbytes", bits: True}), gpu, vllm_version="0.27.0").memory
        for bits in ("load_in_4bit", "load_in_8bit")
    }

    assert graphs["load_in_8bit"].cuda_graph_bytes == 0 < graphs["load_in_4bit"].cuda_graph_bytes
