"""
ChatGLM 2 and 3, GLM-4 in its first spelling, CodeGeeX.

Source: vLLM 0.33 ``model_executor/models/chatglm.py``, ``transformers_utils/configs/chatglm.py``.
"""

from __future__ import annotations

from vllm_sizing.architectures.blocks import Stack, finish
from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import Checkpoint
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.decoder import Names, Style, add_decoder
from vllm_sizing.specs.model import ModelSpec

_DEFAULTS = {
    "num_layers": 28, "padded_vocab_size": 65024, "hidden_size": 4096, "ffn_hidden_size": 13696,
    "num_attention_heads": 32, "seq_length": 2048, "multi_query_group_num": 1,
}  # fmt: skip
_STYLE = Style(
    names=Names(
        embed="transformer.embedding", layer="transformer.encoder.layers.*", attention="self_attention",
        qkv="query_key_value", output="dense", gate_up="dense_h_to_4h", down="dense_4h_to_h",
        norm="transformer.encoder.final_layernorm", head="transformer.output_layer", qkv_parts=(), mlp_parts=(),
    ),
    qkv_bias=("add_bias_linear", "add_qkv_bias"), output_bias=("add_bias_linear",), mlp_bias=("add_bias_linear",),
    head_dim=False, partial=0.5, everywhere=True, per_layer_windows=False, lora_ends=False,
)  # fmt: skip


def add_language_model(builder: Builder, text: Config, *, architecture: str = "", prefix: str = "") -> Stack:
    """
    The decoder, as the whole model or (``prefix`` with its dot) inside a larger one.
    """
    del architecture
    if text.has("vision_config"):
        raise text.refuse("vision_config", "left out: GLM-4V in this spelling is not modelled")
    text = text.over(_DEFAULTS)
    for key in ("rmsnorm", "post_layer_norm"):
        if not text.flag(key, default=True):
            raise text.refuse(key, "true")
    heads = text.required("num_attention_heads", maximum=2**16)
    grouped = text.flag("multi_query_attention", default=False)
    text = text.changed(
        num_hidden_layers=text.num_layers("num_layers"),
        num_key_value_heads=text.required("multi_query_group_num", maximum=2**16) if grouped else heads,
        intermediate_size=text.required("ffn_hidden_size"),
        vocab_size=text.required("padded_vocab_size"),
        max_position_embeddings=text.required("seq_length", maximum=2**30),
        rope_scaling=None,
        rope_parameters={"rope_type": "default", "ratio": text.number("rope_ratio", default=1.0)},
    )
    return add_decoder(builder, text, _STYLE, prefix=prefix)


def build(checkpoint: Checkpoint) -> ModelSpec:
    """
    The `ModelSpec` of a ChatGLM.
    """
    builder = checkpoint.builder()
    return finish(checkpoint, builder, add_language_model(builder, checkpoint.text))
