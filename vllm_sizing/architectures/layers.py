"""
Collects the two lists of a `ModelSpec`: one call for each of vLLM's basic layer classes.

Source: vLLM 0.33 ``model_executor/layers/linear.py``, ``vocab_parallel_embedding.py``, ``fused_moe/layer.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.quantization import CheckpointQuantization
from vllm_sizing.architectures.rope import MROPE_FACTOR, RopeTable
from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.model import (
    COLUMN,
    REPLICATED,
    VOCAB,
    CacheLayer,
    Draft,
    Encoder,
    Part,
    Shard,
    WeightTensor,
)
from vllm_sizing.specs.quantization import Extra, Scheme

Layers = tuple[int, ...]
Outputs = int | Sequence[int | Part]
ELSEWHERE = -1  # A rotary table that another builder holds.


def _parts(outputs: Outputs) -> tuple[Part, ...]:
    if isinstance(outputs, int):
        return (Part(outputs),)
    return tuple(part if isinstance(part, Part) else Part(part) for part in outputs)


def among(layers: Layers, chosen: Iterable[int]) -> Layers:
    """
    The layers that are chosen.
    """
    found = frozenset(chosen)
    return tuple(at for at in layers if at in found)


def without(layers: Layers, others: Iterable[int]) -> Layers:
    """
    The layers that are not among the others.
    """
    found = frozenset(others)
    return tuple(at for at in layers if at not in found)


class LayerBuilder:
    """
    Collects tensors and cache layers.

    Attributes:
        config: The text part of the config.

        quantization: How the checkpoint stores its matrices.

        mrope_factor: 1 for classes whose video positions never run ahead of the text (``mrope_positions_factor``
            of vLLM's ``models/qwen3_vl.py``).

        quantizable: Linear layers made now take part in quantization; set False around parts that
            vLLM builds without a quant_config.
    """

    def __init__(self, config: Config, quantization: CheckpointQuantization, *, tower: str = "language") -> None:
        self.config = config
        self.quantization = quantization
        self.tower = tower
        self.tensors: list[WeightTensor] = []
        self.cache_layers: list[CacheLayer] = []
        self.encoders: list[Encoder] = []
        self.findings: list[Finding] = []
        self.traits: set[str] = set()
        self.draft: Draft | None = None
        self.mrope_factor = MROPE_FACTOR
        self._ropes: dict[object, int] = {}

    def add(self, name: str, shape: tuple[int, ...], **facts: Any) -> None:
        """
        Any tensor; ``facts`` as in `WeightTensor`.
        """
        facts.setdefault("tower", self.tower)
        if not facts.get("layers", True):
            return  # No layer of this kind.
        self.tensors.append(WeightTensor(name=name, shape=shape, **facts))

    def parameter(self, name: str, *shape: int, layers: Layers | None = None, **facts: Any) -> None:
        """
        A norm, a bias or another small tensor, replicated unless ``shard`` says otherwise.
        """
        if layers is not None:
            facts["layers"] = layers
        self.add(name, shape, **facts)

    def norm(self, name: str, size: int, *, layers: Layers | None = None, bias: bool = False, **facts: Any) -> None:
        """
        A layer norm or RMS norm.
        """
        self.parameter(f"{name}.weight", size, layers=layers, **facts)
        if bias:
            self.parameter(f"{name}.bias", size, layers=layers, **facts)

    def linear(
        self,
        name: str,
        inputs: int,
        outputs: Outputs,
        *,
        shard: Shard = COLUMN,
        layers: Layers | None = None,
        bias: bool = False,
        fused: tuple[str, ...] = (),
        quantized: bool = True,
        lora: bool = True,
        bias_dtype: str | None = None,
        role: str = "linear",
        row_multiple: int = 1,
        **facts: Any,
    ) -> None:
        """
        A linear layer.

        Args:
            name: Without ``.weight``.

            inputs, outputs: Features; several outputs are fused (q, k, v).

            shard: COLUMN, ROW or REPLICATED.

            fused: Last names of the fused parts in the checkpoint, for its ignore list.

            quantized: vLLM gives it the checkpoint's quant_config.

            row_multiple: A rank's outputs are padded to a multiple of it.
        """
        parts = _parts(outputs)
        rows = sum(part.size for part in parts)
        split = Shard(axis=0, parts=parts, multiple=row_multiple) if shard is COLUMN else shard
        if shard is REPLICATED and len(parts) > 1:
            split = Shard(axis=None, parts=parts)
        for scheme, owners in self._by_scheme(
            name, layers, (lambda prefix: self.quantization.linear(prefix, fused)) if quantized else None
        ):
            if owners is not None:
                facts["layers"] = owners
            suffix = "weight" if scheme is None else f"weight ({scheme.name})"
            self.add(
                f"{name}.{suffix}",
                (rows, inputs),
                shard=split,
                role=role,
                scheme=scheme,
                quantizable=quantized,
                lora=lora,
                **facts,
            )
            if bias:
                bias_split = Shard(axis=0, parts=parts) if shard is COLUMN else REPLICATED
                self.add(
                    f"{name}.bias", (rows,), shard=bias_split, **{**facts, "dtype": bias_dtype or facts.get("dtype")}
                )

    def experts(
        self,
        name: str,
        num_experts: int,
        hidden: int,
        intermediate: int,
        *,
        layers: Layers,
        gated: bool = True,
        bias: bool = False,
        quantized: bool = True,
        hidden_out: int | None = None,
        least: int = 0,
        **facts: Any,
    ) -> None:
        """
        Fused routed experts: ``w13`` (gate and up) and ``w2`` (down).

        Without expert parallelism each expert is divided by the tensor-parallel size, with it the
        experts are spread whole.

        Args:
            least: A divided expert is at least so wide on a rank.
        """
        ups = 2 if gated else 1
        for schemes, owners in self._by_scheme(name, layers, self.quantization.experts if quantized else None):
            up, down = schemes or (None, None)
            padded_bias = bias and up is not None and bool(up.padding)
            if padded_bias:
                up, down = map(_with_bias, schemes)
            common: dict[str, Any] = {
                **facts,
                "layers": owners,
                "role": "experts",
                "quantizable": quantized,
                "lora": True,
            }
            self.add(
                f"{name}.w13_weight",
                (num_experts, ups * intermediate, hidden),
                shard=Shard(axis=1, parts=(Part(intermediate, least=least),) * ups, kind="experts"),
                scheme=up,
                **common,
            )
            self.add(
                f"{name}.w2_weight",
                (num_experts, hidden_out or hidden, intermediate),
                shard=Shard(axis=2, parts=(Part(intermediate, least=least),), kind="experts"),
                scheme=down,
                **common,
            )
            extra = self.quantization.expert_layer_bytes if quantized else 0
            if extra:
                self.add(f"{name}.types", (extra,), layers=owners, dtype="uint8", role="buffer")
            if bias and not padded_bias:
                self.add(
                    f"{name}.w13_bias",
                    (num_experts, ups * intermediate),
                    shard=Shard(axis=1, parts=(Part(intermediate),) * ups, kind="experts"),
                    layers=owners,
                )
                self.add(
                    f"{name}.w2_bias", (num_experts, hidden_out or hidden), layers=owners, shard=Shard(kind="experts")
                )

    def _by_scheme(
        self, name: str, layers: Layers | None, resolve: Callable[[str], Any] | None
    ) -> Iterable[tuple[Any, Layers | None]]:
        """
        Layers grouped by how the checkpoint stores them.
        """
        if resolve is None:
            return [(None, layers)]
        if layers is None or "*" not in name or not self.quantization.varies_by_layer:
            return [(resolve(name.replace("*", "0")), layers)]
        groups: dict[Any, list[int]] = {}
        for layer in layers:
            groups.setdefault(resolve(name.replace("*", str(layer))), []).append(layer)
        return [(scheme, tuple(owners)) for scheme, owners in groups.items()]

    def embedding(
        self, name: str, vocab_size: int, hidden: int, *, stage: str = "first", lora: bool = True, **facts: Any
    ) -> None:
        """
        A vocabulary embedding, padded to 64 and divided by the tensor-parallel size.
        """
        scheme: Scheme | None = self.quantization.embedding(name)
        self.add(
            f"{name}.weight", (vocab_size, hidden), shard=VOCAB, role="embedding", stage=stage, scheme=scheme,
            lora=lora, **facts,
        )  # fmt: skip

    def lm_head(
        self,
        name: str,
        vocab_size: int,
        hidden: int,
        *,
        stage: str = "last",
        bias: bool = False,
        quantized: bool = True,
        lora: bool = True,
        **facts: Any,
    ) -> None:
        """
        The output projection over the vocabulary.
        """
        scheme = self.quantization.lm_head(name) if quantized else None
        self.add(
            f"{name}.weight", (vocab_size, hidden), shard=VOCAB, role="lm_head", stage=stage, scheme=scheme,
            lora=lora, **facts,
        )  # fmt: skip
        if bias:
            self.add(f"{name}.bias", (vocab_size,), shard=VOCAB, role="lm_head", stage=stage, **facts)

    def embed_and_head(
        self,
        embed: str,
        head: str,
        vocab_size: int,
        hidden: int,
        *,
        tied: bool,
        everywhere: bool = False,
        bias: bool = False,
        lora: bool = True,
        lora_head: bool | None = None,
        head_quantized: bool = True,
    ) -> None:
        """
        Both ends of a language model.

        Args:
            tied: One table serves both; each end of a pipeline holds it.

            everywhere: The model class builds both on every pipeline stage.

            lora: The class lists both in ``embedding_modules``.

            lora_head: The head, where the class lists only one.

            head_quantized: vLLM gives the head the checkpoint's quant_config.
        """
        ends, last = ("all", "all") if everywhere else ("ends" if tied else "first", "last")
        self.embedding(embed, vocab_size, hidden, stage=ends, lora=lora)
        if tied:
            self.traits.add("tied_embeddings")
            if lora if lora_head is None else lora_head:
                self.traits.add("lora_tied_head")
        else:
            self.lm_head(
                head,
                vocab_size,
                hidden,
                stage=last,
                bias=bias,
                quantized=head_quantized,
                lora=lora if lora_head is None else lora_head,
            )

    def rope(
        self,
        name: str,
        table: RopeTable,
        *,
        layers: Layers = (),
        tower: str | None = None,
        stage: str = "all",
    ) -> None:
        """
        A rotary table, counted once per distinct setting; every stage that runs layers builds its own.

        Args:
            layers: That use it, where not all do; a stage without one of them builds none.
        """
        known = self._ropes.get(table.key)
        if known is not None:
            if known != ELSEWHERE and self.tensors[known].layers and layers:
                together = tuple(sorted({*self.tensors[known].layers, *layers}))
                self.tensors[known] = attrs.evolve(self.tensors[known], layers=together)
            return
        self._ropes[table.key] = len(self.tensors)
        self.add(
            f"{name}.cos_sin_cache", (table.positions, table.dim), dtype=table.dtype, role="buffer",
            stage="owners" if layers else stage, tower=tower or self.tower, older_factor=table.older_factor,
            **({"layers": layers} if layers else {}),
        )  # fmt: skip


_PADDED_BIAS = Extra(name="bias", rows=1, element_bytes=2)


def _with_bias(scheme: Scheme) -> Scheme:
    return attrs.evolve(scheme, extras=(*scheme.extras, _PADDED_BIAS))


def elements(tensor: WeightTensor) -> int:
    """
    Weights that a checkpoint stores of a tensor.
    """
    number = max(len(tensor.layers), 1) * tensor.count
    for size in tensor.shape[:-1]:
        number *= size
    biased = tensor.scheme is not None and _PADDED_BIAS in tensor.scheme.extras and bool(tensor.scheme.padding)
    return number * (tensor.shape[-1] + biased)
