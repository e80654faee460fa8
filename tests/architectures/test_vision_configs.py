"""
Configs of models that see: what they may leave out, and what is refused by name.
"""

import json

import pytest

import vllm_sizing as vs
from tests.architectures.recorded import DATA


def first(family, architecture):
    """
    The first recorded config of an architecture.
    """
    recorded = json.loads((DATA / f"{family}.json").read_text())["cases"]
    return next(case["config"] for case in recorded if case["config"]["architectures"] == [architecture])


def build(config):
    return vs.model_from_config(config, name="sees")


KIMI = first("kimi_vision", "KimiVLForConditionalGeneration")
ERNIE = first("ernie_vision", "Ernie4_5_VLMoeForConditionalGeneration")
EXAONE = first("exaone_vision", "Exaone4_5_ForConditionalGeneration")
QWEN3 = first("qwen3_vl", "Qwen3VLForConditionalGeneration")
OMNI3 = first("qwen_omni", "Qwen3OmniMoeForConditionalGeneration")


def seen(config, **values):
    return {**config, "vision_config": {**config["vision_config"], **values}}


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (seen(KIMI, merge_kernel_size=[2, 3]), "merge_kernel_size"),
        (seen(KIMI, merge_kernel_size=2), "merge_kernel_size"),
        (seen(EXAONE, num_key_value_heads=5), "num_key_value_heads"),
        (seen(QWEN3, num_heads=7), "num_heads"),
        ({**ERNIE, "moe_num_experts": [16, 8]}, "moe_num_experts"),
        ({**ERNIE, "moe_layer_end_index": None}, "moe_layer_end_index"),
        ({**ERNIE, "moe_intermediate_size": [512]}, "moe_intermediate_size"),
        (
            {**OMNI3, "thinker_config": seen(OMNI3["thinker_config"], image_size=None)},
            "thinker_config.vision_config.image_size",
        ),
    ],
)
def test_a_wrong_value_is_refused_by_name(config, field):
    with pytest.raises(vs.ConfigError, match=field):
        build(config)


def test_no_tap_needs_no_place_for_features():
    model = build(seen(QWEN3, deepstack_visual_indexes=[]))
    assert not any(tensor.per_batched_token for tensor in model.tensors)
    assert {encoder.hidden_size for encoder in model.encoders} == {model.hidden_size}


def test_a_checkpoint_without_draft_layers_has_no_draft():
    assert build({**EXAONE, "num_nextn_predict_layers": 0}).draft is None


def test_without_experts_every_layer_is_dense():
    model = build({**ERNIE, "use_moe": False})
    assert model.num_experts == 0
    assert not any(tensor.role == "experts" for tensor in model.tensors)


def test_experts_for_text_only():
    model = build({**ERNIE, "moe_layer_start_index": [0, 900], "moe_layer_end_index": [900, 901]})
    names = {tensor.name for tensor in model.tensors if tensor.role == "experts"}
    assert all("text_experts" in name for name in names)
    assert any("vision_experts.gate_up_proj" in tensor.name for tensor in model.tensors)


def test_no_placeholder_no_table_of_ids():
    ids = "_visual_token_ids_tensor_cache"
    assert ids in {tensor.name for tensor in build(ERNIE).tensors}
    assert ids not in {tensor.name for tensor in build({**ERNIE, "im_patch_id": None}).tensors}


def test_an_image_within_the_limit_is_not_shrunk():
    small = build(seen(KIMI, patch_size=32)).encoders[0]
    assert small.max_tokens_per_item == (1024 // 64) ** 2


@pytest.mark.parametrize(
    ("family", "architecture", "modality", "length", "tokens"),
    [
        ("qwen2_vl", "Qwen2_5_VLForConditionalGeneration", "image", 128_000, 16_384),
        ("qwen2_vl", "Qwen2_5_VLForConditionalGeneration", "video", 128_000, 114_688),
        ("qwen2_vl", "Qwen2_5_VLForConditionalGeneration", "video", 32_768, 32_768),
        ("qwen3_vl", "Qwen3VLForConditionalGeneration", "image", 262_144, 16_384),
        ("qwen3_vl", "Qwen3VLForConditionalGeneration", "video", 262_144, 12_288),
        ("glm_vision", "Glm4vForConditionalGeneration", "image", 65_536, 6084),
        ("kimi_vision", "KimiK25ForConditionalGeneration", "vision_chunk", 262_144, 4225),
        ("qwen_omni", "Qwen2AudioForConditionalGeneration", "audio", 8192, 750),
        ("qwen_omni", "Qwen3ASRForConditionalGeneration", "audio", 65_536, 390),
        ("step_vision", "Step3VLForConditionalGeneration", "image", 65_536, 3085),
    ],
)
def test_largest_item_is_the_one_that_vllm_profiles(family, architecture, modality, length, tokens):
    """
    With the processors of the released checkpoints, as its processing classes compute it.
    """
    encoders = {encoder.modality: encoder for encoder in build(first(family, architecture)).encoders}
    assert encoders[modality].tokens_within(length) == tokens
