"""
Ultravox: Whisper's encoder, a projector over stacked frames, any decoder.

Source: vLLM 0.33 ``model_executor/models/ultravox.py``, ``transformers_utils/configs/ultravox.py``.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model
from vllm_sizing.architectures.towers import Vit, add_encoder, add_vit_layers, open_tower
from vllm_sizing.architectures.whisper_encoder import add_whisper_encoder, whisper_sizes
from vllm_sizing.specs.model import REPLICATED, ModelSpec

_PREFIXES = (("audio_tower.model.encoder.", "audio_tower."),)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of an Ultravox.
    """
    config, builder = checkpoint.config, checkpoint.builder(prefixes=_PREFIXES)
    for section, other in (("text_config", "text_model_id"), ("audio_config", "audio_model_id")):
        if config.has(other) and not (config.section(section) or Config({})).data:
            raise config.refuse(section, f"the sizes of {config.text(other)}, which {other} only names")
    stack = add_inner_model(builder, checkpoint, prefix="language_model.", default_type="llama")
    audio = whisper_sizes(config.section("audio_config") or Config({}, "audio_config"))
    stacked = config.integer("stack_factor", default=8, maximum=2**12)
    with open_tower(builder, "audio") as tower:
        vit = add_whisper_encoder(tower, audio, "audio_tower")
        if config.integer("num_projector_layers", default=0, minimum=0, maximum=2**10):
            _add_transformer_projector(tower, config, vit, stack, stacked)
        else:
            _add_projector(tower, config, vit, stack, stacked)
    tokens = max(1, vit.positions // stacked)
    add_encoder(builder, "audio", vit, stack.hidden, tokens=tokens)
    builder.traits.add("no_encoder_data")
    return finish(checkpoint, builder, stack)


def _add_projector(tower: Builder, config: Config, vit: Vit, stack: Stack, stacked: int) -> None:
    name, inner = "multi_modal_projector", config.integer("hidden_size", default=4096)
    half = inner // 2 if config.text("projector_act", default="swiglu") == "swiglu" else inner
    tower.norm(f"{name}.ln_pre", vit.hidden * stacked)
    tower.linear(f"{name}.linear_1", vit.hidden * stacked, inner, shard=REPLICATED)
    tower.linear(f"{name}.linear_2", half, stack.hidden, shard=REPLICATED)
    middle = config.flag("projector_ln_mid", default=False)
    tower.norm(f"{name}.{'ln_mid' if middle else 'ln_post'}", half if middle else stack.hidden)


def _add_transformer_projector(tower: Builder, config: Config, vit: Vit, stack: Stack, stacked: int) -> None:
    """
    Layers of the encoder's own kind between two projections.
    """
    name, hidden = "multi_modal_projector", vit.hidden
    tower.norm(f"{name}.ln_pre", hidden * stacked)
    tower.linear(f"{name}.linear_in", hidden * stacked, hidden, shard=REPLICATED, bias=True)
    tower.parameter(f"{name}.embed_positions.weight", vit.positions, hidden)
    add_vit_layers(
        tower, f"{name}.layers.*", vit,
        num_layers=config.num_layers("num_projector_layers"), norms=("self_attn_layer_norm", "final_layer_norm"),
    )  # fmt: skip
    tower.norm(f"{name}.ln_post", hidden)
    tower.linear(f"{name}.linear_out", hidden, stack.hidden, shard=REPLICATED, bias=True)
