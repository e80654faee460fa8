"""
The last layers of pooling models: how many labels, in which dtype.

Source: vLLM 0.33 ``config/model.py:head_dtype``; transformers 5.20 ``configuration_utils.py:num_labels``.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.checkpoint import DTYPES
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import REPLICATED

MAX_LABELS = 2**20


def read_num_labels(config: Config) -> int:
    """
    Labels of a classifier: the entries of ``id2label``, else ``num_labels``, else 2.
    """
    labels = config.section("id2label")
    if labels is not None:
        if not labels.data:
            raise config.refuse("id2label", "an object with a name for every label")
        return len(labels.data)
    return config.integer("num_labels", default=2, maximum=MAX_LABELS)


def read_head_dtype(config: Config) -> str | None:
    """
    Dtype of a pooling model's head: float32 unless the config says otherwise; None: the model's.
    """
    word = config.text("head_dtype").lower()
    if word == "model":
        return None
    if word and word not in DTYPES:
        raise config.refuse("head_dtype", "model, or one of " + ", ".join(DTYPES))
    return DTYPES[word] if word else "float32"


def add_head(
    builder: Builder, name: str, inputs: int, outputs: int, *, dtype: str | None, bias: bool = True, **facts: Any
) -> None:
    """
    A linear layer of the head, whole on every rank; ``facts`` as in `Builder.linear`.
    """
    facts.setdefault("quantized", False)
    facts.setdefault("lora", False)
    facts.setdefault("stage", "last")
    builder.linear(name, inputs, outputs, shard=REPLICATED, bias=bias, dtype=dtype, **facts)
