"""
Settings that the usual checkpoints of a family do not have, against what vLLM allocates and plans.

Layers of one kind only, experts everywhere or nowhere, windows left out, lists instead of patterns.
"""

import pytest

import vllm_sizing as vs
from tests.architectures.recorded import REMOVED, cases, check_start, recorded


@pytest.mark.parametrize(("config", "fact"), cases("variants"))
def test_bytes_and_cache_are_those_of_vllm(config, fact):
    check_start(config, fact)


def built(family, number=0, overrides=None, **changes):
    return vs.model_from_config(recorded(family, number, **changes), name="model", hf_overrides=overrides)


def test_a_pattern_says_the_same_as_a_list():
    """
    Every fourth layer of EXAONE sees everything, which its config may say either way.
    """
    assert built("exaone_moe", layer_types=REMOVED) == built("exaone_moe")


@pytest.mark.parametrize(
    ("family", "number", "key"),
    [("exaone_moe", 0, "num_nextn_predict_layers"), ("variants", 20, "num_nextn_predict_layers")],
)
def test_a_model_without_draft_layers_has_no_draft(family, number, key):
    whole, plain = built(family, number), built(family, number, **{key: 0})
    assert (plain.draft, plain.tensors) == (None, whole.tensors)


def test_the_decoder_alone_is_the_whole_model_without_its_eyes():
    whole = built("minimax_m3")
    text = {**recorded("minimax_m3", 0)["text_config"], "architectures": ["MiniMaxM3SparseForCausalLM"]}
    alone = vs.model_from_config(text, name="model")
    seen = {
        (tensor.name.removeprefix("language_model."), tensor.shape, tensor.layers)
        for tensor in whole.tensors
        if tensor.tower == "language"
    }
    assert {(tensor.name, tensor.shape, tensor.layers) for tensor in alone.tensors} == seen
    assert alone.cache_layers == whole.cache_layers


def test_every_layer_of_an_encoder_adds_the_same_and_the_last_may_be_dropped():
    """
    Also where the only layer is the one that is dropped.
    """
    sizes = [
        built("minicpmv", 0, drop_vision_last_layer=True, vision_config__num_hidden_layers=number).num_parameters
        for number in (1, 2, 3)
    ]
    assert sizes[1] - sizes[0] == sizes[2] - sizes[1] > 0
    kept = built("minicpmv", 0, vision_config__num_hidden_layers=1)
    assert kept.num_parameters == sizes[1]


def test_an_override_may_add_a_section():
    """
    A section that the file leaves null is replaced, one that it has is merged.
    """
    whole = recorded("kimi_linear", 0)
    section = whole["linear_attn_config"]
    added = built("kimi_linear", linear_attn_config=None, overrides={"linear_attn_config": section})
    merged = built("kimi_linear", overrides={"linear_attn_config": {"num_heads": section["num_heads"]}})
    assert added.tensors == merged.tensors == built("kimi_linear").tensors


def test_a_section_that_contains_itself_is_refused():
    config, overrides = recorded("minimax_m3", 0), {}
    config["text_config"] = config
    overrides["text_config"] = overrides
    with pytest.raises(vs.ConfigError, match="nested too deeply or contain themselves"):
        vs.model_from_config(config, hf_overrides=overrides)


STEP = {
    "architectures": ["Step1ForCausalLM"], "model_type": "step1", "hidden_size": 1024, "intermediate_size": 2048,
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_attention_groups": 2, "vocab_size": 32000,
    "max_position_embeddings": 4096, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip


def step_plan(**args):
    model = vs.model_from_config(STEP, name="step")
    return vs.plan(model, vs.find_gpu("h100-sxm"), engine_args=vs.EngineArgs(kv_cache_memory_bytes=2**30, **args))


def test_step_1_shares_heads_in_groups():
    """
    vLLM's own plan of the cache: 2 of 8 heads have keys and values.
    """
    cache = step_plan(attention_backend="TRITON_ATTN").kv_cache
    assert (cache.num_gpu_blocks, cache.size_tokens) == (16384, 262144)


@pytest.mark.parametrize("backend", [None, "FLASH_ATTN"])
def test_step_1_needs_the_kernels_that_know_its_positions(backend):
    """
    vLLM chooses FlashAttention and then ends: "use_alibi_sqrt is not supported by backend FLASH_ATTN".
    """
    with pytest.raises(vs.UnsupportedError, match=r"FLASH_ATTN has no square root .* to TRITON_ATTN") as refusal:
        step_plan(attention_backend=backend)
    assert refusal.value.field == "attention_backend"
