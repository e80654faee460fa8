"""
Builds the two lists of a `ModelSpec`: what vLLM's layer classes allocate, one call per layer class.

An architecture module reads a `Config` and calls these methods; it says nothing about bytes.
Names are vLLM's module names with ``*`` for the layer number.
Source: vLLM 0.33 ``model_executor/layers/linear.py``, ``vocab_parallel_embedding.py``,
``fused_moe/layer.py``, ``attention/attention.py``.
"""

from __future__ import annotations

from typing import Any

from vllm_sizing.architectures.layers import ELSEWHERE, LayerBuilder, Layers, among, elements, without
from vllm_sizing.errors import ConfigError
from vllm_sizing.specs.model import (
    ROW,
    CacheLayer,
    FullAttention,
    ModelSpec,
    Part,
    Shard,
    SlidingWindow,
)

__all__ = ["Builder", "Layers", "among", "without"]

# Their __init__ ends in "No ... layer found in model.layers" where no layer has experts.
_EXPERTS_ONLY = frozenset((
    "AfmoeForCausalLM", "Glm4MoeForCausalLM", "HYV3ForCausalLM", "Lfm2MoeForCausalLM", "PanguProMoEV2ForCausalLM",
    "PanguUltraMoEForCausalLM", "Qwen3MoeForCausalLM", "Qwen3NextForCausalLM", "Qwen3_5MoeForCausalLM",
    "SarvamMLAForCausalLM",
))  # fmt: skip
ATTENTION_SCALES = 6  # Attention keeps q, k, v, probability scales on the GPU, k and v also as floats.


class Builder(LayerBuilder):
    """
    The blocks that vLLM's model classes share, and the finished model.
    """

    def beside(self) -> Builder:
        """
        A builder for a draft: it collects on its own but shares the rotary tables.
        """
        other = Builder(self.config, self.quantization)
        other.mrope_factor = self.mrope_factor
        other._ropes = dict.fromkeys(self._ropes, ELSEWHERE)
        return other

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
        if architecture in _EXPERTS_ONLY and not any(tensor.role == "experts" for tensor in self.tensors):
            raise ConfigError(
                f"config.json: no layer of this {architecture} has experts, and vLLM does not build it without; "
                "correct the number of experts and the layers that have them",
                field="num_experts",
                value=experts,
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
            num_parameters=sum(elements(tensor) for tensor in loaded),
            findings=tuple(self.findings) + self.quantization.findings,
            traits=frozenset(self.traits) | self.quantization.traits,
            **facts,
        )
