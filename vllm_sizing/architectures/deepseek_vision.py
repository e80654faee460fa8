"""
DeepSeek-VL2 and DeepSeek-OCR: fixed encoders of images, a projector, and a DeepSeek-V2.

Source: vLLM 0.33 ``model_executor/models/deepseek_vl2.py``, ``deepseek_ocr.py``, ``deepseek_ocr2.py``; defaults from
``transformers_utils/configs/deepseek_vl2.py``.
"""

from __future__ import annotations

from itertools import pairwise

from vllm_sizing.architectures.blocks import Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.deepencoder import add_sam
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.siglip import add_clip
from vllm_sizing.architectures.timm_siglip import PATCH, SIDE, add_timm_siglip
from vllm_sizing.architectures.towers import Vit, add_encoder, open_tower
from vllm_sizing.specs.model import ModelSpec

_TEXT = {  # transformers DeepseekV2Config.
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 2048,
    "first_k_dense_replace": 0, "kv_lora_rank": 512, "q_lora_rank": 1536, "n_routed_experts": 64,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128, "num_experts_per_tok": None,
    "moe_intermediate_size": 1407, "topk_method": "greedy", "n_shared_experts": 2, "model_type": "deepseek_v2",
}  # fmt: skip
_CLIP = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24,
    "image_size": 224, "patch_size": 14,
}  # fmt: skip
_PROJECTOR = {"input_dim": 1152, "n_embed": 2048, "depth": 2, "mlp_ratio": 1, "downsample_ratio": 2}
_VL_PREFIXES = (("language.", "language_model."),)
_OCR_PREFIXES = (
    ("model.embed_tokens.", "language_model.model.embed_tokens."),
    ("model.layers.", "language_model.model.layers."),
    ("model.norm.", "language_model.model.norm."),
    ("lm_head.", "language_model.lm_head."),
    ("model.", ""),
)
# Sides of a tile and of the whole in the released processors: transformers_utils/processors/deepseek_ocr.py.
_OCR_TILE, _OCR_WHOLE, _OCR2_TILE = 640, 1024, 768
_OCR_PATCH = 64  # 16 pixels, four of which become one along each side.
_OCR_TILES = 4  # The largest image is two tiles wide and high.
_SHUFFLED = 4  # Neighbours that DeepSeek-VL2 joins.
_QWEN = {"width": 896, "inner": 4864, "heads": 14, "kv_heads": 2, "depth": 24}  # deepencoder2.py.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a DeepSeek that sees.
    """
    config, kind = checkpoint.config, checkpoint.architecture
    builder = checkpoint.builder(prefixes=_VL_PREFIXES if kind == "DeepseekVLV2ForCausalLM" else _OCR_PREFIXES)
    text = (config.section("language_config") or Config({}, "language_config")).over(_TEXT)
    name = (text.words("architectures") or ["DeepseekV2ForCausalLM"])[0]
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", architecture=name, text=text)
    projector = (config.section("projector_config") or Config({}, "projector_config")).over(_PROJECTOR)
    add = {"DeepseekVLV2ForCausalLM": _add_vl2, "DeepseekOCRForCausalLM": _add_ocr}.get(kind, _add_ocr2)
    add(builder, config, projector, stack)
    # Parameters that belong to no module stay on every stage.
    marks = ("view_seperator",) if kind == "DeepseekOCR2ForCausalLM" else ("image_newline", "view_seperator")
    for mark in marks:
        builder.parameter(mark, projector.required("n_embed"), stage="all")
    builder.traits.add("no_encoder_data")
    if kind == "DeepseekVLV2ForCausalLM":
        builder.traits.add("no_lora")
    return finish(checkpoint, builder, stack)


def _add_vl2(builder: Builder, config: Config, projector: Config, stack: Stack) -> None:
    with open_tower(builder, "image") as tower:
        vit = add_timm_siglip(tower, "vision")
        _add_projector(tower, projector)
    row = -(-(SIDE // PATCH) // 2)
    tiles = max(
        (_tiles(config, at) for at in range(len(config.items("candidate_resolutions") or []))), default=(1, 1),
        key=lambda pair: pair[0] * (pair[1] * row + 1),
    )  # fmt: skip
    tokens = row * (row + 1) + tiles[0] * row * (tiles[1] * row + 1) + 1
    pictures = tiles[0] * tiles[1] + 1
    add_encoder(builder, "image", vit, stack.hidden, tokens=tokens, positions=pictures * vit.positions)


def _tiles(config: Config, at: int) -> tuple[int, int]:
    """
    Tiles of a candidate resolution, high and wide.
    """
    pair = Config({"pair": (config.items("candidate_resolutions") or [])[at]}).integers("pair", minimum=1)
    if pair is None or len(pair) != 2:
        raise config.refuse("candidate_resolutions", "a list of [height, width]")
    return max(1, pair[0] // SIDE), max(1, pair[1] // SIDE)


def _add_projector(tower: Builder, projector: Config) -> None:
    """
    Plain torch layers: one, or an MLP over joined neighbours.
    """
    inputs, out = projector.required("input_dim"), projector.required("n_embed")
    kind = projector.text("projector_type", default="downsample_mlp_gelu")
    if kind == "linear":
        widths = [inputs, out]
    elif kind == "downsample_mlp_gelu":
        inner = out * projector.required("mlp_ratio", maximum=2**10)
        joined = inputs * projector.required("downsample_ratio", maximum=2**8) ** 2
        widths = [joined, *[inner] * (max(2, projector.required("depth", maximum=2**10)) - 1), out]
    else:
        raise projector.refuse("projector_type", "linear or downsample_mlp_gelu")
    for at, (before, after) in enumerate(pairwise(widths)):
        tower.parameter(f"projector.layers.{at}.weight", after, before)
        tower.parameter(f"projector.layers.{at}.bias", after)


def _add_ocr(builder: Builder, config: Config, projector: Config, stack: Stack) -> None:
    with open_tower(builder, "image") as tower:
        add_sam(tower, "sam_model")
        vit = add_clip(tower, Config(_CLIP), "vision_model", post_norm=False)
        _add_projector(tower, projector)
    whole, tile = _OCR_WHOLE // _OCR_PATCH, 2 * _OCR_TILE // _OCR_PATCH
    tokens = whole * (whole + 1) + tile * (tile + 1) + 1
    add_encoder(builder, "image", vit, stack.hidden, tokens=tokens, positions=tokens)


def _add_ocr2(builder: Builder, config: Config, projector: Config, stack: Stack) -> None:
    """
    The second half of the encoder is a small Qwen2 of plain torch layers with a table of questions.
    """
    width, inner, depth = _QWEN["width"], _QWEN["inner"], _QWEN["depth"]
    keys = width // _QWEN["heads"] * _QWEN["kv_heads"]
    vit = Vit(hidden=width, intermediate=inner, num_heads=_QWEN["heads"], num_layers=depth)
    whole, tile = (_OCR_WHOLE // _OCR_PATCH) ** 2, (_OCR2_TILE // _OCR_PATCH) ** 2
    with open_tower(builder, "image") as tower:
        add_sam(tower, "sam_model", out=width)
        layer, layers = "qwen2_model.model.model.layers.*", tuple(range(depth))
        for part, inputs, outputs, bias in (
            ("self_attn.q_proj", width, width, True),
            ("self_attn.k_proj", width, keys, True),
            ("self_attn.v_proj", width, keys, True),
            ("self_attn.o_proj", width, width, False),
            ("mlp.gate_proj", width, inner, False),
            ("mlp.up_proj", width, inner, False),
            ("mlp.down_proj", inner, width, False),
        ):
            tower.parameter(f"{layer}.{part}.weight", outputs, inputs, layers=layers)
            if bias:
                tower.parameter(f"{layer}.{part}.bias", outputs, layers=layers)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tower.norm(f"{layer}.{norm}", width, layers=layers)
        tower.norm("qwen2_model.model.model.norm", width)
        for buffer in ("inv_freq", "original_inv_freq"):
            size = width // _QWEN["heads"] // 2
            tower.parameter(f"qwen2_model.rotary_emb.{buffer}", size, dtype="float32", role="buffer")
        for name, rows in (("query_1024", whole), ("query_768", tile)):
            tower.parameter(f"qwen2_model.{name}.weight", rows, width)
        _add_projector(tower, projector)
    tokens = whole + _OCR_TILES * tile + 1
    add_encoder(builder, "image", vit, stack.hidden, tokens=tokens, positions=2 * tokens)
