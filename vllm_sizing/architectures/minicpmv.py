"""
MiniCPM-V 2.5 to 4.5 and MiniCPM-O: images of any shape, a resampler with a fixed number of questions, Whisper.

Source: vLLM 0.33 ``model_executor/models/minicpmv.py``, ``minicpmo.py``, ``layers/resampler.py``.  The resampler's
tables of positions are not counted: vLLM loads them on the host.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.idefics2 import add_idefics2
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.towers import add_encoder, open_tower
from vllm_sizing.architectures.whisper_encoder import add_plain_whisper, whisper_sizes
from vllm_sizing.specs.model import REPLICATED, ModelSpec

_VISION = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 16,
}  # fmt: skip
# minicpmv.py:_SUPPORT_VERSION; a MiniCPM-O without a version is 2.6, a MiniCPM-V 2.5.
_DECODERS = {
    "MiniCPMV": {
        (2, 5): "LlamaForCausalLM", (2, 6): "Qwen2ForCausalLM", (4, 0): "LlamaForCausalLM", (4, 5): "Qwen3ForCausalLM"
    },
    "MiniCPMO": {(2, 6): "Qwen2ForCausalLM", (4, 5): "Qwen3ForCausalLM"},
}  # fmt: skip
_HEAD = 128  # Of the resampler.
_SLICES, _FRAMES = 9, 16  # Where the config has no max_slice_num; minicpmv.py:_MAX_FRAMES_PER_VIDEO.
_AUDIO_CHUNKS, _CHUNK_FRAMES = 30, 50  # minicpmo.py: of one second each, after the second convolution.


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a MiniCPM-V or MiniCPM-O.
    """
    config, builder = checkpoint.config, checkpoint.builder()
    version = _version(config, checkpoint.architecture)
    decoder = _DECODERS[checkpoint.architecture][version]
    stack = add_inner_model(builder, checkpoint, prefix="llm.", architecture=decoder)
    vision = (config.section("vision_config") or Config({}, "vision_config")).over(_VISION)
    queries = config.integer("query_num", default=64, maximum=2**20)
    with open_tower(builder) as tower:
        number = vision.num_layers()
        dropped = config.flag("drop_vision_last_layer", default=True)
        vit = add_idefics2(tower, vision, "vpm", num_layers=number - 1 if dropped else number)
        _add_resampler(tower, "resampler", stack.hidden, vit.hidden, queries)
    videos = ("video",) if version != (2, 5) else ()
    for modality in ("image", *videos):
        pictures = (
            config.integer("max_slice_num", default=_SLICES, maximum=2**12) + 1 if modality == "image" else _FRAMES
        )
        tokens, positions = pictures * queries, pictures * vit.positions
        add_encoder(builder, modality, vit, stack.hidden, tokens=tokens, positions=positions)
    if checkpoint.architecture == "MiniCPMO":
        _add_audio(builder, config, stack)
    return finish(checkpoint, builder, stack)


def _version(config: Config, architecture: str) -> tuple[int, int]:
    known = _DECODERS[architecture]
    given = config.data.get("version")
    if given is None:
        return (2, 6) if architecture == "MiniCPMO" else (2, 5)
    for version in known:
        if str(given) == ".".join(map(str, version)):
            return version
    raise config.refuse("version", "one of " + ", ".join(".".join(map(str, version)) for version in known))


def _add_resampler(tower: Builder, name: str, width: int, inputs: int, queries: int) -> None:
    """
    A fixed number of questions attends to all patches; only the first projection may be quantized.
    """
    tower.parameter(f"{name}.query", queries, width)
    if inputs != width:
        tower.linear(f"{name}.kv_proj", inputs, width, shard=REPLICATED)
    tower.parameter(f"{name}.attn.in_proj_weight", 3 * width, width)
    tower.parameter(f"{name}.attn.in_proj_bias", 3 * width)
    tower.parameter(f"{name}.attn.out_proj.weight", width, width)
    tower.parameter(f"{name}.attn.out_proj.bias", width)
    for norm in ("ln_q", "ln_kv", "ln_post"):
        tower.norm(f"{name}.{norm}", width, bias=True)
    tower.parameter(f"{name}.proj", width, width)


def _add_audio(builder: Builder, config: Config, stack: Stack) -> None:
    audio = whisper_sizes(config.section("audio_config") or Config({}, "audio_config"))
    with open_tower(builder, "audio") as tower:
        vit = add_plain_whisper(tower, audio, "apm")
        for at, inputs in ((1, vit.intermediate // 4), (2, stack.hidden)):
            tower.parameter(f"audio_projection_layer.linear{at}.weight", stack.hidden, inputs)
            tower.parameter(f"audio_projection_layer.linear{at}.bias", stack.hidden)
    step = config.integer("audio_pool_step", default=2, maximum=_CHUNK_FRAMES)
    tokens = _AUDIO_CHUNKS * ((_CHUNK_FRAMES - step) // step + 1)
    add_encoder(builder, "audio", vit, stack.hidden, tokens=tokens, positions=_AUDIO_CHUNKS * _CHUNK_FRAMES)
