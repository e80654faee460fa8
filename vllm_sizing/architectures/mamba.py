"""
Mamba and Mamba 2: every layer keeps a state, none attends.

Source: vLLM 0.33 ``model_executor/models/mamba.py``, ``mamba2.py``; defaults from transformers 5.20.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.blocks import Attention, Stack, add_ends, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.recurrent import MAMBA1_NORMS, Mamba1, Mamba2, add_mamba1, add_mamba2
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.units import ceil_div

_FIRST: dict[str, Any] = {
    "vocab_size": 50280, "hidden_size": 768, "state_size": 16, "num_hidden_layers": 32, "expand": 2, "conv_kernel": 4,
    "tie_word_embeddings": True,
}  # fmt: skip
_SECOND: dict[str, Any] = {
    "num_heads": 128, "head_dim": 64, "vocab_size": 32768, "hidden_size": 4096, "state_size": 128,
    "num_hidden_layers": 64, "expand": 2, "conv_kernel": 4, "n_groups": 8,
}  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, architecture: str) -> Stack:
    """
    The decoder; embeddings and head are on every pipeline stage.
    """
    second = architecture == "Mamba2ForCausalLM"
    text = text.over(_SECOND if second else _FIRST)
    stack = Stack(
        text=text, hidden=text.required("hidden_size"), vocab_size=text.required("vocab_size"),
        layers=tuple(range(text.num_layers())), attention=Attention(num_heads=0, num_kv_heads=0, head_size=0),
        max_position=0, tied=text.flag("tie_word_embeddings", default=False),
    )  # fmt: skip
    layer = "backbone.layers.*"
    add_ends(
        builder, stack, "", everywhere=True, embed="backbone.embeddings", norm="backbone.norm_f", head_quantized=False
    )
    builder.norm(f"{layer}.norm", stack.hidden, layers=stack.layers)
    if second:
        add_mamba2(builder, f"{layer}.mixer", stack.hidden, _read_second(text, stack.hidden), layers=stack.layers)
        builder.traits.add("no_pipeline")
    else:
        mixer = _read_first(text, stack.hidden, normed=text.text("model_type") == "falcon_mamba")
        add_mamba1(builder, f"{layer}.mixer", stack.hidden, mixer, layers=stack.layers)
    builder.traits |= {"no_lora", "attention_free"}
    return stack


def _read_second(text: Config, hidden: int) -> Mamba2:
    mixer = Mamba2(
        heads=text.required("num_heads", maximum=2**16),
        head_size=text.required("head_dim", maximum=2**16),
        state_size=text.required("state_size", maximum=2**16),
        groups=text.required("n_groups", maximum=2**16),
        kernel=text.required("conv_kernel", maximum=2**10),
        conv_bias=text.flag("use_conv_bias", default=True),
        bias=text.flag("use_bias", default=False),
    )
    if mixer.inner != text.required("expand", maximum=2**10) * hidden:
        raise text.refuse("num_heads", f"expand x hidden_size / head_dim ({hidden} x expand / {mixer.head_size})")
    return mixer


def _read_first(text: Config, hidden: int, *, normed: bool) -> Mamba1:
    return Mamba1(
        inner=text.integer("intermediate_size", default=0) or text.required("expand", maximum=2**10) * hidden,
        state_size=text.required("state_size", maximum=2**16),
        kernel=text.required("conv_kernel", maximum=2**10),
        rank=text.automatic("time_step_rank") or ceil_div(hidden, 16),
        conv_bias=text.flag("use_conv_bias", default=True),
        bias=text.flag("use_bias", default=False),
        norms=MAMBA1_NORMS if normed else (),
        norm_role="buffer",
    )


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Mamba.
    """
    builder = checkpoint.builder()
    stack = add_language_model(builder, checkpoint.text, architecture=checkpoint.architecture)
    return finish(checkpoint, builder, stack)
