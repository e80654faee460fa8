"""
llama.cpp's GGUF: every tensor in a type of its own, rows of whole blocks.

Source: vLLM 0.10 to 0.23 ``quantization/gguf.py``, ``layers/linear.py``, ``layers/fused_moe/layer.py``
(0.24 took them out); block sizes as in gguf-py's ``GGML_QUANT_SIZES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import attrs

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.formats.names import shards
from vllm_sizing.architectures.formats.schemes import Experts
from vllm_sizing.architectures.quantization import CheckpointQuantization
from vllm_sizing.errors import ConfigError
from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.quantization import ONE, PARTS, Extra, Scheme

# Types that vLLM has kernels for -> (weights in a block, bytes of a block).
BLOCKS = {
    "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24), "Q8_0": (32, 34),
    "Q2_K": (256, 84), "Q3_K": (256, 110), "Q4_K": (256, 144), "Q5_K": (256, 176), "Q6_K": (256, 210),
    "IQ1_S": (256, 50), "IQ1_M": (256, 56), "IQ2_XXS": (256, 66), "IQ2_XS": (256, 74), "IQ2_S": (256, 82),
    "IQ3_XXS": (256, 98), "IQ3_S": (256, 110), "IQ4_NL": (32, 18), "IQ4_XS": (256, 136),
}  # fmt: skip
# Loaded as plain matrices of the model's dtype.
PLAIN = {"F32": (1, 4), "F16": (1, 2), "BF16": (1, 2)}
_MAX_TENSORS = 2**17
_EXPERTS_REMARK = Finding(
    code="gguf-experts",
    severity="warning",
    message="vLLM finds the experts of a GGUF file with transformers 4 only; its releases from 0.20 on may come with 5",
    hint="install transformers below 5 beside vLLM",
)
_EXPERTS = ("gate_proj", "up_proj", "down_proj")


@lru_cache(maxsize=64)
def ggml_scheme(name: str, *, parts: int = PARTS) -> Scheme:
    """
    One of the block types.

    Args:
        parts: `PARTS`: the layer keeps a byte with the type of each part; `ONE`: one byte; n: none.

    >>> ggml_scheme("Q6_K").weight_bits, ggml_scheme("Q6_K").extras[0].element_bytes
    (6, 18)
    """
    block, num_bytes = BLOCKS[name]
    bits = num_bytes * 8 // block
    extras = [Extra(name="scales", rows=1, cols=block, element_bytes=num_bytes - block * bits // 8)]
    if parts in (PARTS, ONE):
        extras.append(Extra(name="qweight_type", rows=parts, element_bytes=1))
    return Scheme(
        name=name,
        method="gguf",
        kind="gguf",
        weight_bits=bits,
        group_size=block,
        extras=tuple(extras),
    )


class Gguf(CheckpointQuantization):
    """
    The types of a file's matrices, by the names that Transformers gives their modules.
    """

    method = "gguf"
    varies_by_layer = True
    expert_layer_bytes = 2  # w13_qweight_type and w2_qweight_type.
    findings: tuple[Finding, ...] = (
        Finding(
            code="gguf-kernels",
            severity="warning",
            message="weights and KV cache are vLLM's; speed and activation peak are not: nobody has measured its GGUF "
            "kernels, and those of the IQ types unpack a matrix before they multiply a batch",
            hint="give headroom_bytes, and measure before you rely on the speed",
        ),
    )

    def __init__(self, section: Config) -> None:
        types = section.needed_section("tensor_types")
        if len(types.data) > _MAX_TENSORS:
            raise section.refuse("tensor_types", f"at most {_MAX_TENSORS:,} tensors")
        for name in types.data:
            if types.text(name) not in (*BLOCKS, *PLAIN):
                raise _refused(name, f"is stored as {types.text(name)[:20]}", "take a file in a K or Q type")
        self._types = types
        if any(".experts." in name for name in types.data):
            self.findings = (*self.findings, _EXPERTS_REMARK)
        if any(types.text(name) in ("F16", "BF16") for name in types.data):
            self.traits = frozenset({"gguf_16bit"})

    def _type(self, module: str) -> str:
        found = self._types.text(module)
        if not found:
            raise _refused(module, "is missing from the file", "fetch it again, or take one that llama.cpp wrote")
        return found

    def _stored(self, modules: Sequence[str]) -> str | None:
        """
        The type of a fused layer, whose parts are padded to the widest; None: plain.
        """
        found = [self._type(module) for module in modules]
        packed = [name for name in found if name in BLOCKS]
        if not packed:
            return None
        if len(packed) < len(found):
            raise _refused(modules[0], f"and its fellows are {', '.join(found)}", "vLLM fuses them: all packed or none")
        return max(packed, key=lambda name: BLOCKS[name][1] / BLOCKS[name][0])

    def linear(self, prefix: str, fused: tuple[str, ...] = ()) -> Scheme | None:
        """
        The format of a linear layer.
        """
        if "." not in prefix:
            return None  # A head that vLLM adds: there is none in such a file.
        name = self._stored(shards(prefix, fused) if fused else [prefix])
        return None if name is None else ggml_scheme(name)

    def experts(self, prefix: str) -> Experts:
        """
        The formats of ``w13`` and ``w2``.
        """
        gate, up, down = (self._type(f"{prefix}.{part}") for part in _EXPERTS)
        if gate != up or gate in PLAIN or down in PLAIN:
            raise _refused(
                f"{prefix}.gate_proj", f"is {gate}, up_proj {up} and down_proj {down}",
                "vLLM wants experts packed, gate and up alike",
            )  # fmt: skip
        # Only the inputs of the second are divided: the first's blocks always stay whole.
        return attrs.evolve(ggml_scheme(gate, parts=1), group_size=0), ggml_scheme(down, parts=1)

    def embedding(self, prefix: str) -> Scheme | None:
        """
        The format of a vocabulary embedding.
        """
        name = self._stored([prefix])
        return None if name is None else ggml_scheme(name, parts=ONE)

    def lm_head(self, prefix: str) -> Scheme | None:
        """
        The format of the output projection.
        """
        return self.embedding(prefix)


def _refused(module: str, what: str, way_out: str) -> ConfigError:
    message = f"GGUF: {module[:120]} {what}, which vLLM does not load; {way_out}"
    return ConfigError(message, field="quantization_config.tensor_types", value=module)
