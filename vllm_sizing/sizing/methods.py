"""
Quantization methods as the planner meets them: what loads where, on-line methods, kernel padding.

Source: vLLM 0.33 ``config/model.py:_verify_quantization``, ``config/quantization.py``,
``quantization/online``; earlier releases through `kernels`.
"""

from __future__ import annotations

from functools import lru_cache

import attrs

from vllm_sizing.architectures.formats.schemes import bitsandbytes, eight_bits, microscaled, nvfp4
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.defaults import Rules, Version
from vllm_sizing.sizing.gguf import check_gguf
from vllm_sizing.sizing.kernels import (
    METHODS,
    ONLINE,
    REFINED_FP8_FLOOR,
    Support,
    activation_dtypes,
    expert_multiples,
    support_of,
)
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.sizing.storage import ExpertPadding
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.specs.model import ModelSpec, WeightTensor
from vllm_sizing.specs.quantization import Extra, Scheme

Online = tuple[Scheme | None, Scheme | None, Scheme | None]

# Words that vLLM takes for a checkpoint's method beside its own name.
_CONFIRMS = {
    "auto_gptq": ("gptq", "gptq_marlin", "marlin", "moe_wna16"),
    "auto_awq": ("awq", "awq_marlin", "marlin", "moe_wna16"),
    "inc": ("auto-round",),
    "modelopt_fp4": ("modelopt",), "modelopt_mxfp8": ("modelopt",), "modelopt_mixed": ("modelopt",),
    "gpt_oss_mxfp4": ("mxfp4",),
    "deepseek_v4_fp8": ("fp8",),
}  # fmt: skip


def online_schemes(method: str) -> Online:
    """
    The formats of linear layers, ``w13`` and ``w2`` that a method converts to; None: not converted.

    Embeddings, LM head, norms and routers keep the model's dtype.

    >>> [scheme and scheme.name for scheme in online_schemes("int8_per_channel_weight_only")]
    [None, 'int8 per channel', 'int8 per channel']
    """
    if method in ("fp8", "fp8_per_tensor"):
        scheme = eight_bits(method, "fp8", "layer")
    elif method == "fp8_per_block":
        scheme = eight_bits(method, "fp8", (128, 128), checked=False)
        # The values stay a view of whole blocks unless columns are cut off: utils/deep_gemm.py.
        experts = attrs.evolve(scheme, padding="whole_blocks")
        return attrs.evolve(scheme, row_multiple=128), experts, experts
    elif method == "fp8_per_channel":
        scheme = eight_bits(method, "fp8", "channel")
    elif method in ("mxfp8", "mxfp4"):
        scheme = microscaled(method, int(method[-1]))
    elif method == "bitsandbytes":
        scheme = bitsandbytes()
    elif method == "nvfp4_per_token":
        experts = nvfp4(method, input_scales=False)
        scales = (Extra(name="weight_scale_2"), Extra(name="input_scale"))
        stored = Scheme(
            name=experts.name, method=method, kind="nvfp4", weight_bits=4, group_size=16, compute="fp4",
            extras=(experts.extras[0], *scales),
        )  # fmt: skip
        return None, stored, stored
    else:
        experts = eight_bits(method, "int8", "channel", weight_only=method != "experts_int8")
        return None, experts, experts
    return scheme, scheme, scheme


@lru_cache(maxsize=64)
def _online(method: str) -> Online:
    return online_schemes(method)


def online_schemes_for(model: ModelSpec, quantization: str | None, rules: Rules) -> Online | None:
    """
    The schemes that ``quantization`` converts plain matrices to; None: load as stored.

    Raises:
        UnsupportedError: The release does not know the method, or the checkpoint has another.
    """
    if quantization is None:
        return None
    word = quantization.lower()
    if model.quantization is not None:
        if word == model.quantization or word in _CONFIRMS.get(model.quantization, ()):
            return None
        message = (
            f"quantization is {quantization!r}, but the checkpoint is stored as {model.quantization!r}, "
            "which vLLM does not convert; leave quantization unset or take a 16-bit checkpoint"
        )
        raise UnsupportedError(message, field="quantization", value=quantization)
    support = ONLINE.get(word)
    if support is None or not _has(support, rules.version):
        known = ", ".join(sorted(name for name, found in ONLINE.items() if _has(found, rules.version)))
        message = (
            f"quantization is {quantization!r}, which vLLM {_release(rules.version)} cannot convert a 16-bit "
            f"checkpoint to while loading; it can: {known}"
        )
        raise UnsupportedError(message, field="quantization", value=quantization)
    return _online(word)


def check_method(
    model: ModelSpec,
    quantization: str | None,
    gpu: GpuSpec,
    rules: Rules,
    *,
    layout: Layout | None = None,
    dtype: str | None = None,
) -> None:
    """
    Refuse a method that this GPU or release does not load.

    Args:
        dtype: Of the activations, where it is known.

    Raises:
        UnsupportedError: With the smallest GPU or the releases that do.
    """
    method = model.quantization or (quantization or "").lower()
    if model.quantization == "bitsandbytes" and layout is not None and layout.tensor > 1:
        # model_loader/bitsandbytes_loader.py:_verify_model_compatibility
        message = (
            f"tensor_parallel_size is {layout.tensor}: vLLM does not divide the packed weights of a bitsandbytes "
            "checkpoint; use pipeline stages, or a 16-bit checkpoint with quantization bitsandbytes"
        )
        raise UnsupportedError(message, field="tensor_parallel_size", value=layout.tensor)
    if model.quantization == "gguf":
        check_gguf(model, gpu, rules.version, layout, dtype)
    _check_gpu(model, method, gpu, rules.version)
    if layout is not None and gpu.compute_capability is not None and gpu.compute_capability < REFINED_FP8_FLOOR:
        _check_refined(model, layout, gpu)
    if dtype is not None and method and dtype not in activation_dtypes(method):
        known = " or ".join(activation_dtypes(method))
        message = f"dtype is {dtype}, which vLLM does not compute in with {method}; use {known}"
        raise UnsupportedError(message, field="dtype", value=dtype)


def _check_gpu(model: ModelSpec, method: str, gpu: GpuSpec, version: Version) -> None:
    if model.quantization is None:
        if method in ONLINE:
            _check(ONLINE[method], f"quantization is {method}", gpu, version)
        return
    if method not in METHODS:
        message = f"{model.name} is stored as {method}, which is not modelled; known are {', '.join(sorted(METHODS))}"
        raise UnsupportedError(message, field="quantization", value=method)
    _check(METHODS[method], f"{model.name} is stored as {method}", gpu, version)
    for scheme in stored_schemes(model):
        support = support_of(scheme.method, scheme.kind)
        if support is not None:
            _check(support, f"{model.name} is stored as {_shown(scheme)}", gpu, version)


def _shown(scheme: Scheme) -> str:
    more = {"act_order": " with activation order", "awq_int8": " in AWQ's layout", "w4a8_fp8": " for FP8 inputs"}
    return f"{scheme.method} {scheme.name}{more.get(scheme.kind, '')}"


@lru_cache(maxsize=256)
def stored_schemes(model: ModelSpec) -> tuple[Scheme, ...]:
    """
    Every format that a model's tensors are stored in.
    """
    return tuple(dict.fromkeys(tensor.scheme for tensor in model.tensors if tensor.scheme is not None))


def _has(support: Support, version: Version) -> bool:
    return support.since <= version and (support.until is None or version < support.until)


def _check(support: Support, what: str, gpu: GpuSpec, version: Version) -> None:
    capability = gpu.compute_capability
    if not _has(support, version):
        reach = f"from {_release(support.since)} on" if support.until is None else f"before {_release(support.until)}"
        message = f"{what}, which vLLM {_release(version)} does not load; releases {reach} do"
        raise UnsupportedError(message, field="vllm_version", value=_release(version))
    if capability is None:
        return
    floor = support.floor(version)
    if capability < floor or (support.only is not None and capability[0] != support.only[0]):
        wanted = f"{floor[0]}.{floor[1]}" + ("" if support.only is None else " exactly")
        message = (
            f"{what}, which vLLM {_release(version)} runs on compute capability {wanted}"
            f"{'' if support.only else ' or newer'}; {gpu.name} has {capability[0]}.{capability[1]}"
        )
        raise UnsupportedError(message, field="quantization", value=what)


def _check_refined(model: ModelSpec, layout: Layout, gpu: GpuSpec) -> None:
    """
    Experts whose FP8 blocks must shrink to fit a rank have no kernel on older GPUs.
    """
    if layout.expert_ranks > 1:
        return
    for tensor in model.tensors:
        scheme = tensor.scheme
        if (
            tensor.role == "experts"
            and scheme is not None
            and scheme.kind == "fp8"
            and scheme.block[0]
            and scheme.adapts
        ):
            width = _width(tensor) // layout.expert_tensor
            if width % scheme.block[0]:
                message = (
                    f"tensor_parallel_size is {layout.tensor}: experts of width {width:,} on a rank are no multiple of "
                    f"the FP8 block of {scheme.block[0]}, and vLLM has no kernel for that on {gpu.name}; use a smaller "
                    "one or enable_expert_parallel"
                )
                raise UnsupportedError(message, field="tensor_parallel_size", value=layout.tensor)


def _width(tensor: WeightTensor) -> int:
    return tensor.shape[1] // len(tensor.shard.parts) if tensor.shard.axis == 1 else tensor.shape[2]


def expert_padding(
    model: ModelSpec, gpu: GpuSpec, rules: Rules, online: tuple[Scheme | None, ...] = ()
) -> tuple[ExpertPadding, ...]:
    """
    How the kernels of fused experts pad on a GPU.

    Other vendors' kernels are not modelled: no padding.
    """
    capability = gpu.compute_capability
    if capability is None or not model.num_experts:
        return ()
    schemes = (*stored_schemes(model), *filter(None, online))
    padding = {scheme.padding for scheme in schemes if scheme.padding}
    if "experts_not_silu" not in model.traits:
        padding.add("plain")
    found = {rule: expert_multiples(rule, capability, rules.version) for rule in sorted(padding)}
    return tuple(
        ExpertPadding(rule=rule, intermediate=intermediate, hidden=hidden, values=values)
        for rule, (intermediate, hidden, values) in found.items()
        if (intermediate, hidden, values) != (1, 1, 1)
    )


def _release(version: Version) -> str:
    return ".".join(map(str, version)) if version > (0, 0, 0) else "0.10.0"
