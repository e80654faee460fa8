"""
Mistral's own ``params.json`` as the config.json that vLLM makes of it.

Source: vLLM 0.33 ``transformers_utils/configs/mistral.py:adapt_config_dict``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm_sizing.architectures.config import Config
from vllm_sizing.errors import ConfigError

_FILE = "params.json"
_POSITIONS = 128_000
_KEYS = {
    "dim": "hidden_size", "norm_eps": "rms_norm_eps", "n_kv_heads": "num_key_value_heads",
    "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads", "hidden_dim": "intermediate_size",
    "activation": "hidden_act", "tied_embeddings": "tie_word_embeddings",
}  # fmt: skip
_MOE_KEYS = {
    "route_every_n": "moe_layer_freq", "first_k_dense_replace": "first_k_dense_replace",
    "num_experts_per_tok": "num_experts_per_tok", "num_experts": "n_routed_experts",
    "expert_hidden_dim": "moe_intermediate_size", "num_shared_experts": "n_shared_experts",
}  # fmt: skip


def config_from_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """
    A config.json in the usual spelling.

    Raises:
        ConfigError: A value is of the wrong type, or the model is of a kind that is not modelled.
    """
    given = Config(params, _FILE)
    if given.has("multimodal"):
        raise _refusal("multimodal", given.data["multimodal"])
    config = {_KEYS.get(key, key): value for key, value in params.items()}
    positions = given.integer("max_position_embeddings", default=_POSITIONS)
    config |= {"max_position_embeddings": positions, "max_seq_len": given.integer("max_seq_len", default=positions)}
    config.setdefault("tie_word_embeddings", False)
    config.setdefault("sliding_window", None)  # No config class says otherwise.
    config["model_type"] = given.text("model_type", default="transformer")
    _add_windows(config, given)
    _add_quantization(config, given)
    config["architectures"] = ["MistralForCausalLM"]
    moe = given.section("moe")
    if moe is not None:
        if not moe.integer("num_shared_experts", default=0, minimum=0):
            raise _refusal("moe", moe.data)
        config |= {new: moe.data[old] for old, new in _MOE_KEYS.items() if moe.has(old)}
        config |= {"model_type": "deepseek_v3", "architectures": ["MistralLarge3ForCausalLM"]}
    elif given.has("qk_nope_head_dim"):
        raise _refusal("qk_nope_head_dim", given.data["qk_nope_head_dim"])
    yarn = given.section("yarn")
    if yarn is not None:
        scaled = {"rope_type": "yarn", "rope_theta": given.data.get("rope_theta"), "factor": yarn.data.get("factor")}
        original = yarn.integer("original_max_position_embeddings", default=None)
        config["rope_parameters"] = {**scaled, "original_max_position_embeddings": original}
    vision = given.section("vision_encoder")
    if vision is None:
        return config
    return {
        "model_type": "pixtral",
        "architectures": ["PixtralForConditionalGeneration"],
        "dtype": config.get("dtype"),
        "text_config": config,
        "vision_config": dict(vision.data),
        "quantization_config": config.get("quantization_config"),
    }


def _add_windows(config: dict[str, Any], given: Config) -> None:
    """
    A window for every layer, or a list of windows that repeats.
    """
    window = given.data.get("sliding_window")
    if not isinstance(window, list):
        return
    number = given.num_layers("n_layers")
    widths = {width for width in window if width is not None}
    if not window or len(widths) > 1 or number % len(window):
        raise given.refuse("sliding_window", "a window, or a list with one window that repeats over the layers")
    kinds = ["full_attention" if width is None else "sliding_attention" for width in window]
    config |= {"layer_types": kinds * (number // len(window)), "sliding_window": widths.pop() if widths else None}


def _add_quantization(config: dict[str, Any], given: Config) -> None:
    section = given.section("quantization")
    if section is None or not section.data:
        return
    if section.text("qformat_weight") == "fp8_e4m3":
        dynamic = section.text("qscheme_act") == "NO_SCALES"
        if not dynamic and section.text("qscheme_act", default="TENSOR") != "TENSOR":
            raise section.refuse("qscheme_act", "NO_SCALES or TENSOR, as vLLM wants it")
        config["quantization_config"] = {
            "quant_method": "fp8", "activation_scheme": "dynamic" if dynamic else "static"
        }  # fmt: skip
    elif section.text("quant_method").lower().replace("_", "-") == "compressed-tensors":
        config["quantization_config"] = {**section.data, "quant_method": "compressed-tensors"}
    else:
        raise _refusal("quantization", section.data)


def _refusal(key: str, value: object) -> ConfigError:
    message = f"{_FILE}: {key} is of a kind that is not modelled; give the same model with a config.json"
    return ConfigError(message, field=key, value=value)
