"""
Intel Neural Compressor checkpoints (AutoRound): integers in GPTQ's or AWQ's layout, FP8 blocks, MXFP.

Source: vLLM 0.33 ``quantization/inc/inc.py``, ``config_parser.py``, ``schemes``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.formats.fp8 import read_block
from vllm_sizing.architectures.formats.integers import awq_schemes, gptq_schemes, read_group_size
from vllm_sizing.architectures.formats.names import (
    MAX_RULE_LENGTH,
    MAX_RULES,
    Patterns,
    Renames,
    compile_regexes,
    read_names,
    renamed,
    shards,
)
from vllm_sizing.architectures.formats.schemes import PLAIN_EXPERTS, Experts, eight_bits, microscaled, same
from vllm_sizing.architectures.quantization import CheckpointQuantization
from vllm_sizing.errors import ConfigError
from vllm_sizing.specs.quantization import Scheme
from vllm_sizing.specs.value import Value

_SPECIAL = re.compile(r"[*+?^$()\[\]{}|\\]")
_PLAIN_BITS = 16


@attrs.frozen(eq=False, repr=False)
class _Layer(Value):
    bits: int
    group_size: int
    symmetric: bool


class Inc(CheckpointQuantization):
    """
    One setting for the blocks that the config names, with overrides by name or pattern.
    """

    method = "inc"

    def __init__(self, section: Config) -> None:
        self._data_type = section.text("data_type", default="int").replace("fp8", "fp")
        self._block = read_block(section, "group_size") if isinstance(section.data.get("group_size"), list) else None
        group_size = -1 if self._block else read_group_size(section, "group_size")
        bits = section.integer("bits", minimum=2, maximum=8)
        if self._data_type == "fp" and (bits != 8 or self._block is None):
            raise section.refuse("bits", "8 with a group_size of two integers, for data_type fp")
        if "mx_fp" in self._data_type and (bits not in (4, 8) or group_size != 32):
            raise section.refuse("bits", "4 or 8 with a group_size of 32, for data_type mx_fp")
        layout = section.text("packing_format", default="auto_round:auto_gptq") + section.text(
            "backend", "vllm_backend"
        )
        self._awq = "gptq" not in layout and "awq" in layout
        self._base = _Layer(bits, group_size, section.flag("sym", default=True))
        blocks = section.data.get("block_name_to_quantize") or section.data.get("to_quant_block_names")
        key = "block_name_to_quantize" if section.has("block_name_to_quantize") else "to_quant_block_names"
        self._block_names = blocks.split(",")[:MAX_RULES] if isinstance(blocks, str) else read_names(section, key)
        extra = section.section("extra_config")
        rules: Mapping[str, object] = {} if extra is None else extra.data
        if len(rules) > MAX_RULES or any(len(name) > MAX_RULE_LENGTH for name in rules):
            raise section.refuse("extra_config", f"at most {MAX_RULES:,} names of {MAX_RULE_LENGTH} characters")
        self._rules = {} if extra is None else {name: extra.needed_section(name) for name in rules}
        self.prepare(())

    def prepare(self, prefixes: Renames) -> None:
        """
        Build the matchers.
        """
        self._blocks = tuple(renamed(name, prefixes) for name in self._block_names)
        self._layers = {renamed(name, prefixes): rule for name, rule in self._rules.items()}
        special = [name for name in self._layers if _SPECIAL.search(name)]
        self._patterns = list(zip(compile_regexes(special), special, strict=True))
        self.varies_by_layer = Patterns(exact=self._layers).varies or Patterns(regexes=special).varies

    def _override(self, name: str) -> Config | None:
        if name in self._layers:
            return self._layers[name]
        return next((self._layers[text] for pattern, text in self._patterns if pattern.search(name)), None)

    def _resolve(self, name: str, fused: tuple[str, ...] = (), *, head: bool = False) -> _Layer | None:
        """
        The setting of a layer; None: the model's dtype.
        """
        rule = self._layers.get(name) or next(
            (rule for key, rule in self._layers.items() if name.endswith(f".{key}")), None
        )
        if rule is None:
            quantized = any(name.startswith(block) for block in self._blocks) if self._blocks else not head
            rules = [self._override(part) for part in shards(name, fused)]
            found = [self._apply(rule, quantized=quantized) for rule in rules]
            if any(rules):
                if len(set(found)) > 1:
                    message = f"config.json: extra_config gives the fused parts of {name} several formats"
                    raise ConfigError(message, field="quantization_config.extra_config", value=name)
                return found[0]
            return self._apply(self._override(name), quantized=quantized)
        return self._apply(rule, quantized=True)

    def _apply(self, rule: Config | None, *, quantized: bool) -> _Layer | None:
        if rule is None:
            return self._base if quantized else None
        bits = rule.integer("bits", default=self._base.bits if quantized else _PLAIN_BITS, minimum=2, maximum=32)
        if bits >= _PLAIN_BITS:
            return None
        if bits > 8:
            raise rule.refuse("bits", "2 to 8, or 16")
        size = rule.data.get("group_size")
        group_size = (
            self._base.group_size if size is None or isinstance(size, list) else read_group_size(rule, "group_size")
        )
        return _Layer(bits, group_size, rule.flag("sym", default=self._base.symmetric))

    def _schemes(self, layer: _Layer | None) -> tuple[Scheme | None, Scheme | None]:
        if layer is None:
            return None, None
        if self._block is not None:
            return (scheme := eight_bits(self.method, "fp8", self._block, adapts=True)), scheme
        if "mx_fp" in self._data_type:
            return (scheme := microscaled(self.method, layer.bits)), scheme
        if self._awq:
            return awq_schemes(self.method, layer.bits, layer.group_size)
        return gptq_schemes(self.method, layer.bits, layer.group_size, symmetric=layer.symmetric)

    def linear(self, prefix: str, fused: tuple[str, ...] = ()) -> Scheme | None:
        """
        The format of a linear layer.
        """
        return self._schemes(self._resolve(prefix, fused))[0]

    def experts(self, prefix: str) -> Experts:
        """
        The formats of ``w13`` and ``w2``.
        """
        scheme = self._schemes(self._resolve(prefix))[1]
        return PLAIN_EXPERTS if scheme is None else same(scheme)

    def lm_head(self, prefix: str) -> Scheme | None:
        """
        The format of the output projection: the model's dtype unless it is named.
        """
        return self._schemes(self._resolve(prefix, head=True))[0]
