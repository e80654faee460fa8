"""
ModelOpt's formats, and checkpoints that mix them by layer.

Source: vLLM 0.33 ``quantization/modelopt.py:ModelOptMixedPrecisionConfig``, ``LINEAR_ALGOS``,
``modelopt_block_quant.py``, ``utils/b12x.py``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.formats.fp8 import SCALES
from vllm_sizing.architectures.formats.modelopt_rules import ExcludingQuantization
from vllm_sizing.architectures.formats.names import MAX_RULES, Renames, by_layer, layer_keys, renamed, shards
from vllm_sizing.architectures.formats.schemes import (
    MODEL_DTYPE_BYTES,
    PLAIN_EXPERTS,
    Experts,
    eight_bits,
    microscaled,
    nvfp4,
    same,
)
from vllm_sizing.errors import ConfigError
from vllm_sizing.specs.quantization import ONE, PARTS, Extra, Scheme

LINEAR_ALGOS = ("FP8", "FP8_PER_CHANNEL_PER_TOKEN", "FP8_PB_WO", "NVFP4", "W4A16_NVFP4", "MXFP8")
BLOCK_FP8 = ("FP8_PB_WO", "FP8_BLOCK_SCALES")
# Elements and bytes of a block.
_CODECS = {"IQ2_XS": (256, 74), "IQ2_XXS": (256, 66), "Q8_0": (32, 34)}


def formats_of(method: str, algo: str, group_size: int) -> tuple[Scheme, Experts]:
    """
    The linear and expert formats of an algorithm.
    """
    if algo in _CODECS:
        elements, size = _CODECS[algo]
        block = Extra(name="weight", rows=1, cols=elements, element_bytes=size)
        scheme = Scheme(
            name=algo.lower(), method=method, kind="ggml", weight_bits=0, group_size=elements, extras=(block,)
        )
        return scheme, same(scheme)
    if algo == "FP8":
        linear = eight_bits(method, "fp8", "tensor", static_input=PARTS)
    elif algo == "FP8_PER_CHANNEL_PER_TOKEN":
        linear = eight_bits(method, "fp8", "channel")
    elif algo in BLOCK_FP8:
        # Outputs may end inside a block, inputs may not.
        linear = attrs.evolve(eight_bits(method, "fp8", (128, 128), checked=False), group_size=128)
    elif algo == "MXFP8":
        return (scheme := microscaled(method, 8)), same(scheme)
    else:
        weight_only = algo == "W4A16_NVFP4"
        experts = nvfp4(method, input_scales=True, weight_only=weight_only, group_size=group_size)
        # A linear layer keeps a place in the model's dtype for scales that old weight-only files have.
        linear = nvfp4(
            method,
            input_scales=True,
            weight_only=weight_only,
            group_size=group_size,
            input_scale_bytes=MODEL_DTYPE_BYTES if weight_only else 4,
        )
        # Experts of any width are stored: what is left of a group of 16 has no scale.
        return linear, same(attrs.evolve(experts, group_size=0))
    return linear, same(eight_bits(method, "fp8", "tensor", static_input=ONE))


_PROJECTIONS = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


class MixedPrecision(ExcludingQuantization):
    """
    A format for each module that ``quantized_layers`` names; the others keep the model's dtype.

    Source: ``ModelOptMixedPrecisionConfig``.
    """

    def __init__(
        self,
        where: Config,
        excluded: list[str],
        group_size: int | None,
        kv_cache_dtype: str | None,
        *,
        has_scales: bool,
    ) -> None:
        self._algos, sizes = _read_layers(where)
        group = group_size or sizes.get("NVFP4") or sizes.get("W4A16_NVFP4") or 16
        self._formats = {algo: formats_of("modelopt_mixed", algo, group) for algo in set(self._algos.values())}
        block = sizes.get("FP8_PB_WO", sizes.get("FP8_BLOCK_SCALES", 128))
        for algo in {*BLOCK_FP8} & {*self._formats}:
            experts = eight_bits("modelopt_mixed", "fp8", (block, block), adapts=True)
            self._formats[algo] = (self._formats[algo][0], same(experts))
        super().__init__("modelopt_mixed", excluded)
        self.kv_cache_dtype = kv_cache_dtype
        self.attention_scale_bytes = SCALES if has_scales else 0

    def prepare(self, prefixes: Renames) -> None:
        """
        Build the matchers.
        """
        super().prepare(prefixes)
        self._layers = {renamed(name, prefixes): algo for name, algo in self._algos.items()}
        self._by_layer = by_layer((name, name) for name in self._layers)
        self.varies_by_layer = True

    def _below(self, parent: str) -> str | None:
        keys = layer_keys(parent)
        groups = self._by_layer.values() if keys == {""} else (self._by_layer.get(key, ()) for key in keys)
        found = (name for names in groups for name in names if name.startswith(parent))
        name = next(found, None)
        return None if name is None else self._layers[name]

    def _algo(self, prefix: str, fused: tuple[str, ...] = ()) -> str | None:
        candidates = [prefix]
        if prefix.endswith(".lm_head"):
            candidates.append("lm_head")
        for old, new in (
            ("language_model.model.", "model.language_model."),
            ("model.language_model.", "language_model.model."),
        ):
            if prefix.startswith(old):
                candidates.append(new + prefix.removeprefix(old))
                break
        for candidate in candidates:
            if candidate in self._layers:
                return self._layers[candidate]
        parts = fused or _PROJECTIONS.get(prefix.rsplit(".", 1)[-1], ())
        algos = {self._layers[name] for at in candidates for name in shards(at, parts) if name in self._layers}
        if len(algos) > 1:
            message = f"config.json: quantized_layers gives the fused parts of {prefix} several formats"
            raise ConfigError(message, field="quantization_config.quantized_layers", value=prefix)
        if algos:
            return algos.pop()
        found = [self._below(f"{candidate}.") for candidate in candidates]
        if prefix.endswith(".experts"):
            found.append(self._below(prefix.removesuffix("experts")))
        return next((algo for algo in found if algo), None)

    def linear(self, prefix: str, fused: tuple[str, ...] = ()) -> Scheme | None:
        """
        The format of a linear layer.
        """
        if self.excluded(prefix, fused):
            return None
        algo = self._algo(prefix, fused)
        # FP8_BLOCK_SCALES names experts only.
        return None if algo is None or algo == "FP8_BLOCK_SCALES" else self._formats[algo][0]

    def experts(self, prefix: str) -> Experts:
        """
        The formats of ``w13`` and ``w2``.
        """
        algo = None if self.excluded(prefix) else self._algo(prefix)
        return PLAIN_EXPERTS if algo is None or algo == "FP8_PER_CHANNEL_PER_TOKEN" else self._formats[algo][1]

    def embedding(self, prefix: str) -> Scheme | None:
        """
        The format of a vocabulary embedding: packed blocks only.
        """
        algo = None if self.excluded(prefix) else self._algo(prefix)
        return self._formats[algo][0] if algo in _CODECS else None


def _read_layers(where: Config) -> tuple[dict[str, str], dict[str, int]]:
    """
    The algorithm of each module, of one expert for all; the group or block size of each algorithm.
    """
    layers = where.needed_section("quantized_layers")
    if not layers.data or len(layers.data) > MAX_RULES:
        raise where.refuse("quantized_layers", f"a JSON object of 1 to {MAX_RULES:,} modules")
    known = {*LINEAR_ALGOS, *_CODECS, *BLOCK_FP8}
    algos: dict[str, str] = {}
    sizes: dict[str, int] = {}
    fused: set[str] = set()
    for name, recipe in layers.data.items():
        algo = recipe.get("quant_algo") if isinstance(recipe, dict) else None
        algo = algo.upper() if isinstance(algo, str) else ""
        if algo not in known:
            raise layers.refuse(name, "an object whose quant_algo is one of " + ", ".join(sorted(known)))
        if "group_size" in recipe and algo not in sizes:
            sizes[algo] = layers.needed_section(name).integer("group_size", default=128, maximum=2**16)
        parent, expert, _ = name.partition(".experts.")
        if expert:
            if parent in fused:
                continue
            fused.add(parent)
        algos[name] = algo
    return algos, sizes
