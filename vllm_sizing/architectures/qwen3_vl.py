"""
Qwen3-VL, dense and with experts, and Cosmos 3: the encoder hands features to the first decoder layers too.

Source: vLLM 0.33 ``model_executor/models/qwen3_vl.py``, ``qwen3_vl_moe.py``, ``cosmos3.py``; defaults from
transformers 5.20.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import finish
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.inner import add_inner_model, with_whole_adapters
from vllm_sizing.architectures.qwen_vision import add_deepstack, add_qwen_vision
from vllm_sizing.specs.model import ModelSpec

# hf_to_vllm_mapper of the class: names in the ignore lists of quantized checkpoints.
PREFIXES = (
    ("model.visual.", "visual."),
    ("lm_head.", "language_model.lm_head."),
    ("model.language_model.", "language_model.model."),
)
_DENSE = {"head_dim": 128, "num_key_value_heads": 32, "max_position_embeddings": 128_000}
_SPARSE = {
    "num_key_value_heads": 16, "max_position_embeddings": 128_000, "moe_intermediate_size": 1408,
    "num_experts_per_tok": 4, "num_local_experts": 60, "intermediate_size": 5632,
}  # fmt: skip
_DEEPSTACK = (8, 16, 24)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a Qwen3-VL.
    """
    sparse = checkpoint.architecture == "Qwen3VLMoeForConditionalGeneration"
    builder = checkpoint.builder(prefixes=PREFIXES)
    builder.mrope_factor = 1
    stack = add_inner_model(
        builder, checkpoint, prefix="language_model.", tied=False,
        architecture="Qwen3MoeForCausalLM" if sparse else "Qwen3ForCausalLM",
        text=checkpoint.text.over(_SPARSE if sparse else _DENSE),
    )  # fmt: skip
    with_whole_adapters(builder, ".experts.")  # is_3d_moe_weight of the class
    vision = checkpoint.config.section("vision_config") or Config({}, "vision_config")
    add_deepstack(builder, add_qwen_vision(builder, vision, stack.hidden, deepstack=_DEEPSTACK), stack.hidden)
    return finish(checkpoint, builder, stack)
