"""
The second list of a model: the cache pages that layers keep, one class a kind, in vLLM's own words.
"""

from __future__ import annotations

import attrs

from vllm_sizing.specs.tensors import Part
from vllm_sizing.specs.value import Value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FullAttention(Value):
    """
    Every token is kept: K of ``head_size`` and V of ``head_size_v`` per KV head.
    """

    layers: tuple[int, ...]
    num_kv_heads: int
    head_size: int
    head_size_v: int
    num_heads: int = 0
    sinks: bool = False


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SlidingWindow(FullAttention):
    """
    Only the last ``window`` tokens are kept.
    """

    window: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ChunkedLocal(FullAttention):
    """
    Only the current chunk of ``chunk`` tokens is kept.
    """

    chunk: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class MlaAttention(Value):
    """
    One latent vector per token for all heads, the same on every tensor-parallel rank.

    Attributes:
        head_size: kv_lora_rank + rotary part.

        indexer_head_size: Of the sparse indexer's own cache, in bytes per token; 0: dense.

        indexer_layers: Layers that keep an indexer cache of their own.
    """

    layers: tuple[int, ...]
    num_heads: int
    kv_lora_rank: int
    rope_head_dim: int
    nope_head_dim: int = 128
    v_head_dim: int = 128
    indexer_bytes_per_token: int = 0
    indexer_layers: tuple[int, ...] = ()

    @property
    def head_size(self) -> int:
        """
        Elements per token: the latent vector and the rotary part.
        """
        return self.kv_lora_rank + self.rope_head_dim


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StateTensor(Value):
    """
    One tensor of a recurrent layer's state.

    Attributes:
        rows: First axis, not divided (for example the convolution's window).

        columns: Parts of the axis that tensor parallelism divides.

        depth: Elements behind each column.

        grows: Rows grow by one for each speculative token.

        dtype: ``model`` (mamba_cache_dtype applies), ``ssm`` (mamba_ssm_cache_dtype applies), or
            a fixed dtype.
    """

    columns: tuple[Part, ...]
    rows: int = 1
    depth: int = 1
    grows: bool = False
    dtype: str = "model"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RecurrentState(Value):
    """
    A state per request instead of one per token.

    Attributes:
        kind: ``mamba1``, ``mamba2``, ``gdn_attention``, ``short_conv``, ``kda`` or ``linear_attention``.

        states: Its tensors.

        ssm_dtype: Default of the ``ssm`` tensors; empty: the model's dtype.

        key_size: Of one head of a gated delta net; it decides the prefill kernel.  0: there is only one.
    """

    layers: tuple[int, ...]
    kind: str
    states: tuple[StateTensor, ...]
    ssm_dtype: str = ""
    key_size: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CrossAttention(FullAttention):
    """
    Keys and values of the encoder's output: as many tokens as the encoder gives.
    """


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CompressedMla(Value):
    """
    A latent cache in which one stored state covers several tokens (DeepSeek-V4 and alike).

    Attributes:
        tokens_per_state: Tokens that one stored state covers.

        window: Tokens kept; 0: all.

        bytes_per_state: As stored, by KV dtype name; ``""`` is every other dtype.

        alignment: Page bytes are padded to a multiple of it; 0: none.

        block_size: Tokens of one page; 0: as many as the deployment's.

        kernel_block: Tokens that its kernels take at once; 0: any number.
    """

    layers: tuple[int, ...]
    name: str
    bytes_per_state: tuple[tuple[str, int], ...]
    tokens_per_state: int = 1
    window: int = 0
    alignment: int = 0
    block_size: int = 0
    kernel_block: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class IndexKeys(Value):
    """
    Keys by which a sparse indexer chooses blocks for ordinary attention (MiniMax-M3): 16 bits, one head.

    Attributes:
        block_size: Tokens of the blocks that it chooses; a page holds whole ones.
    """

    layers: tuple[int, ...]
    head_size: int
    block_size: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConvWindow(Value):
    """
    The last inputs of a layer's short convolutions, in pages of their own like a sliding window (Inkling).

    Attributes:
        num_units: That tensor parallelism divides; vLLM refuses more ranks.

        width: Elements of 16 bits per token and unit.

        window: Tokens kept, which are also a page's.
    """

    layers: tuple[int, ...]
    num_units: int
    width: int
    window: int


CacheLayer = (
    FullAttention
    | SlidingWindow
    | ChunkedLocal
    | MlaAttention
    | RecurrentState
    | CrossAttention
    | CompressedMla
    | IndexKeys
    | ConvWindow
)
