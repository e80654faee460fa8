"""
What vLLM refuses of GGUF checkpoints, or stumbles over.

Source: vLLM 0.10 to 0.23 ``quantization/gguf.py``, ``model_loader/gguf_loader.py``, ``layers/linear.py``
(``weight_loader``), ``layers/fused_moe/layer.py``.
"""

from __future__ import annotations

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.defaults import Version
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.specs.gpu import GpuSpec
from vllm_sizing.specs.model import ModelSpec

_TAKEN_OUT: Version = (0, 24, 0)
_16_BITS: Version = (0, 12, 0)
_HALF_ON_BLACKWELL: Version = (0, 13, 0)


def check_gguf(model: ModelSpec, gpu: GpuSpec, version: Version, layout: Layout | None, dtype: str | None) -> None:
    """
    Refuse what a release does not load of such a file.
    """
    _check_release(model, version)
    blackwell = gpu.compute_capability is not None and gpu.compute_capability >= (10, 0)
    if dtype == "bfloat16" and blackwell and version >= _HALF_ON_BLACKWELL:
        message = f"dtype is bfloat16, which vLLM does not compute in with gguf on {gpu.name}; use float16"
        raise UnsupportedError(message, field="dtype", value=dtype)
    if layout is not None:
        _check_layout(model, layout)


def _check_release(model: ModelSpec, version: Version) -> None:
    shown = ".".join(map(str, version))
    message = ""
    if version >= _TAKEN_OUT:
        message = (
            f"{model.name} is a GGUF file, which vLLM {shown} leaves to vllm-gguf-plugin, and that is not modelled; "
            "plan for a release before 0.24.0, or give the model that the file was made from"
        )
    elif version < _16_BITS and (model.architecture.startswith("Gemma3") or "gguf_16bit" in model.traits):
        what = "holds matrices of 16 bits" if "gguf_16bit" in model.traits else f"is a {model.architecture}"
        message = f"{model.name} is a GGUF file and {what}, which vLLM loads from 0.12.0 on"
    elif version < _HALF_ON_BLACKWELL and model.architecture.startswith("Qwen2Moe") and _packed_embedding(model):
        message = f"{model.name} is a GGUF file with packed embeddings, which vLLM loads from 0.13.0 on"
    if message:
        raise UnsupportedError(message, field="vllm_version", value=shown)


def _packed_embedding(model: ModelSpec) -> bool:
    return any(tensor.role == "embedding" and tensor.scheme is not None for tensor in model.tensors)


def _check_layout(model: ModelSpec, layout: Layout) -> None:
    if layout.expert:
        message = (
            "enable_expert_parallel is True, but vLLM loads the experts of a GGUF file on the first rank only; "
            "leave it unset"
        )
        raise UnsupportedError(message, field="enable_expert_parallel", value=True)
    for tensor in model.tensors:
        heads = min((part.units for part in tensor.shard.parts if part.units), default=layout.tensor)
        if tensor.scheme is not None and heads < layout.tensor:
            message = (
                f"tensor_parallel_size is {layout.tensor}: vLLM does not copy packed KV heads of a GGUF file, and "
                f"{model.name} has {heads}; use a smaller one or pipeline stages"
            )
            raise UnsupportedError(message, field="tensor_parallel_size", value=layout.tensor)
