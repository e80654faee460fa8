"""
What a checkpoint's quantization config says about each layer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.quantization import Scheme


class CheckpointQuantization:
    """
    How a checkpoint stores its matrices; this base class: plainly.

    Attributes:
        method: vLLM's name of the method, None for a plain checkpoint.

        kv_cache_dtype: What ``--kv-cache-dtype auto`` becomes, if the checkpoint says so.

        attention_scale_bytes: What the method adds to every attention layer.

        mla_scale_bytes: The same for multi-head latent attention.

        scales_per_kv_head: ``attention_scale_bytes`` are per KV head.

        expert_layer_bytes: What the method adds to every layer of fused experts.

        traits: Facts about the storage that some releases stumble over.

        varies_by_layer: Layers of one kind may be stored differently (an ignore list names layers).
    """

    method: str | None = None
    kv_cache_dtype: str | None = None
    attention_scale_bytes: int = 0
    mla_scale_bytes: int = 0
    scales_per_kv_head: bool = False
    expert_layer_bytes: int = 0
    traits: frozenset[str] = frozenset()
    varies_by_layer: bool = False
    findings: tuple[Finding, ...] = ()

    def with_prefixes(self, prefixes: Sequence[tuple[str, str]]) -> Self:
        """
        The same for a model whose modules vLLM calls otherwise than the checkpoint does.

        Args:
            prefixes: (checkpoint's prefix, vLLM's prefix), applied in turn, as in the model class's
                ``hf_to_vllm_mapper``.  It replaces those of an earlier call.
        """
        other = copy.copy(self)
        other.prepare(tuple(prefixes))
        return other

    def prepare(self, prefixes: Sequence[tuple[str, str]]) -> None:
        """
        Build whatever depends on the modules' names.
        """

    def linear(self, prefix: str, fused: tuple[str, ...] = ()) -> Scheme | None:
        """
        The format of a linear layer; None: the model's dtype.

        Args:
            prefix: vLLM's module name with the layer number in place.

            fused: Last names of its parts in the checkpoint, empty if it is not fused.
        """
        return None

    def experts(self, prefix: str) -> tuple[Scheme | None, Scheme | None]:
        """
        The formats of ``w13`` and ``w2`` of fused experts.
        """
        return (None, None)

    def embedding(self, prefix: str) -> Scheme | None:
        """
        The format of a vocabulary embedding.
        """
        return None

    def lm_head(self, prefix: str) -> Scheme | None:
        """
        The format of the output projection.
        """
        return None
