"""
A model as two lists: the tensors that ranks hold and the cache pages that layers keep.

Nothing here knows a Hugging Face spelling or an architecture; `architectures` builds these
values from a config.json, `sizing` does arithmetic on them.
"""

from __future__ import annotations

import attrs

from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.quantization import Scheme
from vllm_sizing.specs.value import Value


@attrs.frozen(eq=False, repr=False)
class Part(Value):
    """
    One of the matrices that vLLM fuses along an axis (q, k, v; gate, up).

    Attributes:
        size: Rows of the whole part.

        units: Heads (or groups) that cannot be split: with more ranks than units, ranks hold
            copies.  0: any size that divides.

        copied: False: vLLM refuses more ranks than units.

        least: With several ranks, each holds at least so many rows.

        blocks: Rows that are never split: a rank's share is rounded up to whole blocks; 0: any number.
    """

    size: int
    units: int = 0
    copied: bool = True
    least: int = 0
    blocks: int = 0


@attrs.frozen(eq=False, repr=False)
class Shard(Value):
    """
    How tensor parallelism divides a tensor.

    Attributes:
        axis: The axis that is divided; None: every rank holds all of it.

        parts: What the axis is made of; empty: one part.

        multiple: A rank's share of the axis is rounded up to a multiple.

        kind: ``plain``; ``vocab`` (padded to 64 before it is divided); ``experts`` (first axis is
            the experts: divided by expert parallelism, else ``axis`` is).
    """

    axis: int | None = None
    parts: tuple[Part, ...] = ()
    multiple: int = 1
    kind: str = "plain"


REPLICATED = Shard()
COLUMN = Shard(axis=0)
ROW = Shard(axis=1)
VOCAB = Shard(axis=0, kind="vocab")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WeightTensor(Value):
    """
    A tensor, or the same tensor in several layers.

    Attributes:
        name: As vLLM names it, ``*`` for the layer number.

        shape: Whole tensor before it is divided: (out, in) for a linear layer, (experts, out, in)
            for fused experts, (vocabulary, hidden) for embeddings.

        layers: Decoder layers that hold one; decides the pipeline stage.

        count: How many there are (per layer, if ``layers`` is given).

        stage: Where it lives when it is no layer's: ``first``, ``last``, ``ends``, ``later`` (the last if it
            is not the first) or ``all`` pipeline stages; ``owners``: one on every stage that has one of ``layers``;
            ``spread``: ``count`` layers that vLLM spreads over the stages, of which it builds the first's.

        shard: How tensor parallelism divides it.

        role: ``linear``, ``experts``, ``embedding``, ``lm_head``, ``classifier`` (the head of a
            pooling model that LoRA may replace), ``parameter`` (norms, biases, small tensors) or ``buffer``
            (not in the checkpoint).

        scheme: How the checkpoint stores it; None: plain ``dtype``.

        dtype: Of a plain tensor; None: the model's dtype; ``router``: float32 on GPUs without kernels for
            routers of 16 bits.

        quantizable: An on-line quantization method would convert it.

        lora: A LoRA adapter may target it.

        tower: ``language``, or the modality whose encoder it belongs to.

        data_parallel: ``mm_encoder_tp_mode=data`` leaves it whole on every rank, if it is an encoder's.

        encoder_heads: Every rank holds the encoder whole where the tensor-parallel size does not
            divide so many heads; 0: such a size is refused.

        per_batched_token: The shape is per token of ``max_num_batched_tokens``.

        adapters: A matrices in one LoRA slot of a merged layer; 0: one for each of its parts.

        with_draft: It is there only when the checkpoint's own draft layers speculate.

        merges_copies: One A matrix is enough where ranks hold copies of a part.

        older_factor: Times so many rows before vLLM 0.32, whose tables of several axes all had room for videos.
    """

    name: str
    shape: tuple[int, ...]
    layers: tuple[int, ...] = ()
    count: int = 1
    stage: str = "first"
    shard: Shard = REPLICATED
    role: str = "parameter"
    scheme: Scheme | None = None
    dtype: str | None = None
    quantizable: bool = False
    lora: bool = False
    tower: str = "language"
    data_parallel: bool = True
    encoder_heads: int = 0
    per_batched_token: bool = False
    adapters: int = 0
    older_factor: int = 1
    with_draft: bool = False
    merges_copies: bool = False


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
