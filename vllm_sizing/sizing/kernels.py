"""
Which formats a release loads on which GPU, and how its fused-expert kernels pad.

Source: the release wheels 0.10.0 to 0.33.0: ``quantization/__init__.py:QuantizationMethods``, each
config's and scheme's ``get_min_capability``, ``quantization/mxfp4.py:get_mxfp4_backend`` (to 0.18),
``fused_moe/oracle/mxfp4.py`` and ``oracle/unquantized.py`` (since).
"""

from __future__ import annotations

import attrs

from vllm_sizing.sizing.defaults import Version
from vllm_sizing.specs.value import Value

Capability = tuple[int, int]
_ALWAYS: Version = (0, 0, 0)


@attrs.frozen(eq=False, repr=False)
class Support(Value):
    """
    When and where something is supported.

    Attributes:
        floors: (release, smallest compute capability from it on), oldest first.

        until: First release without it; None: still there.

        only: The one compute capability that has it.
    """

    floors: tuple[tuple[Version, Capability], ...]
    until: Version | None = None
    only: Capability | None = None

    @property
    def since(self) -> Version:
        """
        First release with it.
        """
        return self.floors[0][0]

    def floor(self, version: Version) -> Capability:
        """
        Smallest compute capability in a release that has it.
        """
        return max((floor for floor in self.floors if floor[0] <= version), default=self.floors[0])[1]


def _since(version: Version, major: int, minor: int, until: Version | None = None) -> Support:
    return Support(((version, (major, minor)),), until)


# vLLM's names in 0.33; earlier releases called some of them otherwise.
METHODS = {
    "fp8": Support(((_ALWAYS, (8, 0)), ((0, 14, 0), (7, 5)))),
    "fbgemm_fp8": _since(_ALWAYS, 8, 0),
    "fp_quant": _since((0, 11, 1), 10, 0),
    "modelopt": Support(((_ALWAYS, (8, 9)), ((0, 27, 0), (8, 0)))),
    "modelopt_fp4": Support(((_ALWAYS, (8, 0)), ((0, 14, 0), (7, 5)))),
    "modelopt_mxfp8": Support((((0, 16, 0), (10, 0)), ((0, 20, 0), (8, 0)))),
    "modelopt_mixed": Support((((0, 17, 0), (8, 9)), ((0, 24, 0), (7, 5)))),
    "mxfp8": Support((((0, 19, 0), (10, 0)), ((0, 20, 0), (8, 0)))),
    "auto_gptq": Support(((_ALWAYS, (6, 0)), ((0, 22, 0), (7, 5)))),
    "auto_awq": _since(_ALWAYS, 7, 5),
    "compressed-tensors": _since(_ALWAYS, 7, 0),
    "experts_int8": _since(_ALWAYS, 8, 0),
    "quark": _since(_ALWAYS, 7, 0),
    "torchao": _since(_ALWAYS, 7, 5),
    "inc": _since(_ALWAYS, 6, 0),
    "mxfp4": _since((0, 10, 1), 8, 0),
    "gpt_oss_mxfp4": _since((0, 10, 1), 8, 0),
    "deepseek_v4_fp8": _since((0, 20, 0), 7, 5),
    "bitsandbytes": _since(_ALWAYS, 7, 0, until=(0, 28, 0)),
    "gguf": _since(_ALWAYS, 6, 0, until=(0, 24, 0)),
}

# What converts a 16-bit checkpoint while loading; "experts_int8" and "bitsandbytes" are above.
ONLINE = {
    "fp8": METHODS["fp8"],
    "fp8_per_tensor": _since((0, 20, 0), 7, 5),
    "fp8_per_block": _since((0, 20, 0), 7, 5),
    "fp8_per_channel": _since((0, 24, 0), 8, 9),
    "int8_per_channel_weight_only": _since((0, 20, 0), 8, 0),
    "mxfp8": Support((((0, 19, 0), (10, 0)), ((0, 20, 0), (7, 5)))),
    "mxfp4": _since((0, 28, 0), 7, 5),
    "nvfp4_per_token": Support((((0, 26, 0), (10, 0)),), only=(10, 0)),
    "experts_int8": METHODS["experts_int8"],
    "bitsandbytes": METHODS["bitsandbytes"],
}

# By what the kernels see, where it is stricter than the method; (method, kind) before kind.
_KINDS: dict[tuple[str, str], Support] = {
    ("compressed-tensors", "fp8"): Support(((_ALWAYS, (8, 0)), ((0, 16, 0), (7, 5)))),
    ("compressed-tensors", "fp8_weight_only"): Support(((_ALWAYS, (8, 0)), ((0, 16, 0), (7, 5)))),
    ("compressed-tensors", "int8"): _since(_ALWAYS, 7, 5),
    ("compressed-tensors", "nvfp4"): Support(((_ALWAYS, (8, 0)), ((0, 16, 0), (7, 5)))),
    ("compressed-tensors", "nvfp4_weight_only"): Support(((_ALWAYS, (8, 0)), ((0, 16, 0), (7, 5)))),
    ("compressed-tensors", "mxfp4"): _since((0, 14, 0), 8, 0),
    ("compressed-tensors", "mxfp8"): _since((0, 20, 0), 7, 5),
    ("compressed-tensors", "wna16"): Support(((_ALWAYS, (8, 0)), ((0, 12, 0), (7, 5)))),
    ("compressed-tensors", "wnam"): _since((0, 32, 0), 7, 5),
    ("compressed-tensors", "w4a8_fp8"): Support((((0, 10, 2), (9, 0)),), only=(9, 0)),
    ("compressed-tensors", "act_order"): _since(_ALWAYS, 7, 5, until=(0, 30, 0)),
    ("quark", "fp8"): _since(_ALWAYS, 8, 9),
    ("quark", "nvfp4"): _since((0, 20, 0), 7, 5),
    ("auto_gptq", "act_order"): _since(_ALWAYS, 6, 0, until=(0, 30, 0)),
    ("auto_gptq", "gptq_exllama"): _since(_ALWAYS, 6, 0, until=(0, 22, 0)),
    ("auto_awq", "awq_int8"): _since(_ALWAYS, 8, 0, until=(0, 12, 0)),
}

# Activation dtypes; each config's get_supported_act_dtypes.
_BFLOAT16_ONLY = ("fp_quant", "modelopt_mxfp8", "mxfp8", "mxfp4", "gpt_oss_mxfp4")
_ANY_DTYPE = ("compressed-tensors", "torchao", "bitsandbytes", "gguf")


def activation_dtypes(method: str) -> tuple[str, ...]:
    """
    The dtypes that a method's layers compute in.
    """
    if method in _BFLOAT16_ONLY:
        return ("bfloat16",)
    return ("bfloat16", "float16", "float32") if method in _ANY_DTYPE else ("bfloat16", "float16")


REFINED_FP8_FLOOR: Capability = (8, 9)  # Only the Triton kernel takes blocks other than 128 x 128.


def support_of(method: str, kind: str) -> Support | None:
    """
    Where a kind of format is stricter than its method; None: nowhere.
    """
    return _KINDS.get((method, kind))


# Triton's Hopper kernels lay the values out in whole tiles once they are loaded.  Measured: "Model
# loading took" 13.47 GiB for gpt-oss-20b and 64.38 for gpt-oss-120b (0.11.0, H100).  For 0.33 what is
# recorded, and given here, are the tensors as constructed.
_HOPPER_TILE = 256


def expert_multiples(rule: str, capability: Capability, version: Version) -> tuple[int, int, int]:
    """
    What (intermediate, hidden, loaded values) of a rank's experts are rounded up to.

    Args:
        rule: `Scheme.padding`, or ``plain`` for experts in the model's dtype.
    """
    if rule == "whole_blocks":  # quantization/online/fp8.py
        return (128, 128, 1)
    marlin = (128, 256, 1)
    datacenter_blackwell = capability[0] == 10
    if rule == "plain":
        # FlashInfer's TRT-LLM kernel allocates whole tiles: oracle/unquantized.py.
        return (128, 1, 1) if datacenter_blackwell and version >= (0, 32, 0) else (1, 1, 1)
    if rule == "mxfp4":
        return (64, 1, 1) if capability == (9, 0) and version >= (0, 32, 0) else marlin
    if datacenter_blackwell and version >= (0, 10, 2):
        return (128 if version >= (0, 27, 0) else 256, 256, 1)
    if version < (0, 11, 0) or capability < (9, 0):
        return marlin
    # Triton's kernels: Hopper always, newer consumer GPUs only in some releases.
    newest = (13, 0) if version < (0, 12, 0) or (0, 32, 0) <= version < (0, 33, 0) else (11, 0)
    if capability >= newest:
        return marlin
    return (64, 1, _HOPPER_TILE if capability[0] == 9 and version < (0, 33, 0) else 1)
