"""
A checkpoint's config files, checked and with the facts that every architecture needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.quantization import CheckpointQuantization
from vllm_sizing.architectures.rope import rope_parameters, rope_type
from vllm_sizing.errors import ConfigError
from vllm_sizing.specs.value import Value

# Source: vLLM 0.33 config/model_arch.py, the keys that limit the context; the smallest counts.
_LENGTH_KEYS = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
    "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip
_ALREADY_SCALED = ("longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")
DEFAULT_MAX_MODEL_LEN = 2048
DTYPES = {
    "bfloat16": "bfloat16", "float16": "float16", "half": "float16", "float32": "float32", "float": "float32"
}  # fmt: skip


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Checkpoint(Value):
    """
    What an architecture module gets to read.

    Attributes:
        config: The whole config.json.

        text: Its language model's section, or the same.

        architecture: The name that chose the module.
    """

    name: str
    config: Config
    text: Config
    architecture: str
    dtype: str
    quantization: CheckpointQuantization

    def builder(self, section: Config | None = None, *, prefixes: Sequence[tuple[str, str]] = ()) -> Builder:
        """
        A builder for the language model's section.

        Args:
            prefixes: Of the class's ``hf_to_vllm_mapper``: how the checkpoint and vLLM call modules.
        """
        quantization = self.quantization.with_prefixes(prefixes) if prefixes else self.quantization
        return Builder(section or self.text, quantization)


def parse_dtype(config: Config) -> str:
    """
    The dtype that ``--dtype auto`` gives on a GPU that has it.

    Source: vLLM 0.33 ``config/model.py:_resolve_auto_dtype``: float32 (or nothing) becomes the
    platform's preferred 16-bit type.
    """
    found = _declared_dtype(config)
    return "bfloat16" if found == "float32" else found


def declares_float32(config: Config) -> bool:
    """
    Whether the checkpoint is float32, or does not say: ``auto`` then follows the platform and the runner.
    """
    return _declared_dtype(config) == "float32"


def _declared_dtype(config: Config) -> str:
    sections = [config, config.section("text_config", "llm_config", "language_config", "thinker_config")]
    for section in sections:
        if section is None:
            continue
        found = section.text("dtype", "torch_dtype").removeprefix("torch.")
        if found:
            if found not in DTYPES:
                raise section.refuse("dtype" if section.has("dtype") else "torch_dtype", "one of " + ", ".join(DTYPES))
            return DTYPES[found]
    return "float32"


def derived_max_model_len(config: Config, *, default: int = DEFAULT_MAX_MODEL_LEN) -> int:
    """
    The longest request that the config allows, RoPE scaling applied.

    Source: vLLM 0.33 ``config/model.py:_get_and_verify_max_len``.
    """
    found = [config.required(key) for key in _LENGTH_KEYS if config.has(key)]
    length: float = min(found, default=default)
    if config.has("model_max_length"):
        length = config.required("model_max_length")  # It counts alone: Command R's own spelling.
    parameters = rope_parameters(config)
    kind = rope_type(parameters) if not isinstance(parameters.data.get("full_attention"), dict) else "default"
    if kind == "longrope":
        original = config.integer("original_max_position_embeddings", default=None)
        return original if original is not None else int(length)
    if kind not in _ALREADY_SCALED and "gemma3" not in config.text("model_type"):
        length *= parameters.number("factor", default=1.0)
    if not 1 <= length < 2**40:
        raise ConfigError(f"config.json: the context length comes to {length:g}; it must be at least 1 token")
    return int(length)
