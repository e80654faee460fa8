"""
Granite Speech: a conformer and a Q-Former before any decoder.

Source: vLLM 0.33 ``model_executor/models/granite_speech.py``, ``granite_speech_plus.py``; defaults from
transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blip2 import add_qformer
from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.towers import Vit, add_encoder, open_tower
from vllm_sizing.specs.model import ROW, ModelSpec

_ENCODER = {
    "input_dim": 160, "num_layers": 10, "hidden_dim": 1024, "feedforward_mult": 4, "num_heads": 8, "output_dim": 42,
    "context_size": 200, "max_pos_emb": 512, "conv_kernel_size": 15, "conv_expansion_factor": 2,
}  # fmt: skip
_PREFIXES = (("language_model.model.model.", "language_model.model."),)
_MAX_AUDIO_TOKENS = 5001  # granite_speech.py:GraniteSpeechProcessingInfo.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Granite Speech.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", tied=True, default_type="granite")
    window, rate = config.integer("window_size", default=15), config.integer("downsample_rate", default=5)
    if window < rate:
        raise config.refuse("window_size", f"at least downsample_rate ({rate})")
    with open_tower(builder, "audio") as tower:
        encoder = (config.section("encoder_config") or Config({}, "encoder_config")).over(_ENCODER)
        vit = _add_conformer(tower, encoder, "encoder")
        qformer = config.section("projector_config") or Config({}, "projector_config")
        width = add_qformer(tower, qformer, "projector.qformer")
        tower.parameter("projector.query", window // rate, width)
        tower.parameter("projector.linear.weight", stack.hidden, width)
        tower.parameter("projector.linear.bias", stack.hidden)
    positions = _MAX_AUDIO_TOKENS * rate
    add_encoder(builder, "audio", vit, stack.hidden, tokens=_MAX_AUDIO_TOKENS, positions=positions)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _add_conformer(tower: Builder, section: Config, name: str) -> Vit:
    """
    Only the MLPs and the outputs are divided; only the outputs are handed the quant_config.
    """
    hidden, heads = section.required("hidden_dim"), section.required("num_heads", maximum=2**16)
    size = section.integer("dim_head", default=max(1, hidden // heads), maximum=2**16)
    inner = hidden * section.required("feedforward_mult", maximum=2**10)
    layers = tuple(range(section.num_layers("num_layers")))
    layer = f"{name}.layers.*"
    _add_dense(tower, f"{name}.input_linear", section.required("input_dim"), hidden)
    for block in ("ff1", "ff2"):
        tower.norm(f"{layer}.{block}.pre_norm", hidden, layers=layers, bias=True)
        tower.linear(f"{layer}.{block}.up_proj", hidden, inner, layers=layers, bias=True, quantized=False)
        tower.linear(f"{layer}.{block}.down_proj", inner, hidden, shard=ROW, layers=layers, bias=True, quantized=False)
    tower.norm(f"{layer}.attn.pre_norm", hidden, layers=layers, bias=True)
    _add_dense(tower, f"{layer}.attn.to_q", hidden, heads * size, layers=layers, bias=False)
    _add_dense(tower, f"{layer}.attn.to_kv", hidden, 2 * heads * size, layers=layers, bias=False)
    _add_dense(tower, f"{layer}.attn.to_out", heads * size, hidden, layers=layers)
    reach = 2 * section.required("max_pos_emb", maximum=2**20) + 1
    tower.parameter(f"{layer}.attn.rel_pos_emb.weight", reach, size, layers=layers)
    _add_convolutions(tower, section, f"{layer}.conv", hidden, layers)
    tower.norm(f"{layer}.post_norm", hidden, layers=layers, bias=True)
    context = section.required("context_size", maximum=2**14)
    tower.parameter(f"{name}.attention_dists", context, context, dtype="int64", role="buffer")
    out = section.required("output_dim")
    tower.linear(f"{name}.out", hidden, out, bias=True)
    tower.linear(f"{name}.out_mid", out, hidden, shard=ROW, bias=True)
    return Vit(hidden=hidden, intermediate=inner, num_heads=heads, num_layers=len(layers), positions=context)


def _add_convolutions(tower: Builder, section: Config, name: str, hidden: int, layers: Layers) -> None:
    inner = hidden * section.required("conv_expansion_factor", maximum=2**10)
    tower.norm(f"{name}.norm", hidden, layers=layers, bias=True)
    _add_dense(tower, f"{name}.up_conv", hidden, 2 * inner, layers=layers)
    kernel = section.required("conv_kernel_size", maximum=2**10)
    tower.parameter(f"{name}.depth_conv.conv.weight", inner, 1, kernel, layers=layers)
    for part in ("weight", "bias"):
        tower.parameter(f"{name}.batch_norm.{part}", inner, layers=layers)
    for part in ("running_mean", "running_var"):
        tower.parameter(f"{name}.batch_norm.{part}", inner, layers=layers, role="buffer")
    tower.parameter(f"{name}.batch_norm.num_batches_tracked", 1, layers=layers, dtype="int64", role="buffer")
    _add_dense(tower, f"{name}.down_conv", inner, hidden, layers=layers)


def _add_dense(
    tower: Builder, name: str, inputs: int, outputs: int, *, layers: Layers | None = None, bias: bool = True
) -> None:
    tower.parameter(f"{name}.weight", outputs, inputs, layers=layers)
    if bias:
        tower.parameter(f"{name}.bias", outputs, layers=layers)
