"""
Decoders that hear through an encoder of log-mel spectrograms: GLM-ASR, MOSS-Transcribe-Diarize.

Source: vLLM 0.33 ``model_executor/models/glmasr.py``, ``moss_transcribe_diarize.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint, derived_max_model_len
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.towers import Vit, add_encoder, add_vit_layers, open_tower, read_vit
from vllm_sizing.architectures.whisper_encoder import add_mel_convolutions, add_whisper_encoder, whisper_sizes
from vllm_sizing.specs.model import ROW, ModelSpec

_GLM = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
    "num_mel_bins": 128,
}  # fmt: skip
_MOSS = {"d_model": 1024, "encoder_layers": 24, "encoder_attention_heads": 16, "encoder_ffn_dim": 4096}
_CHUNK_FRAMES = 1500  # Of 30 s, after the second convolution.
_MERGED = 4  # Frames in one embedding.
_MOSS_CHUNKS = 180  # moss_transcribe_diarize.py:MAX_AUDIO_DURATION_S, 90 minutes.
_MOSS_PREFIXES = (
    ("language_model.layers.", "language_model.model.layers."),
    ("model.language_model.model.", "language_model.model."),
    ("model.language_model.lm_head.", "language_model.lm_head."),
    ("model.language_model.", "language_model.model."),
    ("model.whisper_encoder.", "whisper_encoder."),
    ("model.vq_adaptor.", "vq_adaptor."),
)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a model that hears.
    """
    if checkpoint.architecture == "GlmAsrForConditionalGeneration":
        return _build_glm(checkpoint)
    return _build_moss(checkpoint)


def _build_glm(checkpoint: Checkpoint) -> ModelSpec:
    config, builder = checkpoint.config, checkpoint.builder()
    stack = add_inner_model(
        builder, checkpoint, prefix="language_model.", architecture="LlamaForCausalLM", tied=True
    )  # fmt: skip
    audio = (config.section("audio_config") or Config({}, "audio_config")).over(_GLM)
    with open_tower(builder, "audio") as tower:
        vit = _add_glm_encoder(tower, audio, "audio_tower")
        name, inner = "multi_modal_projector", 2 * stack.hidden
        tower.linear(f"{name}.linear_1", vit.intermediate, inner, bias=True)
        tower.linear(f"{name}.linear_2", inner, stack.hidden, shard=ROW, bias=True)
    tokens = _CHUNK_FRAMES // _MERGED
    add_encoder(builder, "audio", vit, stack.hidden, tokens=tokens, positions=_CHUNK_FRAMES)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _add_glm_encoder(tower: Builder, audio: Config, name: str) -> Vit:
    vit = read_vit(audio)
    kv_heads = audio.integer("num_key_value_heads", default=vit.num_heads, maximum=2**16)
    if vit.num_heads % kv_heads:
        raise audio.refuse("num_key_value_heads", f"a divisor of num_attention_heads ({vit.num_heads})")
    add_mel_convolutions(tower, name, audio.required("num_mel_bins", maximum=2**16), vit.hidden)
    add_vit_layers(
        tower, f"{name}.layers.*", vit,
        kv_heads=kv_heads, output="o_proj", norms=("input_layernorm", "post_attention_layernorm"),
    )  # fmt: skip
    tower.norm(f"{name}.norm", vit.hidden, bias=True)
    rope = audio.section("rope_parameters") or Config({}, "rope_parameters")
    head = audio.integer("head_dim", default=vit.head_size, maximum=2**16)
    rotated = int(head * rope.number("partial_rotary_factor", default=0.5))
    tower.parameter(f"{name}.rotary_emb.inv_freq", (rotated + 1) // 2, dtype="float32", role="buffer")
    return vit


def _build_moss(checkpoint: Checkpoint) -> ModelSpec:
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_MOSS_PREFIXES)
    stack = add_inner_model(
        builder, checkpoint, prefix="language_model.", architecture="Qwen3ForCausalLM", tied=True
    )  # fmt: skip
    audio = whisper_sizes(config.section("audio_config") or Config(_MOSS, "audio_config"))
    merge = config.integer("audio_merge_size", default=_MERGED, maximum=2**10)
    with open_tower(builder, "audio", spread=True) as tower:
        vit = add_whisper_encoder(tower, audio, "whisper_encoder")
        joined = config.integer("adaptor_input_dim", default=vit.hidden * merge)
        for at, inputs in ((0, joined), (2, stack.hidden)):
            tower.parameter(f"vq_adaptor.layers.{at}.weight", stack.hidden, inputs)
            tower.parameter(f"vq_adaptor.layers.{at}.bias", stack.hidden)
        tower.norm("vq_adaptor.layers.3", stack.hidden, bias=True)
    tokens = min(derived_max_model_len(stack.text), _MOSS_CHUNKS * max(1, vit.positions // merge))
    add_encoder(builder, "audio", vit, stack.hidden, tokens=tokens, positions=tokens * merge)
    builder.traits |= {"no_lora", "no_encoder_data"}
    return finish(checkpoint, builder, stack)
