"""
Configs of models that see or hear with one wrong value: one line that names it and the way out.
"""

from math import prod

import pytest

from tests.architectures.recorded import REMOVED, recorded
from vllm_sizing.architectures import model_from_config
from vllm_sizing.errors import ConfigError, SizingError


@pytest.mark.parametrize(
    ("family", "number", "changes", "message"),
    [
        ("variants", 42, {"vision_config__model_type": "vit"}, "clip_vision_model, siglip_vision_model or pixtral"),
        ("variants", 42, {"vision_config__image_size": 340}, "it must be a multiple of patch_size (14)"),
        ("variants", 42, {"vision_config__patch_size": 337}, "patch_size is 337; it must be at most image_size"),
        ("variants", 42, {"vision_feature_layer": []}, "vision_feature_layer is []; it must be a layer or a list"),
        ("variants", 42, {"vision_feature_layer": [-2, 9]}, "it must be a layer from -6 to 6"),
        ("qwen2_vl", 0, {"vision_config__mlp_ratio": -1.0}, "vision_config.mlp_ratio is -1.0; it must be above 0"),
        ("variants", 39, {"audio_config__num_attention_heads": 3}, "it must be a divisor of hidden_size (256)"),
        ("variants", 39, {"audio_config__subsampling_conv_channels": [64]}, "it must be a list of two integers"),
        ("aria", 0, {"projector_patch_to_query_dict": {}}, "projector_patch_to_query_dict is {}"),
        ("deepseek_vision", 2, {"candidate_resolutions": [[384]]}, "candidate_resolutions is"),
        ("deepseek_vision", 0, {"projector_config__projector_type": "mlp"}, "projector_config.projector_type is 'mlp'"),
        ("gemma3n", 0, {"intermediate_size": [64, 64]}, "intermediate_size is"),
        ("gemma3n", 0, {"num_kv_shared_layers": 9}, "num_kv_shared_layers is 9; it must be at most 8"),
        ("gemma3n", 3, {"vision_config__architecture": "resnet18"}, "vision_config.architecture is 'resnet18'"),
        ("gemma3n", 3, {"audio_config__conf_num_attention_heads": 7}, "conf_num_attention_heads is 7"),
        ("gemma3n", 3, {"audio_config__sscp_conv_channel_size": [64]}, "sscp_conv_channel_size is"),
        ("gemma3n", 3, {"audio_config__sscp_conv_kernel_size": [[3, 3]]}, "sscp_conv_kernel_size is"),
        ("gemma3n", 3, {"audio_config__input_feat_size": 1, "audio_config__sscp_conv_kernel_size": [[3, 9], [3, 9]]},
         "input_feat_size is 1"),
        ("granite4_vision", 0, {"downsample_rate": "half"}, "downsample_rate is 'half'; it must be a fraction like '4/8'"),
        ("granite4_vision", 0, {"deepstack_layer_map": None}, "deepstack_layer_map is missing"),
        ("granite4_vision", 0, {"image_grid_pinpoints": [[384]]}, "image_grid_pinpoints is"),
        ("granite_speech", 0, {"window_size": 3}, "window_size is 3; it must be at least downsample_rate"),
        ("inkling", 0, {"text_config__num_key_value_heads": 3}, "num_key_value_heads"),
        ("inkling", 1, {"text_config__swa_num_key_value_heads": 5}, "num_key_value_heads"),
        ("inkling", 0, {"vision_config__patch_size": 1}, "vision_config.patch_size is 1; it must be above 1"),
        ("internvl", 0, {"select_layer": -5}, "select_layer is -5"),
        ("internvl", 0, {"downsample_ratio": 2}, "downsample_ratio is 2"),
        ("internvl", 0, {"vision_config__norm_type": "none"}, "vision_config.norm_type is 'none'"),
        ("minicpmv", 0, {"version": 3.0}, "version is 3.0; it must be one of 2.5, 2.6"),
        ("molmo", 0, {"weight_tying": True}, "weight_tying is True"),
        ("molmo2", 0, {"adapter_config__vit_layers": []}, "adapter_config.vit_layers is"),
        ("nemotron_vl", 0, {"vision_config__args__model": "vit_giant"}, "args.model is 'vit_giant'"),
        ("nemotron_vl", 2, {"sound_config__subsampling_factor": 6}, "sound_config.subsampling_factor is 6"),
        ("nemotron_vl", 2, {"sound_config__num_mel_bins": 4}, "sound_config.num_mel_bins is 4"),
        ("ovis", 0, {"visual_tokenizer_config__backbone_config__model_type": "vit"}, "backbone_config.model_type"),
        ("phi4mm", 0, {"audio_processor__name": "other"}, "audio_processor.name is 'other'"),
        ("phi4mm", 0, {"embd_layer__audio_embd_layer__use_qformer": True}, "use_qformer is True"),
        ("phi4mm", 0, {"embd_layer__audio_embd_layer__projection_cls": "x"}, "projection_cls is 'x'"),
        ("phi4mm", 0, {"audio_processor__config__time_reduction": 3}, "time_reduction is 3"),
        ("phi4mm", 0, {"audio_processor__config__batch_norm": True}, "batch_norm is True"),
        ("phi4mm", 0, {"audio_processor__config__relative_attention_bias_args__type": "x"}, "args.type is 'x'"),
        ("speech", 3, {"audio_config__num_key_value_heads": 3}, "num_key_value_heads is 3"),
        ("ultravox", 0, {"audio_config": {}, "audio_model_id": "openai/whisper-large-v3"}, "audio_config is {}"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(family, number, changes, message):
    with pytest.raises(ConfigError) as refusal:
        model_from_config(recorded(family, number, **changes))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("family", "number", "changes", "parameters"),
    [
        # A layer that reads another's cache needs no own keys; every layer may see everything.
        ("gemma3n", 1, {"layer_types": ["full_attention"] * 10}, 0),
        # Speech alone has one plain projection: two MLPs of 512 x 512 and one of 512 x 256 fewer.
        ("phi4mm", 0, {"embd_layer__audio_embd_layer__projection_cls": "linear"},
         -(2 * (512 * 512 + 512) + (512 * 256 + 512))),
        # No rotary positions at all; tables are no parameters.
        ("muse_glimmer", 0, {"text_config__layer_rope_theta": [0] * 6}, 0),
        # Registers fill up what the summaries leave; the index of those in use is no parameter.
        ("nemotron_vl", 0, {"vision_config__args__teachers": []}, 0),
        # Blind: no encoder, and nothing else is missing.
        ("muse_glimmer", 0, {"vision_config": REMOVED}, None),
        # A draft has the encoder's output normed.
        ("nemotron_vl", 0, {"llm_config__num_nextn_predict_layers": 1}, 2 * 768),
        # One copy of the hidden state needs no projections and is predicted from itself.
        ("gemma3n", 0, {"altup_num_inputs": 1}, -(2 * 3 * 512 * 512 + 10 * (16 - 1 + 64 - 1 + 512 * 3))),
        # Positions that are thrown away.
        ("ovis", 2, {"vit_config__preserve_original_pe": False}, -(32**2) * 384),
        # One convolution, so none across channels: 64 of 9 with bias twice, 64 x 64 with bias twice, and a wider linear.
        ("nemotron_vl", 2, {"sound_config__subsampling_factor": 2},
         -2 * (64 * 9 + 64) - 2 * (64 * 64 + 64) + 256 * 64 * (40 - 10)),
        # Corners may feed other layers than the usual four; that changes buffers only.
        ("granite4_vision", 0, {"spatial_target_layers": None}, 0),
        # Experts with a width of their own key.
        ("inkling", 3, {"dense_intermediate_size": 1024}, 4 * (8 + 1) * 3 * 512 * (512 - 256)),
        # All layers dense: no gate, no experts.
        ("inkling", 3, {"dense_mlp_idx": 4}, 4 * (3 * 512 * 512 - 16 * 512 - (8 + 1) * 3 * 512 * 256)),
    ],
)  # fmt: skip
def test_a_setting_changes_the_parameters_as_it_says(family, number, changes, parameters):
    whole, changed = (model_from_config(recorded(family, number, **some)) for some in ({}, changes))
    if parameters is None:
        parameters = -sum(prod(tensor.shape) * tensor.count for tensor in whole.tensors if tensor.tower != "language")
    assert changed.num_parameters - whole.num_parameters == parameters


def test_transformers_spelling_of_voxtral_is_read():
    """
    ``VoxtralEncoderConfig`` has its own words for Whisper's sizes.
    """
    sizes = {"hidden_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 1024}
    own = {"model_type": "voxtral_encoder", "num_mel_bins": 128, "max_source_positions": 1500, **sizes}
    model = model_from_config(recorded("voxtral", 0, audio_config=own))
    assert model.num_parameters == model_from_config(recorded("voxtral", 0)).num_parameters


def test_layers_without_scaled_positions_have_the_plain_table():
    """
    All, some or none of the layers are scaled.
    """
    sizes = []
    for scaled in ([], [0, 1], [0, 1, 2, 3]):
        model = model_from_config(recorded("molmo2", 1, text_config__rope_scaling_layers=scaled))
        sizes.append(sum(tensor.shape[0] for tensor in model.tensors if tensor.name.endswith("cos_sin_cache")))
    assert sizes == [8192, 8192 + 16384, 16384]


@pytest.mark.parametrize("ratio", [0, 2.0, -0.5, 1e-3])
def test_pixels_move_into_the_width_by_a_ratio(ratio):
    whole = {"architectures": ["Llama4ForConditionalGeneration"], "text_config": recorded("variants", 23)}
    with pytest.raises(ConfigError, match=r"vision_config\.pixel_shuffle_ratio is .*; it must be from 1/256 to 1"):
        model_from_config({**whole, "vision_config": {"pixel_shuffle_ratio": ratio}})


def test_a_decoder_that_nobody_taught_us_is_named():
    with pytest.raises(SizingError, match="brand_new"):
        model_from_config(recorded("ovis", 0, llm_config={"model_type": "brand_new"}))
