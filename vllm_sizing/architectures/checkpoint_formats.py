"""
Which quantization method a checkpoint declares.

Source: vLLM 0.33 ``config/model.py:_verify_quantization``,
``transformers_utils/model_arch_config_convertor.py:_normalize_quantization_config``,
``model_loader/weight_utils.py:get_quant_config``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.quantization import CheckpointQuantization
from vllm_sizing.errors import ConfigError

_FORMATS = "vllm_sizing.architectures.formats."
# What a checkpoint may call itself -> module and function; only the one that is needed is imported.
_PARSERS = {
    "fp8": ("fp8", "parse_fp8"),
    "fbgemm_fp8": ("fp8", "parse_fbgemm"),
    "experts_int8": ("fp8", "parse_experts_int8"),
    "awq": ("integers", "Awq"),
    "gptq": ("integers", "Gptq"),
    "auto-round": ("inc", "Inc"),
    "inc": ("inc", "Inc"),
    "compressed-tensors": ("compressed_tensors", "parse_compressed_tensors"),
    "quark": ("quark", "Quark"),
    "bitsandbytes": ("libraries", "parse_bitsandbytes"),
    "torchao": ("libraries", "parse_torchao"),
    "fp_quant": ("libraries", "parse_fp_quant"),
    "gguf": ("gguf", "Gguf"),
}
_ALIASES = {
    "compressed_tensors": "compressed-tensors", "auto_awq": "awq", "awq_marlin": "awq", "auto_gptq": "gptq",
    "gptq_marlin": "gptq", "intel/auto-round": "auto-round",
}  # fmt: skip
_MODELOPT = ("modelopt", "modelopt_fp4", "modelopt_mxfp8", "modelopt_mixed", "mxfp8")
_MXFP4 = ("mxfp4", "gpt_oss_mxfp4")
_DEEPSEEK_V4 = ("deepseek_v4", "deepseek_v4_text", "deepseek_v41", "deepseek_v41_text")


def parse_quantization(config: Config, companion: Config | None, *, architecture: str) -> CheckpointQuantization:
    """
    The checkpoint's quantization, from config.json or the file beside it.

    Args:
        config: The whole config.json.

        companion: ``hf_quant_config.json``, which older ModelOpt checkpoints have.

        architecture: The model class; gpt-oss and DeepSeek-V4 have methods of their own.

    Raises:
        ConfigError: A value is wrong, or the method is not modelled.
    """
    section = _section(config)
    if companion is not None and (section is None or not section.text("quant_method")):
        section = companion
    if section is None or not section.data:
        return CheckpointQuantization()
    word = _method(section)
    if not word:
        return CheckpointQuantization()
    if word in _MODELOPT:
        return _parse_modelopt(section, companion, word)
    if architecture == "KimiK3ForConditionalGeneration" and section.text("format") == "mxfp4-pack-quantized":
        word = "mxfp4"  # models/config.py:KimiK3ForConditionalGenerationConfig
    if word in _MXFP4:
        method = "gpt_oss_mxfp4" if architecture == "GptOssForCausalLM" else "mxfp4"
        return _load("fp8", "parse_mxfp4")(section, method)
    if word == "deepseek_v4_fp8" or (word == "fp8" and config.text("model_type") in _DEEPSEEK_V4):
        return _load("fp8", "DeepseekV4")(section, config)
    if word not in _PARSERS:
        known = sorted((*_PARSERS, *_MODELOPT, *_MXFP4, "deepseek_v4_fp8"))
        message = (
            f"config.json: quantization_config.quant_method is {word[:60]!r}, which is not modelled; "
            f"known methods are {', '.join(known)}; give params_b for a rough plan"
        )
        raise ConfigError(message, field="quantization_config.quant_method", value=word)
    return _load(*_PARSERS[word])(section)


def _load(module: str, name: str) -> Callable[..., CheckpointQuantization]:
    parser: Callable[..., CheckpointQuantization] = getattr(importlib.import_module(_FORMATS + module), name)
    return parser


def _section(config: Config) -> Config | None:
    """
    The quantization config, wherever a checkpoint keeps it.
    """
    text = config.section("text_config")
    for where in (config, text):
        if where is not None:
            found = where.section("quantization_config", "compression_config")
            if found is not None:
                return found
    return None


def _method(section: Config) -> str:
    """
    What the section calls its method; ModelOpt's may say so by its producer only.
    """
    word = section.text("quant_method").lower()
    if word:
        return _ALIASES.get(word, word)
    producer = section.section("producer")
    inner = section.section("quantization")
    legacy = inner is not None and inner.has("modelopt_quant_config")
    if legacy or (producer is not None and producer.text("name") == "modelopt"):
        return _modelopt_method(section)
    return ""


def _parse_modelopt(section: Config, companion: Config | None, word: str) -> CheckpointQuantization:
    method = word
    if word != "mxfp8" or section.has("quant_algo", "quantization"):
        method = _modelopt_method(section)
    if method == "modelopt_mixed" and companion is not None and not section.has("quantized_layers", "quantization"):
        section = companion
    return _load("modelopt", "parse_modelopt")(section, method)


def _modelopt_method(section: Config) -> str:
    from vllm_sizing.architectures.formats.modelopt import method_of

    return method_of(section)
