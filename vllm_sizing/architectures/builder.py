"""
Builds the two lists of a `ModelSpec`: what vLLM's layer classes allocate, one call per layer class.

An architecture module reads a `Config` and calls these methods; it says nothing about bytes.
Names are vLLM's module names with ``*`` for the layer number.
Source: vLLM 0.33 ``model_executor/layers/linear.py``, ``vocab_parallel_embedding.py``,
``fused_moe/layer.py``, ``attention/attention.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.quantization import CheckpointQuantization
from vllm_sizing.architectures.rope import MROPE_FACTOR, RopeTable
from vllm_sizing.errors import ConfigError
from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.model import (
    COLUMN,
    REPLICATED,
    ROW,
    VOCAB,
    CacheLayer,
    Draft,
    Encoder,
    FullAttention,
    ModelSpec,
    Part,
    Shard,
    SlidingWindow,
    WeightTensor,
)
from vllm_sizing.specs.quantization import Extra, Scheme

Layers = tuple[int, ...]
Outputs = int | Sequence[int | Part]
_ELSEWHERE = -1  # A rotary table that another builder holds.
ATTENTION_SCALES = 6  # Attention keeps q, k, v, probability scales on the GPU, k and v also as floats.


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


class Builder:
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

    def beside(self) -> Builder:
        """
        A builder for a draft: it collects on its own but shares the rotary tables.
        """
        other = Builder(self.config, self.quantization)
        other.mrope_factor = self.mrope_factor
        other._ropes = dict.fromkeys(self._ropes, _ELSEWHERE)
        return other

    # --- tensors ---

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
        if shard is ROW and len(parts) > 1:
            raise ConfigError(f"{name}: a row-parallel layer has one output")
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
            if bias:
                self.add(f"{head}.bias", (vocab_size,), shard=VOCAB, role="lm_head", stage=last)
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
            if known != _ELSEWHERE and self.tensors[known].layers and layers:
                together = tuple(sorted({*self.tensors[known].layers, *layers}))
                self.tensors[known] = attrs.evolve(self.tensors[known], layers=together)
            return
        self._ropes[table.key] = len(self.tensors)
        self.add(
            f"{name}.cos_sin_cache", (table.positions, table.dim), dtype=table.dtype, role="buffer",
            stage="owners" if layers else stage, tower=tower or self.tower, older_factor=table.older_factor,
            **({"layers": layers} if layers else {}),
        )  # fmt: skip

    # --- common blocks ---

    def qkv(
        self,
        name: str,
        hidden: int,
        num_heads: int,
        num_kv_heads: int,
        head_size: int,
        *,
        layers: Layers,
        bias: bool = False,
        head_size_v: int | None = None,
        fused: tuple[str, ...] = ("q_proj", "k_proj", "v_proj"),
        **facts: Any,
    ) -> None:
        """
        vLLM's QKVParallelLinear: query heads divided, KV heads copied beyond their number.
        """
        self.linear(
            name,
            hidden,
            (
                Part(num_heads * head_size),
                Part(num_kv_heads * head_size, num_kv_heads),
                Part(num_kv_heads * (head_size_v or head_size), num_kv_heads),
            ),
            layers=layers,
            bias=bias,
            fused=fused,
            **facts,
        )

    def cache(self, layer: CacheLayer, name: str) -> None:
        """
        A cache layer and the scales that vLLM's Attention keeps for it.

        Args:
            name: Of the attention module, for example ``model.layers.*.self_attn.attn``.
        """
        if not layer.layers:
            return
        self.cache_layers.append(layer)
        heads = layer.num_kv_heads if isinstance(layer, FullAttention) else 0
        self.attention_scales(name, layer.layers, num_kv_heads=heads)

    def attention_scales(self, name: str, layers: Layers, *, num_kv_heads: int = 1, quantized: bool = True) -> None:
        """
        The scales that vLLM's Attention registers, whether or not it keeps a cache.

        Args:
            num_kv_heads: 0: multi-head latent attention.

            quantized: vLLM hands it the quant_config.
        """
        self.own_scales(name, layers)
        if not quantized:
            return
        storage = self.quantization
        extra = storage.attention_scale_bytes if num_kv_heads else storage.mla_scale_bytes
        if extra and storage.scales_per_kv_head and num_kv_heads:
            split = Shard(axis=0, parts=(Part(extra * num_kv_heads, num_kv_heads),))
            self.add(
                f"{name}.kv_scales", (extra * num_kv_heads,), layers=layers, dtype="uint8", role="buffer", shard=split
            )
        elif extra:
            self.add(f"{name}.kv_scales", (extra,), layers=layers, dtype="uint8", role="buffer")

    def own_scales(self, name: str, layers: Layers) -> None:
        """
        The scales of attention that the quantization method does not know of.
        """
        self.add(f"{name}.scales", (ATTENTION_SCALES,), layers=layers, dtype="float32", role="buffer")

    def attention_caches(
        self,
        name: str,
        layers: Layers,
        num_heads: int,
        num_kv_heads: int,
        head_size: int,
        *,
        windows: dict[int, int] | None = None,
        head_size_v: int | None = None,
        sinks: bool = False,
        kept: bool = True,
    ) -> None:
        """
        Full attention, or a sliding window where ``windows`` gives one for the layer.

        Args:
            kept: False for encoders, which have the layer but keep no cache.
        """
        if not kept:
            self.attention_scales(name, layers)
            return
        windows = windows or {}
        common: dict[str, Any] = {
            "num_heads": num_heads,
            "num_kv_heads": num_kv_heads,
            "head_size": head_size,
            "head_size_v": head_size_v or head_size,
            "sinks": sinks,
        }
        full = tuple(layer for layer in layers if layer not in windows)
        self.cache(FullAttention(layers=full, **common), name)
        for window in sorted({windows[layer] for layer in layers if layer in windows}):
            owners = tuple(layer for layer in layers if windows.get(layer) == window)
            self.cache(SlidingWindow(layers=owners, window=window, **common), name)

    def gated_mlp(
        self,
        name: str,
        hidden: int,
        intermediate: int,
        *,
        layers: Layers,
        bias: bool = False,
        gate_up: str = "gate_up_proj",
        down: str = "down_proj",
        fused: tuple[str, ...] = ("gate_proj", "up_proj"),
        **facts: Any,
    ) -> None:
        """
        gate and up fused, then down.
        """
        self.linear(
            f"{name}.{gate_up}", hidden, (intermediate, intermediate), layers=layers, bias=bias, fused=fused, **facts
        )
        self.linear(f"{name}.{down}", intermediate, hidden, shard=ROW, layers=layers, bias=bias, **facts)

    # --- the model ---

    def build(self, *, name: str, architecture: str, dtype: str, **facts: Any) -> ModelSpec:
        """
        The finished `ModelSpec`.
        """
        chosen, experts = facts.get("num_experts_per_token", 0), facts.get("num_experts", 0)
        if chosen > experts:
            raise ConfigError(
                f"config.json: {chosen} experts per token, but there are {experts}",
                field="num_experts_per_tok",
                value=chosen,
            )
        loaded = (tensor for tensor in self.tensors if tensor.role != "buffer" and not tensor.with_draft)
        return ModelSpec(
            name=name,
            architecture=architecture,
            dtype=dtype,
            tensors=tuple(self.tensors),
            cache_layers=tuple(self.cache_layers),
            encoders=tuple(self.encoders),
            draft=self.draft,
            quantization=self.quantization.method,
            kv_cache_dtype=facts.pop("kv_cache_dtype", self.quantization.kv_cache_dtype),
            num_parameters=sum(_elements(tensor) for tensor in loaded),
            findings=tuple(self.findings) + self.quantization.findings,
            traits=frozenset(self.traits),
            **facts,
        )


_PADDED_BIAS = Extra(name="bias", rows=1, element_bytes=2)


def _with_bias(scheme: Scheme) -> Scheme:
    return attrs.evolve(scheme, extras=(*scheme.extras, _PADDED_BIAS))


def _elements(tensor: WeightTensor) -> int:
    number = max(len(tensor.layers), 1) * tensor.count
    for size in tensor.shape[:-1]:
        number *= size
    biased = tensor.scheme is not None and _PADDED_BIAS in tensor.scheme.extras and bool(tensor.scheme.padding)
    return number * (tensor.shape[-1] + biased)
