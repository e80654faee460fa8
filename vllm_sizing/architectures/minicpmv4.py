"""
MiniCPM-V 4.6 and 4.7: images of any shape, merged inside the encoder and once more after it, before Qwen3.5.

Source: vLLM 0.33 ``model_executor/models/minicpmv4_6.py``, ``minicpmv4_7.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.idefics2 import add_idefics2
from vllm_sizing.architectures.qwen_next import add_language_model
from vllm_sizing.architectures.towers import Vit, add_encoder, open_tower
from vllm_sizing.specs.model import ROW, ModelSpec, Part

_VISION = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 16,
}  # fmt: skip
_PREFIXES = (
    ("model.vision_tower.vit_merger.", "vit_merger."),
    ("model.vision_tower.", "vpm."),
    ("model.vpm.", "vpm."),
    ("model.vit_merger.", "vit_merger."),
    ("model.merger.", "merger."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)
_MERGED = 4  # The kernel of both mergers is 2 x 2.
# Defaults of transformers' image processor; minicpmv.py:_MAX_FRAMES_PER_VIDEO.
_SLICE_SIDE, _SLICES, _FRAMES = 448, 9, 16


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a MiniCPM-V 4.6 or 4.7.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    stack = add_language_model(  # Tied as its own section says.
        builder, checkpoint.text, architecture="Qwen3_5ForCausalLM", prefix="language_model."
    )
    vision = (config.section("vision_config") or Config({}, "vision_config")).over(_VISION)
    with open_tower(builder, "image") as tower:
        number = vision.num_layers()
        dropped = config.flag("drop_vision_last_layer", default=False)
        vit = add_idefics2(tower, vision, "vpm", num_layers=number - 1 if dropped else number)
        _add_mergers(tower, vit, stack.hidden)
    patches = max(1, _SLICE_SIDE // vision.required("patch_size", maximum=2**12)) ** 2
    for modality, pictures in (("image", _SLICES + 1), ("video", _FRAMES)):
        tokens = pictures * max(1, patches // _MERGED**2)
        add_encoder(builder, modality, vit, stack.hidden, tokens=tokens, positions=pictures * patches)
    return finish(checkpoint, builder, stack)


def _add_mergers(tower: Builder, vit: Vit, out: int) -> None:
    """
    Attention within windows and the MLPs that join neighbours; the latter are plain torch layers.
    """
    hidden = vit.hidden
    name = "vit_merger"
    parts = (Part(hidden, vit.num_heads),) * 3
    tower.linear(f"{name}.self_attn.qkv_proj", hidden, parts, bias=True, fused=("q_proj", "k_proj", "v_proj"))
    tower.linear(f"{name}.self_attn.out_proj", hidden, hidden, shard=ROW, bias=True)
    tower.norm(f"{name}.layer_norm1", hidden, bias=True)
    _add_mlp(tower, name, hidden * _MERGED, vit.intermediate * _MERGED, hidden)
    _add_mlp(tower, "merger.mlp.0", hidden * _MERGED, hidden * _MERGED, out)


def _add_mlp(tower: Builder, name: str, inputs: int, inner: int, out: int) -> None:
    tower.norm(f"{name}.pre_norm", inputs, bias=True)
    for layer, width, columns in (("linear_1", inputs, inner), ("linear_2", inner, out)):
        tower.parameter(f"{name}.{layer}.weight", columns, width)
        tower.parameter(f"{name}.{layer}.bias", columns)
