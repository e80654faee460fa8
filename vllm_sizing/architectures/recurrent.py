"""
Layers that keep a state per request: Mamba 1 and 2 and short convolutions.

Source: vLLM 0.33 ``model_executor/layers/mamba/mamba_mixer.py``, ``mamba_mixer2.py``,
``short_conv.py``, ``mamba_utils.py``.
"""

from __future__ import annotations

from typing import Any

import attrs

from vllm_sizing.architectures.builder import Builder, Layers
from vllm_sizing.architectures.config import Config
from vllm_sizing.specs.model import COLUMN, REPLICATED, ROW, Part, RecurrentState, StateTensor
from vllm_sizing.specs.value import Value

MAMBA1_NORMS = ("dt_layernorm", "b_layernorm", "c_layernorm")
_ALIGNED_ROWS = 16  # models/kimi_k3/nvidia/kda.py: of a rank's share, for aligned matrix kernels.
_STATE_DTYPES = ("float32", "float16", "bfloat16")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Mamba2(Value):
    """
    Sizes of a Mamba 2 mixer.

    Attributes:
        groups: That share B and C; a single one is copied to every rank, more must divide.

        kernel: Tokens that the convolution sees.

        norm: The mixer ends in a norm of its own.
    """

    heads: int
    head_size: int
    state_size: int
    groups: int
    kernel: int
    conv_bias: bool = True
    bias: bool = False
    norm: bool = True
    ssm_dtype: str = ""

    @property
    def inner(self) -> int:
        """
        Width of all heads.
        """
        return self.heads * self.head_size

    @property
    def convolved(self) -> tuple[Part, ...]:
        """
        What passes the convolution: the heads, B and C.
        """
        group = Part(self.groups * self.state_size, self.groups, copied=self.groups == 1)
        return Part(self.inner), group, group

    @property
    def projected(self) -> tuple[Part, ...]:
        """
        What comes out of the first projection: the gate and a time step per head beside it.
        """
        return Part(self.inner), *self.convolved, Part(self.heads)


def read_state_dtype(text: Config, key: str, default: str = "") -> str:
    """
    The dtype that a config asks for its recurrent state; empty: the model's.
    """
    dtype = text.text(key, default=default)
    if dtype and dtype not in _STATE_DTYPES:
        raise text.refuse(key, "one of " + ", ".join(_STATE_DTYPES))
    return dtype


def add_mamba2(builder: Builder, name: str, hidden: int, mixer: Mamba2, *, layers: Layers) -> None:
    """
    A Mamba 2 mixer and its state.
    """
    if not layers:
        return
    inner, heads, convolved = mixer.inner, Part(mixer.heads), mixer.convolved
    builder.linear(
        f"{name}.conv1d", mixer.kernel, convolved,
        layers=layers, bias=mixer.conv_bias, quantized=False, merges_copies=True,
    )  # fmt: skip
    builder.linear(
        f"{name}.in_proj", hidden, mixer.projected,
        layers=layers, bias=mixer.bias, merges_copies=True,
    )  # fmt: skip
    builder.parameter(f"{name}.A", mixer.heads, layers=layers, shard=COLUMN, dtype="float32")
    for vector in ("D", "dt_bias"):
        builder.parameter(f"{name}.{vector}", mixer.heads, layers=layers, shard=COLUMN)
    builder.linear(f"{name}.out_proj", inner, hidden, shard=ROW, layers=layers, bias=mixer.bias)
    if mixer.norm:
        builder.norm(f"{name}.norm", inner, layers=layers, shard=COLUMN)
    states = (
        StateTensor(columns=convolved, rows=mixer.kernel - 1, grows=True),
        StateTensor(columns=(heads,), depth=mixer.head_size * mixer.state_size, dtype="ssm"),
    )
    builder.cache_layers.append(RecurrentState(layers=layers, kind="mamba2", states=states, ssm_dtype=mixer.ssm_dtype))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Mamba1(Value):
    """
    Sizes of a Mamba 1 mixer.

    Attributes:
        rank: Width of the time-step projection's input.

        norms: Names of the norms on time step, B and C; empty for none.

        norm_role: ``buffer`` where they have no weight, but ones in its place.
    """

    inner: int
    state_size: int
    kernel: int
    rank: int
    conv_bias: bool = True
    bias: bool = False
    norms: tuple[str, ...] = ()
    norm_role: str = "parameter"


def add_mamba1(builder: Builder, name: str, hidden: int, mixer: Mamba1, *, layers: Layers) -> None:
    """
    A Mamba 1 mixer and its state; vLLM never quantizes it.
    """
    if not layers:
        return
    inner, state = mixer.inner, mixer.state_size
    common: dict[str, Any] = {"layers": layers, "quantized": False}
    builder.linear(f"{name}.conv1d", mixer.kernel, inner, bias=mixer.conv_bias, **common)
    builder.linear(f"{name}.in_proj", hidden, (inner, inner), bias=mixer.bias, adapters=1, **common)
    builder.linear(f"{name}.x_proj", inner, mixer.rank + 2 * state, shard=ROW, **common)
    builder.linear(f"{name}.dt_proj", mixer.rank, inner, bias=True, **common)
    builder.parameter(f"{name}.A", inner, state, layers=layers, shard=COLUMN, dtype="float32")
    builder.parameter(f"{name}.D", inner, layers=layers, shard=COLUMN)
    builder.linear(f"{name}.out_proj", inner, hidden, shard=ROW, bias=mixer.bias, **common)
    for norm, size in zip(mixer.norms, (mixer.rank, state, state), strict=False):
        builder.norm(f"{name}.{norm}", size, layers=layers, role=mixer.norm_role)
    states = (
        StateTensor(columns=(Part(inner),), rows=mixer.kernel - 1),
        StateTensor(columns=(Part(inner),), depth=state, dtype="ssm"),
    )
    builder.cache_layers.append(RecurrentState(layers=layers, kind="mamba1", states=states))


def add_short_conv(builder: Builder, name: str, width: int, kernel: int, *, layers: Layers, bias: bool = False) -> None:
    """
    A short convolution between two projections; its state is what the convolution still sees.
    """
    if not layers:
        return
    builder.linear(f"{name}.conv", kernel, width, layers=layers, bias=bias, quantized=False)
    builder.linear(f"{name}.in_proj", width, (width,) * 3, layers=layers, bias=bias)
    builder.linear(f"{name}.out_proj", width, width, shard=ROW, layers=layers, bias=bias)
    state = StateTensor(columns=(Part(width),), rows=kernel - 1, grows=True)
    builder.cache_layers.append(RecurrentState(layers=layers, kind="short_conv", states=(state,)))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DeltaAttention(Value):
    """
    Sizes of Kimi's delta attention.

    Attributes:
        full_rank: The output gate comes out of the first projection; else out of two narrow ones.

        bounded: The gate has a lower bound, which the faster prefill kernel needs.
    """

    heads: int
    head_size: int
    kernel: int
    full_rank: bool = False
    bounded: bool = False


def add_delta_attention(builder: Builder, name: str, hidden: int, sizes: DeltaAttention, *, layers: Layers) -> None:
    """
    Kimi's delta attention and its state: a convolution window and a float32 matrix per head.
    """
    size, width = sizes.head_size, sizes.heads * sizes.head_size
    heads, narrow = Part(sizes.heads), Part(size, 1)
    parts = (Part(width),) * 4 + (narrow, heads) if sizes.full_rank else (Part(width),) * 3 + (heads, narrow)
    builder.linear(
        f"{name}.in_proj_qkvgfab", hidden, parts,
        layers=layers, row_multiple=_ALIGNED_ROWS if sizes.full_rank else 1,
        fused=("q_proj", "k_proj", "v_proj", "b_proj", "f_a_proj"),
    )  # fmt: skip
    builder.linear(f"{name}.f_b_proj", size, width, layers=layers)
    builder.linear(f"{name}.conv1d", sizes.kernel, 3 * width, layers=layers, quantized=False, dtype="float32")
    builder.parameter(f"{name}.dt_bias", width, layers=layers, shard=COLUMN, dtype="float32")
    builder.parameter(f"{name}.A_log", sizes.heads, layers=layers, shard=COLUMN, dtype="float32")
    if not sizes.full_rank:
        builder.linear(f"{name}.g_a_proj", hidden, size, shard=REPLICATED, layers=layers)
        builder.linear(f"{name}.g_b_proj", size, width, layers=layers)
    builder.norm(f"{name}.o_norm", size, layers=layers)
    builder.linear(f"{name}.o_proj", width, hidden, shard=ROW, layers=layers)
    states = (
        StateTensor(columns=(Part(width),) * 3, rows=sizes.kernel - 1, grows=True),
        StateTensor(columns=(heads,), depth=size * size, dtype="ssm"),
    )
    builder.cache_layers.append(
        RecurrentState(
            layers=layers, kind="kda", states=states, ssm_dtype="float32",
            key_size=size if sizes.full_rank and sizes.bounded else 0,
        )
    )  # fmt: skip
