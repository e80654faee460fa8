"""
The encoders of Gemma 4, which are Transformers' own modules: whole on every rank.

Source: transformers 5.20 ``models/gemma4/modeling_gemma4.py``; vLLM 0.33 ``gemma4_mm.py``,
``models/transformers/utils.py:recursive_replace_linear``.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.blocks import FOUR_NORMS
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.towers import Vit, open_tower, read_vit
from vllm_sizing.specs.model import REPLICATED

_VISION = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 16, "num_attention_heads": 12,
    "num_key_value_heads": 12, "head_dim": 64, "patch_size": 16, "position_embedding_size": 10240,
}  # fmt: skip
_AUDIO: dict[str, Any] = {
    "hidden_size": 1024, "num_hidden_layers": 12, "num_attention_heads": 8, "conv_kernel_size": 5,
    "subsampling_conv_channels": (128, 32), "output_proj_dims": 1536, "use_clipped_linears": True,
}  # fmt: skip
_ANY_SIZE = ("bitsandbytes", "torchao", "compressed-tensors")


def add_gemma4_vision(builder: Builder, vision: Config, hidden: int) -> Vit:
    """
    The image encoder and its projection to the decoder's width.
    """
    vision = vision.over(_VISION)
    vit = read_vit(vision)
    width, inner, number = vit.hidden, vit.intermediate, vit.num_layers
    size = vision.required("head_dim", maximum=2**16)
    queries, keys = vit.num_heads * size, vision.required("num_key_value_heads", maximum=2**16) * size
    quantized = takes_quantization(builder, width, inner)
    clipped = vision.flag("use_clipped_linears", default=False)
    with open_tower(builder) as tower:
        patch = 3 * vision.required("patch_size", maximum=2**12) ** 2
        embedder = "vision_tower.patch_embedder"
        _add_linear(tower, f"{embedder}.input_proj", patch, width, quantized=quantized)
        tower.parameter(f"{embedder}.position_embedding_table", 2, vision.required("position_embedding_size"), width)
        layer, layers = "vision_tower.encoder.layers.*", tuple(range(number))
        common: dict[str, Any] = {"layers": layers, "quantized": quantized, "clipped": clipped}
        for name, columns in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            _add_clippable(tower, f"{layer}.self_attn.{name}", width, columns, **common)
        _add_clippable(tower, f"{layer}.self_attn.o_proj", queries, width, **common)
        for name in ("gate_proj", "up_proj"):
            _add_clippable(tower, f"{layer}.mlp.{name}", width, inner, **common)
        _add_clippable(tower, f"{layer}.mlp.down_proj", inner, width, **common)
        for norm in ("q_norm", "k_norm"):
            tower.norm(f"{layer}.self_attn.{norm}", size, layers=layers)
        for norm in FOUR_NORMS:
            tower.norm(f"{layer}.{norm}", width, layers=layers)
        for buffer in ("inv_freq", "original_inv_freq"):
            tower.parameter(f"vision_tower.encoder.rotary_emb.{buffer}", size // 4, dtype="float32", role="buffer")
        if vision.flag("standardize", default=False):
            for name in ("std_bias", "std_scale"):
                tower.parameter(f"vision_tower.{name}", width)
        add_projection(tower, "embed_vision", width, hidden, quantized=quantized)
    return vit


def add_gemma4_audio(builder: Builder, audio: Config, hidden: int) -> Vit:
    """
    The audio encoder, a conformer, and its projection to the decoder's width.
    """
    audio = audio.over(_AUDIO)
    width, heads = audio.required("hidden_size"), audio.required("num_attention_heads", maximum=2**16)
    if width % heads:
        raise audio.refuse("num_attention_heads", f"a divisor of hidden_size ({width})")
    vit = Vit(hidden=width, intermediate=4 * width, num_heads=heads, num_layers=audio.num_layers())
    quantized = takes_quantization(builder, width)
    clipped = audio.flag("use_clipped_linears", default=True)
    layers, size = tuple(range(vit.num_layers)), width // heads
    with open_tower(builder, "audio") as tower:
        _add_subsampling(tower, audio, width, quantized=quantized)
        tower.parameter("audio_tower.rel_pos_enc.inv_timescales", width // 2, role="buffer")
        layer = "audio_tower.layers.*"
        common: dict[str, Any] = {"layers": layers, "quantized": quantized, "clipped": clipped}
        for block in ("feed_forward1", "feed_forward2"):
            _add_clippable(tower, f"{layer}.{block}.ffw_layer_1", width, 4 * width, **common)
            _add_clippable(tower, f"{layer}.{block}.ffw_layer_2", 4 * width, width, **common)
            for norm in ("pre_layer_norm", "post_layer_norm"):
                tower.norm(f"{layer}.{block}.{norm}", width, layers=layers)
        attention = f"{layer}.self_attn"
        for name in ("q_proj", "k_proj", "v_proj", "post"):
            _add_clippable(tower, f"{attention}.{name}", width, width, **common)
        _add_linear(tower, f"{attention}.relative_k_proj", width, width, layers=layers, quantized=quantized)
        tower.parameter(f"{attention}.per_dim_scale", size, layers=layers)
        tower.parameter(f"{attention}.softcap", 1, layers=layers, role="buffer")
        conv = f"{layer}.lconv1d"
        _add_clippable(tower, f"{conv}.linear_start", width, 2 * width, **common)
        _add_clippable(tower, f"{conv}.linear_end", width, width, **common)
        kernel = audio.required("conv_kernel_size", maximum=2**10)
        tower.parameter(f"{conv}.depthwise_conv1d.weight", width, 1, kernel, layers=layers)
        for norm in ("lconv1d.pre_layer_norm", "lconv1d.conv_norm", "norm_pre_attn", "norm_post_attn", "norm_out"):
            tower.norm(f"{layer}.{norm}", width, layers=layers)
        out = audio.required("output_proj_dims")
        _add_linear(tower, "audio_tower.output_proj", width, out, bias=True, quantized=quantized)
        add_projection(tower, "embed_audio", out, hidden, quantized=quantized)
    return vit


def add_projection(builder: Builder, name: str, inputs: int, hidden: int, *, quantized: bool, **facts: Any) -> None:
    """
    Norm without a learned scale, and the projection to the decoder's width.
    """
    builder.norm(f"{name}.embedding_pre_projection_norm", inputs, **facts)
    builder.linear(
        f"{name}.embedding_projection", inputs, hidden, shard=REPLICATED, quantized=quantized, lora=False, **facts
    )


def takes_quantization(builder: Builder, *widths: int) -> bool:
    """
    Whether a tower is handed the quant_config: most methods want widths in steps of 64.
    """
    return builder.quantization.method in _ANY_SIZE or all(width % 64 == 0 for width in widths)


def _add_subsampling(tower: Builder, audio: Config, width: int, *, quantized: bool) -> None:
    """
    Two convolutions that thin out the spectrogram.
    """
    channels = audio.integers("subsampling_conv_channels", minimum=1, maximum=2**16)
    if channels is None or len(channels) != 2:
        raise audio.refuse("subsampling_conv_channels", "a list of two integers")
    name = "audio_tower.subsample_conv_projection"
    for at, (before, after) in enumerate(((1, channels[0]), (channels[0], channels[1]))):
        tower.parameter(f"{name}.layer{at}.conv.weight", after, before, 3, 3)
        tower.norm(f"{name}.layer{at}.norm", after)
    inputs = channels[0] // 4 * channels[1]
    _add_linear(tower, f"{name}.input_proj_linear", inputs, width, quantized=quantized)


def _add_linear(tower: Builder, name: str, inputs: int, outputs: int, **facts: Any) -> None:
    tower.linear(name, inputs, outputs, shard=REPLICATED, **facts)


def _add_clippable(tower: Builder, name: str, inputs: int, outputs: int, *, clipped: bool, **facts: Any) -> None:
    """
    A linear layer and the bounds that its inputs and outputs are cut to.
    """
    _add_linear(tower, f"{name}.linear", inputs, outputs, **facts)
    if clipped:
        tower.parameter(f"{name}.bounds", 4, layers=facts["layers"])
