"""
What a group of a compressed-tensors config says about weights, inputs and outputs.

Source: vLLM 0.33 ``compressed_tensors.py``, the ``_is_*`` methods; defaults from compressed-tensors'
``quant_args.py``.
"""

from __future__ import annotations

import attrs

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.formats.fp8 import read_block
from vllm_sizing.errors import ConfigError
from vllm_sizing.specs.value import Value

_STRATEGIES = ("tensor", "channel", "group", "block", "token", "tensor_group", "attn_head")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Args(Value):
    """
    How one side of a layer is quantized.
    """

    bits: int
    floating: bool
    symmetric: bool
    strategy: str
    group_size: int
    block: tuple[int, int] | None
    dynamic: bool
    reordered: bool
    byte_scales: bool

    @classmethod
    def read(cls, section: Config) -> Args:
        """
        The arguments as the library fills them in.
        """
        group_size = section.integer("group_size", default=None, minimum=-1, maximum=2**16)
        strategy = section.text("strategy").lower()
        if not strategy:
            strategy = "tensor" if group_size is None else "channel" if group_size == -1 else "group"
        if strategy not in _STRATEGIES:
            raise section.refuse("strategy", "one of " + ", ".join(_STRATEGIES))
        if strategy in ("group", "tensor_group") and (group_size or 0) < 1:
            raise section.refuse("group_size", f"positive with strategy {strategy}")
        kind = section.text("type", default="int").lower()
        if kind not in ("int", "float"):
            raise section.refuse("type", "'int' or 'float'")
        block = (
            read_block(section, "block_structure") if not isinstance(section.data.get("block_structure"), str) else None
        )
        if strategy == "block" and block is None:
            raise section.refuse("block_structure", "two integers: rows and columns of a block")
        return cls(
            bits=section.integer("num_bits", default=8, minimum=2, maximum=16),
            floating=kind == "float",
            symmetric=section.flag("symmetric", default=True),
            strategy=strategy,
            group_size=-1 if group_size is None else group_size,
            block=block,
            dynamic=section.data.get("dynamic") not in (None, False),
            reordered=section.data.get("actorder") in (True, "group", "dynamic"),
            byte_scales=str(section.data.get("scale_dtype")).removeprefix("torch.") == "uint8",
        )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Group(Value):
    """
    A config group: weights, inputs and outputs of its targets.

    Attributes:
        path: Where it stands, for errors.
    """

    weights: Args
    inputs: Args | None
    outputs: Args | None
    format: str
    path: str = attrs.field(eq=False)

    @property
    def is_nvfp4(self) -> bool:
        """
        4-bit floats in groups of 16.
        """
        return is_nvfp4(self.weights)

    @property
    def is_mxfp4(self) -> bool:
        """
        4-bit floats in groups of 32.
        """
        weights = self.weights
        kind = (weights.bits, weights.strategy, weights.group_size)
        return weights.floating and weights.symmetric and kind == (4, "group", 32)

    @property
    def is_mxfp8(self) -> bool:
        """
        8-bit floats in groups of 32 with 8-bit scales.
        """
        weights = self.weights
        return (
            weights.floating and weights.symmetric and weights.byte_scales
            and (weights.bits, weights.strategy, weights.group_size) == (8, "group", 32)
        )  # fmt: skip

    @property
    def is_fp8(self) -> bool:
        """
        FP8 weights that are multiplied with FP8 inputs.
        """
        inputs = self.inputs
        if inputs is None or not inputs.floating or not self.has_fp8_weights:
            return False
        return inputs.dynamic or (inputs.symmetric and inputs.strategy == "tensor")

    @property
    def has_fp8_weights(self) -> bool:
        """
        8-bit floating weights with static scales.
        """
        weights = self.weights
        return (
            weights.floating and weights.symmetric and not weights.dynamic
            and weights.strategy in ("tensor", "channel", "block")
        )  # fmt: skip

    @property
    def is_int4_fp8(self) -> bool:
        """
        4-bit integers that are multiplied with FP8 inputs.
        """
        weights, inputs = self.weights, self.inputs
        return (
            inputs is not None and not weights.floating and inputs.floating
            and (weights.bits, inputs.bits, weights.strategy, inputs.strategy) == (4, 8, "group", "token")
            and weights.symmetric and inputs.symmetric and not weights.dynamic and inputs.dynamic
        )  # fmt: skip

    @property
    def is_int8(self) -> bool:
        """
        8-bit integers on both sides.
        """
        weights, inputs = self.weights, self.inputs
        if inputs is None or (weights.bits, inputs.bits) != (8, 8) or not weights.symmetric or weights.dynamic:
            return False
        return weights.strategy in ("tensor", "channel") and inputs.strategy == (
            "token" if inputs.dynamic else "tensor"
        )

    @property
    def is_weight_only(self) -> bool:
        """
        Integers or floats by channel or group, inputs in 16 bits.
        """
        return self.inputs is None and self.weights.strategy in ("channel", "group") and not self.weights.dynamic

    @property
    def is_integer_matmul(self) -> bool:
        """
        Packed integers that are multiplied with integers quantized on the fly.
        """
        weights, inputs = self.weights, self.inputs
        if inputs is None or self.format != "pack-quantized" or weights.floating or inputs.floating:
            return False
        return (
            weights.strategy in ("channel", "group") and not weights.dynamic
            and inputs.symmetric and inputs.dynamic
            and inputs.strategy in ("token", "group") and inputs.bits in (4, 8)
        )  # fmt: skip

    @property
    def is_fake_quantized(self) -> bool:
        """
        Integers whose inputs and outputs are rounded to 8 bits by a fixed scale.
        """
        weights = self.weights
        if weights.floating or weights.dynamic or self.format not in ("pack-quantized", "int-quantized"):
            return False
        return (
            weights.strategy in ("channel", "group") and weights.bits in (2, 4, 8)
            and _is_fixed_int8(self.inputs) and _is_fixed_int8(self.outputs)
        )  # fmt: skip

    def refuse(self, what: str) -> ConfigError:
        """
        The error for a combination that vLLM has no scheme for.
        """
        weights, inputs = self.weights, self.inputs
        kind = "float" if weights.floating else "int"
        sides = f"with {'16-bit' if inputs is None else f'{inputs.bits}-bit'} inputs"
        message = (
            f"config.json: {self.path} stores {kind}{weights.bits} by {weights.strategy} "
            f"as {self.format[:40] or 'no format'} {sides}, which vLLM has no scheme for: {what}"
        )
        return ConfigError(message, field=self.path, value=self.format)


def is_nvfp4(args: Args | None) -> bool:
    """
    4-bit floats in groups of 16.
    """
    if args is None or not args.floating or not args.symmetric:
        return False
    return (args.bits, args.strategy, args.group_size) == (4, "tensor_group", 16)


def _is_fixed_int8(args: Args | None) -> bool:
    if args is None or args.floating or args.dynamic:
        return False
    return (args.bits, args.strategy) == (8, "tensor")
