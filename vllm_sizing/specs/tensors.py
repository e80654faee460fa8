"""
The first list of a model: the tensors that ranks hold, and how tensor parallelism divides them.
"""

from __future__ import annotations

import attrs

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
