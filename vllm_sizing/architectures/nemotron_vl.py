"""
Nemotron Nano VL 2 and the Nemotron Omni models: C-RADIO, Parakeet, Nemotron-H.

Source: vLLM 0.33 ``model_executor/models/nano_nemotron_vl.py``.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.internvl import read_ratio
from vllm_sizing.architectures.parakeet import add_parakeet
from vllm_sizing.architectures.radio import add_radio
from vllm_sizing.architectures.towers import MAX_SIDE, add_encoder, open_tower
from vllm_sizing.specs.model import ModelSpec

_PREFIXES = (("language_model.backbone", "language_model.model"),)
_TILES = 12  # processors/nano_nemotron_vl.py: max_num_tiles; one more shows the whole.
_AUDIO_FRAMES = 10 * 60 * 100  # nano_nemotron_vl.py:MAX_AUDIO_LEN_S, at a hundred frames a second.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Nemotron that sees and perhaps hears.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    text = checkpoint.text
    if checkpoint.architecture != "NemotronH_Nano_VL_V2":
        # models/config.py knows only that class: for the others the state has the model's dtype.
        text = text.changed(mamba_ssm_cache_dtype=None)
    stack = add_inner_model(
        builder, checkpoint, prefix="language_model.", architecture="NemotronHForCausalLM", text=text
    )  # fmt: skip
    vision, ratio = config.needed_section("vision_config"), read_ratio(config)
    with open_tower(builder) as tower:
        vit = add_radio(builder, tower, vision, "vision_model.model")
        width, inner = config.required("vit_hidden_size"), config.required("projector_hidden_size")
        if stack.text.integer("num_nextn_predict_layers", default=0, minimum=0):
            tower.norm("vision_final_layernorm", width, bias=True)
        tower.norm("mlp1.0", width * ratio**2)
        tower.parameter("mlp1.1.weight", inner, width * ratio**2)
        tower.parameter("mlp1.3.weight", stack.hidden, inner)
    side = config.integer("force_image_size", default=512, maximum=MAX_SIDE) // config.integer("patch_size", default=16)
    positions = (_TILES + 1) * max(1, side) ** 2
    for modality in ("image", "video"):
        tokens = max(1, positions // ratio**2)
        add_encoder(builder, modality, vit, stack.hidden, tokens=tokens, positions=positions)
    sound = config.section("sound_config")
    if sound is not None:
        with open_tower(builder, "audio") as tower:
            ear, factor = add_parakeet(tower, sound, "sound_encoder", stack.hidden)
        tokens = _AUDIO_FRAMES // factor
        add_encoder(builder, "audio", ear, stack.hidden, tokens=tokens, positions=tokens)
    builder.traits |= {"no_pipeline", "no_encoder_data"}
    return finish(checkpoint, builder, stack)
