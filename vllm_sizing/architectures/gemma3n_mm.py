"""
Gemma 3n with its encoders of images and audio, which are timm's and Transformers' own: whole on every rank.

Source: vLLM 0.33 ``model_executor/models/gemma3n_mm.py``; transformers 5.20 ``models/gemma3n/modeling_gemma3n.py``.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.gemma3n import add_language_model
from vllm_sizing.architectures.towers import Vit, add_encoder, open_tower
from vllm_sizing.specs.model import ROW, Encoder, ModelSpec

_PREFIXES = (
    ("model.embed_audio.", "embed_audio."),
    ("model.embed_vision.", "embed_vision."),
    ("model.language_model.", "language_model.model."),
    ("model.vision_tower.", "vision_tower."),
    ("model.audio_tower.", "audio_tower."),
    ("lm_head.", "language_model.lm_head."),
    ("model", "language_model.model"),
)
_VISION = {"architecture": "mobilenetv5_300m_enc", "hidden_size": 2048, "vocab_size": 128}
# Convolutions that timm 1.0.31 builds under a name, without sizes in the config; all are parameters.
_NAMED_ENCODERS = {"mobilenetv5_300m_enc": 294_126_912}
_AUDIO: dict[str, Any] = {
    "vocab_size": 128, "input_feat_size": 128, "hidden_size": 1536, "conf_attention_chunk_size": 12,
    "conf_attention_context_left": 13, "conf_attention_context_right": 0, "conf_num_attention_heads": 8,
    "conf_num_hidden_layers": 12, "conf_conv_kernel_size": 5, "sscp_conv_channel_size": (128, 32),
    "sscp_conv_kernel_size": ((3, 3), (3, 3)), "sscp_conv_stride_size": ((2, 2), (2, 2)),
}  # fmt: skip
_IMAGE_TOKENS, _AUDIO_TOKENS = 256, 188  # gemma3n_mm.py: TOKENS_PER_IMAGE, TOKENS_PER_AUDIO.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Gemma 3n that sees and hears.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    text = config.section("text_config") or Config({}, "text_config")
    stack = add_language_model(builder, text, prefix="language_model.")
    width = stack.text.required("hidden_size_per_layer_input")
    builder.parameter("per_layer_embeddings", len(stack.layers), width, role="buffer", per_batched_token=True)
    vision = (config.section("vision_config") or Config({}, "vision_config")).over(_VISION)
    audio = (config.section("audio_config") or Config({}, "audio_config")).over(_AUDIO)
    with open_tower(builder, "image", data_parallel=False) as tower:
        name = vision.text("architecture")
        if name not in _NAMED_ENCODERS:
            raise vision.refuse("architecture", "one of " + ", ".join(_NAMED_ENCODERS))
        tower.parameter("vision_tower.timm_model", _NAMED_ENCODERS[name])
        _add_embedder(tower, "embed_vision", vision, stack.hidden)
    builder.encoders.append(Encoder(modality="image", max_tokens_per_item=_IMAGE_TOKENS, hidden_size=stack.hidden))
    with open_tower(builder, "audio", data_parallel=False) as tower:
        vit = _add_audio(tower, audio)
        _add_embedder(tower, "embed_audio", audio, stack.hidden)
    add_encoder(builder, "audio", vit, stack.hidden, tokens=_AUDIO_TOKENS, positions=_AUDIO_TOKENS)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _add_embedder(tower: Builder, name: str, section: Config, hidden: int) -> None:
    """
    A small vocabulary of its own, and the projection to the decoder's width.
    """
    width = section.required("hidden_size")
    tower.embedding(f"{name}.embedding", section.required("vocab_size"), width, lora=False)
    for norm in ("hard_embedding_norm", "soft_embedding_norm"):
        tower.norm(f"{name}.{norm}", width)
    tower.linear(f"{name}.embedding_projection", width, hidden, shard=ROW, quantized=False)
    tower.norm(f"{name}.embedding_post_projection_norm", hidden)


def _add_audio(tower: Builder, audio: Config) -> Vit:
    """
    A conformer of plain torch layers.
    """
    hidden, heads = audio.required("hidden_size"), audio.required("conf_num_attention_heads", maximum=2**16)
    if hidden % heads:
        raise audio.refuse("conf_num_attention_heads", f"a divisor of hidden_size ({hidden})")
    vit = Vit(
        hidden=hidden, intermediate=4 * hidden, num_heads=heads, num_layers=audio.num_layers("conf_num_hidden_layers")
    )
    layers = tuple(range(vit.num_layers))
    _add_subsampling(tower, audio, hidden)
    block = "audio_tower.conformer.*"

    def matrix(name: str, inputs: int, outputs: int) -> None:
        tower.parameter(f"{block}.{name}.weight", outputs, inputs, layers=layers)

    def scalar(name: str, dtype: str | None = None) -> None:
        tower.parameter(f"{block}.{name}", 1, layers=layers, dtype=dtype, role="buffer")

    for name in ("ffw_layer_start", "ffw_layer_end"):
        matrix(f"{name}.ffw_layer_1", hidden, 4 * hidden)
        matrix(f"{name}.ffw_layer_2", 4 * hidden, hidden)
        for norm in ("pre_layer_norm", "post_layer_norm"):
            tower.norm(f"{block}.{name}.{norm}", hidden, layers=layers)
        scalar(f"{name}.gradient_clipping")
    attention = "attention.attn"
    for name in ("q_proj", "k_proj", "v_proj", "relative_position_embedding.pos_proj"):
        matrix(f"{attention}.{name}", hidden, hidden)
    matrix("attention.post", hidden, hidden)
    tower.parameter(f"{block}.{attention}.per_dim_scale", hidden // heads, layers=layers)
    tower.parameter(
        f"{block}.{attention}.inv_timescales", hidden // 2, layers=layers, dtype="float32", role="buffer"
    )  # fmt: skip
    chunk = audio.required("conf_attention_chunk_size", maximum=2**12)
    past = max(0, audio.required("conf_attention_context_left", minimum=0, maximum=2**12) - 1)
    context = chunk + past + audio.required("conf_attention_context_right", minimum=0, maximum=2**12)
    tower.parameter(f"{block}.{attention}.mask", chunk, context, layers=layers, dtype="bool", role="buffer")
    scalar(f"{attention}.q_scale")
    scalar(f"{attention}.softcap", "float32")
    scalar("attention.gradient_clipping")
    matrix("lconv1d.linear_start", hidden, 2 * hidden)
    matrix("lconv1d.linear_end", hidden, hidden)
    kernel = audio.required("conf_conv_kernel_size", maximum=2**10)
    tower.parameter(f"{block}.lconv1d.depthwise_conv1d.weight", hidden, 1, kernel, layers=layers)
    scalar("lconv1d.gradient_clipping")
    scalar("gradient_clipping")
    for norm in (
        "attention.pre_attn_norm",
        "attention.post_norm",
        "lconv1d.pre_layer_norm",
        "lconv1d.conv_norm",
        "norm",
    ):
        tower.norm(f"{block}.{norm}", hidden, layers=layers)
    return vit


def _add_subsampling(tower: Builder, audio: Config, hidden: int) -> None:
    """
    Two convolutions that thin out the spectrogram.
    """
    name, before = "audio_tower.subsample_conv_projection", 1
    features = audio.required("input_feat_size", maximum=2**16)
    channels = audio.integers("sscp_conv_channel_size", minimum=1, maximum=2**16) or []
    kernels, strides = _pairs(audio, "sscp_conv_kernel_size"), _pairs(audio, "sscp_conv_stride_size")
    if len(channels) != 2:
        raise audio.refuse("sscp_conv_channel_size", "a list of two integers")
    for at, after in enumerate(channels):
        tower.parameter(f"{name}.conv_{at}.conv.weight", after, before, *kernels[at])
        tower.norm(f"{name}.conv_{at}.norm", after)
        # Frequencies are padded by one on both sides.
        features, before = (features + 2 - kernels[at][1]) // strides[at][1] + 1, after
    if features < 1:
        raise audio.refuse("input_feat_size", "large enough for two convolutions")
    tower.parameter(f"{name}.input_proj_linear.weight", hidden, before * features)


def _pairs(audio: Config, key: str) -> list[list[int]]:
    """
    Two pairs of integers.
    """
    found = [
        Config({"pair": pair}, f"{audio.path}.{key}").integers("pair", minimum=1, maximum=2**10)
        for pair in audio.items(key) or []
    ]
    if len(found) != 2 or not all(pair and len(pair) == 2 for pair in found):
        raise audio.refuse(key, "two pairs of integers")
    return [pair or [] for pair in found]
