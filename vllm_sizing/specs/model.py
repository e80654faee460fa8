"""
A model as two lists: the tensors that ranks hold and the cache pages that layers keep.

Nothing here knows a Hugging Face spelling or an architecture; `architectures` builds these
values from a config.json, `sizing` does arithmetic on them.
"""

from __future__ import annotations

import attrs

from vllm_sizing.specs.cache_layers import (
    CacheLayer,
    ChunkedLocal,
    CompressedMla,
    ConvWindow,
    CrossAttention,
    FullAttention,
    IndexKeys,
    MlaAttention,
    RecurrentState,
    SlidingWindow,
    StateTensor,
)
from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.tensors import COLUMN, REPLICATED, ROW, VOCAB, Part, Shard, WeightTensor
from vllm_sizing.specs.value import Value

__all__ = [
    "COLUMN",
    "REPLICATED",
    "ROW",
    "VOCAB",
    "CacheLayer",
    "ChunkedLocal",
    "CompressedMla",
    "ConvWindow",
    "CrossAttention",
    "Draft",
    "Encoder",
    "FullAttention",
    "IndexKeys",
    "MlaAttention",
    "ModelSpec",
    "Part",
    "RecurrentState",
    "Shard",
    "SlidingWindow",
    "StateTensor",
    "WeightTensor",
]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Encoder(Value):
    """
    What profiling knows of one modality.

    Attributes:
        modality: ``image``, ``video`` or ``audio``.

        max_tokens_per_item: Embeddings of the largest item.

        hidden_size: Width of one embedding as the decoder takes it.

        patches_per_token: Encoder positions behind one embedding.

        width, intermediate_size: Of the encoder's own layers.

        step_tokens: Embeddings of the parts (frames) by which profiling shortens the largest item until
            it fits the context; 0: it does not.

        older_tokens: What releases before 0.14 took for the largest item's embeddings; 0: the same.
    """

    modality: str
    max_tokens_per_item: int
    hidden_size: int
    patches_per_token: int = 1
    width: int = 0
    intermediate_size: int = 0
    num_heads: int = 0
    step_tokens: int = 0
    older_tokens: int = 0

    def tokens_within(self, max_model_len: int) -> int:
        """
        Embeddings of the largest item for a context.
        """
        if not self.step_tokens:
            return self.max_tokens_per_item
        steps = max(1, max_model_len // self.step_tokens)
        return min(self.max_tokens_per_item, steps * self.step_tokens)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Draft(Value):
    """
    The draft for speculative decoding: layers that a checkpoint brings, or a checkpoint of its own.

    Attributes:
        method: ``mtp``, ``draft_model``, ``eagle`` or ``eagle3``.

        tensors, cache_layers: What they add on a rank.

        embeds: Beside pipeline stages it keeps embeddings of its own.

        source: The checkpoint, as speculative_config names it; empty: the target's own.
    """

    method: str
    tensors: tuple[WeightTensor, ...]
    cache_layers: tuple[CacheLayer, ...]
    num_layers: int = 1
    embeds: bool = True
    source: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ModelSpec(Value):
    """
    A model as the planner sees it.

    Attributes:
        name: Hub id, or whatever the caller calls it.

        architecture: The class that vLLM loads, from ``architectures``.

        dtype: Activation dtype that ``--dtype auto`` gives.

        quantization: vLLM's name of the checkpoint's method, None for a plain one.

        max_model_len: The config's own limit in tokens, RoPE scaling applied.

        num_attention_heads: Must divide by the tensor-parallel size.

        kv_cache_dtype: What ``--kv-cache-dtype auto`` means where the checkpoint says so; None: the
            model's dtype.

        tensors, cache_layers: The two lists.

        num_experts, num_experts_per_token: Routed experts; 0 for dense models.

        runner: ``generate`` or ``pooling``: what vLLM runs when nothing is said.

        convert: How vLLM's adapters make it pool: ``embed``, ``classify``; ``none``: its class pools by itself, or
            generates.

        score: The head that ``--convert classify`` adds.

        hf_overrides: Values that replaced those of config.json, as `EngineArgs` keeps them; None: none.

        num_parameters: Weights of the checkpoint that vLLM loads (buffers not counted).

        checkpoint_bytes: Of the safetensors files, where their headers were read.

        provenance: What the facts were read from, best first.

        findings: What the reader of the config wants the user to know.

        rough: Built from a bare parameter count.

        traits: Facts that choose kernels or features, vLLM's words: ``no_pipeline``, ``no_lora``,
            ``attention_sinks``, ``prefix_lm``, ``model_dtype_cache`` (the cache ignores its dtype flag), ``alibi``...
    """

    name: str
    architecture: str
    dtype: str
    num_layers: int
    hidden_size: int
    vocab_size: int
    max_model_len: int
    num_attention_heads: int
    tensors: tuple[WeightTensor, ...]
    cache_layers: tuple[CacheLayer, ...]
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    num_experts: int = 0
    num_experts_per_token: int = 0
    runner: str = "generate"
    convert: str = "none"
    score: tuple[WeightTensor, ...] = ()
    hf_overrides: object = None
    encoders: tuple[Encoder, ...] = ()
    draft: Draft | None = None
    num_parameters: int = 0
    checkpoint_bytes: int | None = None
    revision: str | None = None
    provenance: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    rough: bool = False
    traits: frozenset[str] = frozenset()
