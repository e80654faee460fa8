"""
A model of which only the size is known: Llama-shaped, and marked as rough.
"""

from __future__ import annotations

import math

import attrs

from vllm_sizing.errors import InvalidValueError
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.units import round_up

HEAD_SIZE = 128
VOCAB_SIZE = 128_256
SMALL_VOCAB_SIZE = 32_000  # Below a billion weights, where a large one would be most of the model.
MAX_MODEL_LEN = 32_768
MOST_BILLIONS = 100_000.0
# Width over depth of dense models from 1 to 400 billion weights is 64 to 130; Llama 3 is at 128, 102, 130.
WIDTH_OVER_DEPTH = 110
LAYER_WEIGHTS_OVER_SQUARED_WIDTH = 12.5


def model_from_params(params_b: object, *, name: str = "") -> ModelSpec:
    """
    A dense 16-bit model of so many billions of weights.

    Everything but the weights' sum is a guess in the shape of Llama 3: eight KV heads of 128, a
    vocabulary of 128,256 and 32,768 tokens of context.

    Raises:
        InvalidValueError: Not a number of billions.

    >>> model_from_params(8).rough, round(model_from_params(8).num_parameters / 1e9, 1)
    (True, 8.0)
    """
    if isinstance(params_b, bool) or not isinstance(params_b, (int, float)) or not 0.05 <= params_b <= MOST_BILLIONS:
        message = f"params_b is {params_b!r}; it must be billions of weights, from 0.05 to {MOST_BILLIONS:,.0f}"
        raise InvalidValueError(message, field="params_b", value=params_b)
    wanted = int(params_b * 10**9)
    vocab_size = VOCAB_SIZE if wanted >= 10**9 else SMALL_VOCAB_SIZE
    step = 8 * HEAD_SIZE if wanted >= 2 * 10**9 else 2 * HEAD_SIZE
    width = round_up(max(int(_width(wanted)), 1), step)
    heads = width // HEAD_SIZE
    kv_heads = 8 if heads % 8 == 0 else 2
    depth = max(2, min(1024, round(width / WIDTH_OVER_DEPTH)))
    attention = width * HEAD_SIZE * 2 * (heads + kv_heads) + 2 * width
    rest = wanted - 2 * vocab_size * width - width - depth * attention
    tied = rest < 3 * width * 64 * depth
    rest += vocab_size * width if tied else 0
    intermediate = max(64, round(rest / (3 * width * depth) / 64) * 64)
    config = {
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "num_hidden_layers": depth,
        "intermediate_size": intermediate,
        "vocab_size": vocab_size,
        "max_position_embeddings": MAX_MODEL_LEN,
        "tie_word_embeddings": tied,
    }
    from vllm_sizing.architectures import model_from_config

    spec = model_from_config({**config, "architectures": ["LlamaForCausalLM"]}, name=name or f"{params_b:g}B")
    return attrs.evolve(spec, rough=True, provenance=("params_b: a guess of this size",))


def _width(wanted: int) -> float:
    return math.pow(wanted * WIDTH_OVER_DEPTH / LAYER_WEIGHTS_OVER_SQUARED_WIDTH, 1 / 3)
