"""
Integer checkpoints: AWQ and GPTQ.

Source: vLLM 0.33 ``quantization/auto_awq.py``, ``auto_gptq.py``, ``moe_wna16.py``,
``utils/gptq_utils.py``, ``utils/marlin_utils.py``.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.formats.names import (
    MAX_RULE_LENGTH,
    MAX_RULES,
    Patterns,
    Renames,
    compile_regexes,
    named,
    read_names,
    renamed,
)
from vllm_sizing.architectures.formats.schemes import (
    MARLIN_GROUPS,
    MODEL_DTYPE_BYTES,
    PLAIN_EXPERTS,
    Experts,
    packed,
    same,
)
from vllm_sizing.architectures.quantization import CheckpointQuantization
from vllm_sizing.specs.quantization import Extra, Scheme
from vllm_sizing.specs.value import Value

# Rows of experts' biases, allocated whether the checkpoint has them or not.
_BIAS = Extra(name="bias", rows=1, element_bytes=MODEL_DTYPE_BYTES)


def read_group_size(section: Config, *keys: str) -> int:
    """
    -1 (one group) or the inputs of a group.
    """
    key = next((key for key in keys if section.has(key)), keys[0])
    group_size: int = section.integer(key, minimum=-1, maximum=2**16)
    if group_size == 0:
        raise section.refuse(key, "-1 or a positive integer")
    return group_size


def awq_schemes(method: str, bits: int, group_size: int, *, zero_point: bool = True) -> tuple[Scheme, Scheme]:
    """
    The formats of linear layers and experts.

    Outputs are packed, and zero points allocated even where the checkpoint has none.
    """
    kind = "awq" if bits == 4 else "awq_int8"
    linear = packed(method, bits, group_size, zero_points=True, pack_rows=32 // bits, kind=kind)
    bare = packed(method, bits, group_size, zero_points=zero_point, kind=kind)
    experts = attrs.evolve(linear, pack_rows=1, fallback=bare)
    return linear, experts if group_size in MARLIN_GROUPS else bare


def gptq_schemes(
    method: str, bits: int, group_size: int, *, symmetric: bool = True, reorders: bool = False
) -> tuple[Scheme, Scheme]:
    """
    The formats of linear layers and experts; Marlin reads 4 and 8 bits without zero points only.
    """
    kind = "gptq"
    if not symmetric or bits not in (4, 8) or group_size not in MARLIN_GROUPS:
        kind = "gptq_exllama"
    index: tuple[Extra, ...] = ()
    if reorders and group_size != -1:
        kind, index = "act_order", (Extra(name="g_idx", cols=1, element_bytes=4),)
    linear = packed(
        method,
        bits,
        group_size,
        zero_points=True,
        more=index,
        full_cols=bool(index),
        pack_rows=32 // bits,
        kind=kind,
    )
    bare = packed(method, bits, group_size, zero_points=not symmetric, kind=kind)
    experts = packed(method, bits, group_size, zero_points=True, more=(_BIAS, *index), fallback=bare, kind=kind)
    return linear, experts if group_size in MARLIN_GROUPS else bare


class Awq(CheckpointQuantization):
    """
    Every linear layer and expert but those whose name contains a listed part.
    """

    method = "auto_awq"

    def __init__(self, section: Config) -> None:
        bits = section.integer("w_bit", "bits", minimum=1, maximum=16)
        if bits not in (4, 8):
            raise section.refuse("w_bit" if section.has("w_bit") else "bits", "4 (or 8, for older releases)")
        group_size = read_group_size(section, "q_group_size", "group_size")
        if not section.has("zero_point"):
            raise section.refuse("zero_point", "true or false")
        zero_point = section.flag("zero_point", default=True)
        self._linear, self._experts = awq_schemes(self.method, bits, group_size, zero_point=zero_point)
        self._section = section
        self._head = section.flag("lm_head", default=False)
        self._kept_names = read_names(section, "modules_to_not_convert")
        self.prepare(())

    def prepare(self, prefixes: Renames) -> None:
        """
        Build the matchers.
        """
        self._kept = Patterns(parts=[renamed(name, prefixes) for name in self._kept_names])
        self.varies_by_layer = self._kept.varies

    def linear(self, prefix: str, fused: tuple[str, ...] = ()) -> Scheme | None:
        """
        The format of a linear layer.
        """
        return None if named(prefix, fused, self._kept.match) else self._linear

    def experts(self, prefix: str) -> Experts:
        """
        The formats of ``w13`` and ``w2``.
        """
        if self._kept.match(prefix):
            return PLAIN_EXPERTS
        if not self._experts.group_size:
            raise self._section.refuse("group_size", "positive for experts, which vLLM reads in groups only")
        return same(self._experts)

    def lm_head(self, prefix: str) -> Scheme | None:
        """
        The format of the output projection.
        """
        return self.linear(prefix) if self._head else None


class Gptq(CheckpointQuantization):
    """
    Every linear layer and expert, with overrides by pattern (GPTQModel's ``dynamic``).
    """

    method = "auto_gptq"

    def __init__(self, section: Config) -> None:
        self._base = _GptqSettings(
            bits=section.required("bits", maximum=16),
            group_size=read_group_size(section, "group_size"),
            reorders=section.flag("desc_act", default=False),
            symmetric=section.flag("sym", default=True),
        )
        for key in ("desc_act", "sym"):
            if not section.has(key):
                raise section.refuse(key, "true or false")
        if self._base.bits not in (2, 3, 4, 8):
            raise section.refuse("bits", "4 or 8 (2 or 3, for older releases)")
        head = section.data.get("lm_head")
        self._head = head is True
        self._listed = _flat_names(section, "modules_in_block_to_quantize")
        dynamic = section.section("dynamic")
        rules = {} if dynamic is None else dict(dynamic.data)
        if len(rules) > MAX_RULES or any(len(pattern) > MAX_RULE_LENGTH for pattern in rules):
            raise section.refuse("dynamic", f"at most {MAX_RULES:,} patterns of {MAX_RULE_LENGTH} characters")
        self._rules = [
            (
                pattern.removeprefix("-:").removeprefix("+:"),
                None if pattern.startswith("-:") else dynamic,
                pattern,
            )
            for pattern in rules
        ]
        texts = [text for text, _, _ in self._rules]
        compiled = dict(zip(dict.fromkeys(texts), compile_regexes(texts), strict=True))
        self._overrides = [
            (compiled[text], None if source is None else self._base.overridden(source, pattern))
            for text, source, pattern in self._rules
        ]
        self._rule_names = Patterns(regexes=texts)
        self.prepare(())

    def prepare(self, prefixes: Renames) -> None:
        """
        Build the matchers.
        """
        self._quantized = Patterns(parts=[renamed(name, prefixes) for name in self._listed])
        self.varies_by_layer = self._quantized.varies or self._rule_names.varies

    def _settings(self, prefix: str) -> _GptqSettings | None:
        if not self._rule_names.match(prefix):
            return self._base
        return next(settings for pattern, settings in self._overrides if pattern.match(prefix))

    def linear(self, prefix: str, fused: tuple[str, ...] = ()) -> Scheme | None:
        """
        The format of a linear layer.
        """
        if self._listed and not named(prefix, fused, self._quantized.match):
            return None
        settings = self._settings(prefix)
        return None if settings is None else settings.schemes(self.method)[0]

    def experts(self, prefix: str) -> Experts:
        """
        The formats of ``w13`` and ``w2``.
        """
        settings = self._settings(prefix)
        return PLAIN_EXPERTS if settings is None else same(settings.schemes(self.method)[1])

    def lm_head(self, prefix: str) -> Scheme | None:
        """
        The format of the output projection.
        """
        return self.linear(prefix) if self._head else None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _GptqSettings(Value):
    bits: int
    group_size: int
    reorders: bool
    symmetric: bool

    def overridden(self, dynamic: Config, pattern: str) -> _GptqSettings:
        """
        These settings with what a rule changes.
        """
        rule = dynamic.needed_section(pattern)
        found = _GptqSettings(
            bits=rule.integer("bits", default=self.bits, minimum=1, maximum=16),
            group_size=read_group_size(rule, "group_size") if rule.has("group_size") else self.group_size,
            reorders=rule.flag("desc_act", default=self.reorders),
            symmetric=rule.flag("sym", default=self.symmetric),
        )
        if found.bits not in (2, 3, 4, 8):
            raise rule.refuse("bits", "4 or 8 (2 or 3, for older releases)")
        return found

    def schemes(self, method: str) -> tuple[Scheme, Scheme]:
        """
        The formats of linear layers and experts.
        """
        return gptq_schemes(method, self.bits, self.group_size, symmetric=self.symmetric, reorders=self.reorders)


def _flat_names(section: Config, key: str) -> list[str]:
    """
    Names in a list, or in a list of lists.
    """
    found: list[Any] = section.items(key, maximum=MAX_RULES) or []
    flat = [name for entry in found for name in (entry if isinstance(entry, list) else [entry])]
    if len(flat) > MAX_RULES or not all(isinstance(name, str) and len(name) <= MAX_RULE_LENGTH for name in flat):
        raise section.refuse(key, "a list of module names")
    return flat
