"""
Parakeet, the audio encoder of Nemotron's multimodal models: a conformer of plain torch layers.

Source: transformers 5.20 ``models/parakeet/modeling_parakeet.py``; vLLM 0.33 ``model_executor/models/parakeet.py``.
"""

from __future__ import annotations

from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.towers import Vit, read_vit

_DEFAULTS = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 8, "intermediate_size": 4096,
    "conv_kernel_size": 9, "subsampling_factor": 8, "subsampling_conv_channels": 256, "num_mel_bins": 80,
    "subsampling_conv_kernel_size": 3, "subsampling_conv_stride": 2, "convolution_bias": True,
}  # fmt: skip


def add_parakeet(tower: Builder, sound: Config, name: str, out: int) -> tuple[Vit, int]:
    """
    The encoder and its projection; also how many frames one embedding stands for.
    """
    sound = sound.over(_DEFAULTS)
    vit = read_vit(sound)
    factor = _add_subsampling(tower, sound, f"{name}.encoder.subsampling", vit.hidden)
    _add_layers(tower, sound, f"{name}.encoder.layers.*", vit)
    tower.parameter(f"{name}.encoder.encode_positions.inv_freq", vit.hidden // 2, role="buffer")
    inner, bias = sound.required("projection_hidden_size"), sound.flag("projection_bias", default=False)
    tower.norm(f"{name}.projection.norm", vit.hidden)
    _add_dense(tower, f"{name}.projection.linear1", vit.hidden, inner, bias=bias)
    _add_dense(tower, f"{name}.projection.linear2", inner, out, bias=bias)
    return vit, factor


def _add_subsampling(tower: Builder, sound: Config, name: str, hidden: int) -> int:
    """
    A convolution, then pairs of a convolution by channel and one across channels, each halving the frames.
    """
    factor, channels = sound.required("subsampling_factor", maximum=2**10), sound.required("subsampling_conv_channels")
    stages = factor.bit_length() - 1
    if 2**stages != factor or not stages:
        raise sound.refuse("subsampling_factor", "a power of two from 2")
    kernel, bands = sound.required("subsampling_conv_kernel_size", maximum=2**8), sound.required("num_mel_bins")
    tower.parameter(f"{name}.layers.first.weight", channels, 1, kernel, kernel, count=stages)
    tower.parameter(f"{name}.layers.first.bias", channels, count=stages)
    if stages > 1:
        tower.parameter(f"{name}.layers.across.weight", channels, channels, count=stages - 1)
        tower.parameter(f"{name}.layers.across.bias", channels, count=stages - 1)
    left = bands // sound.required("subsampling_conv_stride", maximum=2**6) ** stages
    if not left:
        raise sound.refuse("num_mel_bins", f"enough for {stages} convolutions")
    _add_dense(tower, f"{name}.linear", channels * left, hidden)
    return factor


def _add_layers(tower: Builder, sound: Config, layer: str, vit: Vit) -> None:
    hidden, layers = vit.hidden, tuple(range(vit.num_layers))
    for block in ("feed_forward1", "feed_forward2"):
        _add_dense(tower, f"{layer}.{block}.linear1", hidden, vit.intermediate, layers=layers, bias=False)
        _add_dense(tower, f"{layer}.{block}.linear2", vit.intermediate, hidden, layers=layers, bias=False)
    for part in ("q_proj", "k_proj", "v_proj", "o_proj", "relative_k_proj"):
        _add_dense(tower, f"{layer}.self_attn.{part}", hidden, hidden, layers=layers, bias=False)
    for part in ("bias_u", "bias_v"):
        tower.parameter(f"{layer}.self_attn.{part}", vit.num_heads, vit.head_size, layers=layers)
    bias, conv = sound.flag("convolution_bias", default=True), f"{layer}.conv"
    _add_dense(tower, f"{conv}.pointwise_conv1", hidden, 2 * hidden, layers=layers, bias=bias)
    _add_dense(tower, f"{conv}.depthwise_conv", sound.required("conv_kernel_size"), hidden, layers=layers, bias=bias)
    _add_dense(tower, f"{conv}.pointwise_conv2", hidden, hidden, layers=layers, bias=bias)
    tower.norm(f"{conv}.norm", hidden, layers=layers, bias=True)
    for part in ("running_mean", "running_var"):
        tower.parameter(f"{conv}.norm.{part}", hidden, layers=layers, role="buffer")
    tower.parameter(f"{conv}.norm.num_batches_tracked", 1, layers=layers, dtype="int64", role="buffer")
    for norm in ("norm_feed_forward1", "norm_self_att", "norm_conv", "norm_feed_forward2", "norm_out"):
        tower.norm(f"{layer}.{norm}", hidden, layers=layers, bias=True)


def _add_dense(
    tower: Builder, name: str, inputs: int, outputs: int, *, layers: Layers | None = None, bias: bool = True
) -> None:
    tower.parameter(f"{name}.weight", outputs, inputs, layers=layers)
    if bias:
        tower.parameter(f"{name}.bias", outputs, layers=layers)
