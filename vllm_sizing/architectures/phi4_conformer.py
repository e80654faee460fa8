"""
The audio encoder of Phi-4-multimodal: a conformer of plain torch layers.

Source: vLLM 0.33 ``model_executor/models/phi4mm_audio.py``, ``phi4mm_utils.py``.
"""

from __future__ import annotations

from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.towers import Vit

_DEFAULTS = {
    "attention_dim": 256, "attention_heads": 4, "linear_units": 2048, "num_blocks": 6, "time_reduction": 4,
    "kernel_size": 3, "ext_pw_kernel_size": 1, "depthwise_multiplier": 1,
}  # fmt: skip
_KERNEL, _CHANNELS, _POSITIONS = 3, 256, 5000  # Of the subsampling; rows of the table of positions.


def add_conformer(tower: Builder, section: Config, name: str) -> tuple[Vit, int]:
    """
    The encoder; also how many frames one embedding stands for.
    """
    section = section.over(_DEFAULTS)
    hidden, heads = section.required("attention_dim"), section.required("attention_heads", maximum=2**16)
    vit = Vit(
        hidden=hidden, intermediate=section.required("linear_units"), num_heads=heads,
        num_layers=section.num_layers("num_blocks"),
    )  # fmt: skip
    bands = section.required("input_size", maximum=2**16)
    rate = _add_subsampling(tower, section, f"{name}.embed", bands, hidden)
    tower.parameter(f"{name}.pos_emb.pe", _POSITIONS, hidden, role="buffer")
    _add_relative_bias(tower, section, name, heads)
    normal = section.needed_section("encoder_embedding_config").required("input_size", maximum=2**16)
    for part in ("global_mean", "global_invstd"):
        tower.parameter(f"{name}.encoder_embedding.{part}", normal)
    tower.parameter(f"{name}.dev_type", 1, role="buffer")
    layer, layers = f"{name}.encoders.*", tuple(range(vit.num_layers))
    glued = section.flag("bias_in_glu", default=True)
    for block in ("feed_forward_in", "feed_forward_out"):
        tower.norm(f"{layer}.{block}.layer_norm", hidden, layers=layers, bias=True)
        _add_dense(tower, f"{layer}.{block}.net.0.linear", hidden, 2 * vit.intermediate, layers, bias=glued)
        _add_dense(tower, f"{layer}.{block}.net.2", vit.intermediate, hidden, layers)
    for part in ("linear_q", "linear_k", "linear_v", "linear_out"):
        _add_dense(tower, f"{layer}.self_attn.{part}", hidden, hidden, layers)
    _add_convolutions(tower, section, f"{layer}.conv", hidden, layers, glued=glued)
    for norm in ("layer_norm_att", "layer_norm"):
        tower.norm(f"{layer}.{norm}", hidden, layers=layers, bias=True)
    return vit, rate


def _add_subsampling(tower: Builder, section: Config, name: str, bands: int, hidden: int) -> int:
    """
    A convolution, then pairs of one by channel and one across channels, each halving frames and bands.
    """
    rate = section.required("time_reduction", maximum=2**10)
    stages = rate.bit_length() - 1
    if 2**stages != rate or not stages:
        raise section.refuse("time_reduction", "a power of two from 2")
    settings = section.section("nemo_conv_settings") or Config({})
    channels = settings.integer("conv_channels", default=_CHANNELS, maximum=2**20)
    for stage in range(stages):
        at = f"{name}.conv.{3 * stage}"
        tower.parameter(f"{at}.weight", channels, 1, _KERNEL, _KERNEL)
        tower.parameter(f"{at}.bias", channels)
        if stage:
            tower.parameter(f"{at}.across.weight", channels, channels)
            tower.parameter(f"{at}.across.bias", channels)
        bands = (bands + 1) // 2
    tower.parameter(f"{name}.out.weight", hidden, channels * bands)
    tower.parameter(f"{name}.out.bias", hidden)
    return rate


def _add_relative_bias(tower: Builder, section: Config, name: str, heads: int) -> None:
    bias = section.needed_section("relative_attention_bias_args")
    if bias.text("type") != "t5":
        raise bias.refuse("type", "t5")
    reach = bias.integer("t5_bias_max_distance", default=1000, maximum=2**24)
    sides = 1 if bias.flag("t5_bias_symmetric", default=False) else 2
    tower.parameter(f"{name}.relative_attention_bias_layer.bias_values.weight", sides * reach, heads)


def _add_convolutions(
    tower: Builder, section: Config, name: str, hidden: int, layers: Layers, *, glued: bool
) -> None:  # fmt: skip
    """
    A gated convolution, one by channel and one across channels, and back to the encoder's width.
    """
    if section.flag("batch_norm", default=False):
        raise section.refuse("batch_norm", "false: it is not modelled")
    outer = section.required("ext_pw_out_channel")
    separate = section.required("depthwise_seperable_out_channel")
    kernel, wide = section.required("ext_pw_kernel_size", maximum=2**10), section.required("kernel_size", maximum=2**10)
    inner = hidden * section.required("depthwise_multiplier", maximum=2**10)
    tower.norm(f"{name}.layer_norm", hidden, layers=layers, bias=True)
    _add_dense(tower, f"{name}.glu.ext_pw_conv_1d", hidden * kernel, 2 * outer, layers)
    if glued:
        for part in ("b1", "b2"):
            tower.parameter(f"{name}.glu.{part}", outer, layers=layers)
    _add_dense(tower, f"{name}.dw_sep_conv_1d.dw_conv", wide, inner, layers)
    _add_dense(tower, f"{name}.dw_sep_conv_1d.pw_conv", inner, separate, layers)
    _add_dense(tower, f"{name}.ext_pw_conv_1d", hidden * kernel, outer, layers)
    if outer != hidden:
        _add_dense(tower, f"{name}.ln1", outer, hidden, layers)
    if separate != hidden:
        _add_dense(tower, f"{name}.ln2", separate, hidden, layers)


def _add_dense(tower: Builder, name: str, inputs: int, outputs: int, layers: Layers, *, bias: bool = True) -> None:
    tower.parameter(f"{name}.weight", outputs, inputs, layers=layers)
    if bias:
        tower.parameter(f"{name}.bias", outputs, layers=layers)
