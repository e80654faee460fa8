"""
Phi-4-multimodal: SigLIP in tiles, a conformer, Phi-4-mini.

Source: vLLM 0.33 ``model_executor/models/phi4mm.py``, which fixes the image encoder's sizes.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.idefics2 import add_idefics2
from vllm_sizing.architectures.inner import add_inner_model, without_lora_ends
from vllm_sizing.architectures.phi4_conformer import add_conformer
from vllm_sizing.architectures.towers import Vit, add_encoder, feature_layers, open_tower
from vllm_sizing.specs.model import ModelSpec

_VISION = {
    "hidden_size": 1152, "image_size": 448, "intermediate_size": 4304, "num_attention_heads": 16,
    "num_hidden_layers": 27, "patch_size": 14,
}  # fmt: skip
_PREFIXES = (
    ("model.embed_tokens_extend.audio_embed.", "embed_tokens_extend."),
    ("model.embed_tokens_extend.image_embed.", "vision_encoder."),
)
# preprocessor_config.json of the released checkpoint: dynamic_hd tiles in a column, 16 rows and columns each with a
# separator after every row; phi4mm.py:_AUDIO_MAX_SOUNDFILE_SIZE at 16 kHz, ten milliseconds a frame.
_TILES, _ROWS, _AUDIO_FRAMES = 36, 16, 241_000 // 160


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Phi-4-multimodal.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="", architecture="Phi3ForCausalLM")
    without_lora_ends(builder)
    given = config.section("img_processor") if isinstance(config.data.get("img_processor"), dict) else None
    built = feature_layers((given or Config({})).over({"layer_idx": -2}), "layer_idx", _VISION["num_hidden_layers"])
    with open_tower(builder, data_parallel=False) as tower:
        name = "vision_encoder"
        vit = add_idefics2(
            tower, Config(_VISION), f"{name}.img_processor", num_layers=built, post_norm=False, quantized=False
        )  # fmt: skip
        _add_mlp(tower, f"{name}.img_projection", vit.hidden, stack.hidden)
        for separator in ("glb_GN", "sub_GN"):
            tower.parameter(f"{name}.{separator}", vit.hidden)
    tokens = (_TILES + 1) * _ROWS * (_ROWS + 1) + 1
    add_encoder(builder, "image", vit, stack.hidden, tokens=tokens, positions=(_TILES + 1) * vit.positions)
    _add_audio(builder, config, stack)
    builder.traits |= {"no_pipeline", "no_encoder_data"}
    return finish(checkpoint, builder, stack)


def _add_audio(builder: Builder, config: Config, stack: Stack) -> None:
    processor = config.needed_section("audio_processor")
    if processor.text("name") != "cascades":
        raise processor.refuse("name", "cascades")
    layer = config.needed_section("embd_layer")
    given = layer.section("audio_embd_layer") if isinstance(layer.data.get("audio_embd_layer"), dict) else None
    audio = given or Config({})
    for key in ("use_qformer", "use_conv_downsample"):
        if audio.flag(key, default=False):
            raise audio.refuse(key, "false: it is not modelled")
    with open_tower(builder, "audio", data_parallel=False) as tower:
        name = "embed_tokens_extend"
        vit, rate = add_conformer(tower, processor.needed_section("config"), f"{name}.encoder")
        _add_projections(tower, audio, name, vit, stack.hidden)
    tokens = _AUDIO_FRAMES // rate
    add_encoder(builder, "audio", vit, stack.hidden, tokens=tokens, positions=tokens)


def _add_projections(tower: Builder, audio: Config, name: str, vit: Vit, hidden: int) -> None:
    """
    One for speech alone and, as an MLP, one more for speech beside images.
    """
    kind = audio.text("projection_cls", default="linear")
    if kind == "linear":
        tower.parameter(f"{name}.audio_projection.weight", hidden, vit.hidden)
        tower.parameter(f"{name}.audio_projection.bias", hidden)
    elif kind == "mlp":
        joined = vit.hidden * audio.integer("downsample_rate", default=1, maximum=2**10)
        for part in ("audio_projection", "audio_projection_for_vision"):
            _add_mlp(tower, f"{name}.{part}", joined, hidden)
    else:
        raise audio.refuse("projection_cls", "linear or mlp")


def _add_mlp(tower: Builder, name: str, inputs: int, hidden: int) -> None:
    for at, width in ((0, inputs), (2, hidden)):
        tower.parameter(f"{name}.{at}.weight", hidden, width)
        tower.parameter(f"{name}.{at}.bias", hidden)
