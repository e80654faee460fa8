"""
The metadata of a GGUF file as the config.json that transformers makes of it.

Source: transformers 5.20 ``integrations/ggml.py:GGUF_CONFIG_MAPPING``, ``modeling_gguf_pytorch_utils.py``;
vLLM 0.23 ``model_loader/gguf_loader.py`` for the tensors' names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vllm_sizing.architectures.config import MAX_LAYERS, Config
from vllm_sizing.architectures.formats.gguf import BLOCKS, PLAIN
from vllm_sizing.errors import ConfigError, UnknownArchitectureError

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]

_KEYS = {
    "context_length": "max_position_embeddings", "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size", "embedding_length": "hidden_size", "rope.freq_base": "rope_theta",
    "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads",
    "expert_count": "num_experts", "expert_used_count": "num_experts_per_tok",
}  # fmt: skip
# What the file calls itself -> (transformers' type, vLLM's class, more keys).
_FAMILIES: dict[str, tuple[str, str, dict[str, str]]] = {
    "llama": ("llama", "LlamaForCausalLM", {"rope.dimension_count": "head_dim"}),
    "qwen2": ("qwen2", "Qwen2ForCausalLM", {}),
    "qwen2moe": ("qwen2_moe", "Qwen2MoeForCausalLM", {}),
    "qwen3": ("qwen3", "Qwen3ForCausalLM", {}),
    "qwen3moe": ("qwen3_moe", "Qwen3MoeForCausalLM", {"attention.key_length": "head_dim"}),
    "phi3": ("phi3", "Phi3ForCausalLM", {}),
    "gemma3": (
        "gemma3_text", "Gemma3ForCausalLM",
        {"attention.key_length": "head_dim", "attention.sliding_window": "sliding_window"},
    ),
}  # fmt: skip
_MODULES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate", "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_exps": "mlp.experts.gate_proj", "ffn_up_exps": "mlp.experts.up_proj",
    "ffn_down_exps": "mlp.experts.down_proj", "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj", "ffn_down_shexp": "mlp.shared_expert.down_proj",
}  # fmt: skip
# Their embeddings have no name when vLLM asks which modules are plain (models/llama.py).
_NAMELESS = ("LlamaForCausalLM", "Phi3ForCausalLM")
_FUSED = {"ffn_up": "mlp.gate_up_proj"}
_HEAD_SIZES = {"qwen3": 128, "gemma3_text": 256}  # Of the config classes, where the file says nothing.
_ENDS = {"token_embd.weight": "model.embed_tokens", "output.weight": "lm_head"}
_BLOCK = re.compile(r"blk\.(\d{1,4})\.(\w+)\.weight")


def config_from_gguf(metadata: Mapping[str, Any], tensors: Tensors) -> dict[str, Any]:
    """
    A config.json, with the type of every matrix in its ``quantization_config``.

    Args:
        metadata: Keys and values; of an array only its ``length``.

        tensors: Name -> (type, shape as torch has it).

    Raises:
        UnknownArchitectureError: vLLM or we do not read this kind of file.

        ConfigError: A value is missing or wrong.
    """
    given = Config(metadata, "GGUF")
    kind = given.text("general.architecture")
    if kind not in _FAMILIES:
        message = (
            f"GGUF: general.architecture is {kind[:40]!a}, which is not modelled in this format; known are "
            f"{', '.join(_FAMILIES)}; give the model that the file was made from"
        )
        raise UnknownArchitectureError(message, architecture=kind)
    if given.integer("split.count", default=1, minimum=0, maximum=2**16) > 1:
        raise given.refuse("split.count", "1: join the parts with llama-gguf-split --merge")
    model_type, architecture, more = _FAMILIES[kind]
    config: dict[str, Any] = {"architectures": [architecture], "model_type": model_type}
    for key, name in (_KEYS | more).items():
        if given.has(f"{kind}.{key}"):
            config[name] = metadata[f"{kind}.{key}"]
    if kind == "llama" and "num_experts" in config:
        raise given.refuse("llama.expert_count", "absent: transformers reads no experts from such files")
    if given.has(f"{kind}.vocab_size"):
        config["vocab_size"] = given.required(f"{kind}.vocab_size")
    else:
        config["vocab_size"] = given.needed_section("tokenizer.ggml.tokens").required("length")
    config["tie_word_embeddings"] = "output.weight" not in tensors
    embed = tensors.get("token_embd.weight", ("", ()))[0]
    if architecture in _NAMELESS and embed in PLAIN:
        message = (
            f"GGUF: token_embd.weight is {embed}, and vLLM's {architecture} looks for packed embeddings only; "
            "take a file whose embeddings are packed, or give the model that it was made from"
        )
        raise ConfigError(message, field="token_embd.weight", value=embed)
    if "num_experts" in config:
        if config["tie_word_embeddings"]:
            raise _wrong("output.weight", None, "there: vLLM's mixtures of experts do not share packed embeddings")
        config["moe_intermediate_size"] = _rows(tensors, "blk.0.ffn_gate_exps.weight")
        shared = "blk.0.ffn_gate_shexp.weight"
        config["shared_expert_intermediate_size"] = _rows(tensors, shared) if shared in tensors else 0
    types = _types(tensors, _MODULES | _FUSED if kind == "phi3" else _MODULES)
    config["quantization_config"] = {"quant_method": "gguf", "tensor_types": types}
    _check_shapes(Config(config), tensors)
    return config


def _types(tensors: Tensors, modules: Mapping[str, str]) -> dict[str, str]:
    """
    Module -> type of its matrix; what vLLM does not load is left out.
    """
    types = {}
    for name, (stored, shape) in tensors.items():
        block = _BLOCK.fullmatch(name)
        if block is not None and block[2] in modules and int(block[1]) < MAX_LAYERS:
            types[f"model.layers.{int(block[1])}.{modules[block[2]]}"] = stored
        elif name in _ENDS:
            types[_ENDS[name]] = stored
        else:
            continue
        size = {**BLOCKS, **PLAIN}.get(stored)
        if size is not None and (not shape or shape[-1] % size[0]):
            raise _wrong(name, shape, f"rows of whole blocks of {size[0]}")
    return types


def _rows(tensors: Tensors, name: str) -> int:
    """
    Outputs of one expert.
    """
    stored = tensors.get(name)
    if stored is None or len(stored[1]) < 2:
        raise _wrong(name, stored and stored[1], "a matrix")
    return stored[1][-2]


def _check_shapes(config: Config, tensors: Tensors) -> None:
    """
    Hold the largest tensors against the metadata: vLLM stops where they differ.
    """
    hidden, vocab, kind = config.required("hidden_size"), config.required("vocab_size"), config.text("model_type")
    heads = config.required("num_attention_heads", maximum=2**16)
    size = config.integer("head_dim", default=_HEAD_SIZES.get(kind, hidden // heads), maximum=2**16)
    kv_heads = config.integer("num_key_value_heads", default=heads, maximum=2**16)
    expected = {
        "attn_output": (hidden, heads * size), "attn_k": (kv_heads * size, hidden), "attn_v": (kv_heads * size, hidden),
        "attn_qkv": ((heads + 2 * kv_heads) * size, hidden),
    }  # fmt: skip
    if not config.has("num_experts"):
        width = config.required("intermediate_size")
        expected |= {"ffn_up": (width * (2 if kind == "phi3" else 1), hidden), "ffn_down": (hidden, width)}
    for name, (_, shape) in tensors.items():
        block = _BLOCK.fullmatch(name)
        wanted = (vocab, hidden) if name in _ENDS else expected.get(block[2]) if block else None
        if wanted is not None and shape != wanted:
            raise _wrong(name, shape, f"{wanted} by the file's own metadata")


def _wrong(name: str, shape: object, wanted: str) -> ConfigError:
    found = "is missing" if shape is None else f"has the shape {shape}"
    message = f"GGUF: tensor {name[:80]} {found}; it must be {wanted}; fetch the file again"
    return ConfigError(message, field=name, value=shape)
