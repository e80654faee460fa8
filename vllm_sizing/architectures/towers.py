"""
Encoders of images, video and audio: what their transformers have in common.

Source: vLLM 0.33 ``model_executor/models/interfaces.py:_mark_tower_model``, ``vision.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from vllm_sizing.architectures.builder import Builder
from vllm_sizing.architectures.config import MAX_LAYERS, Config
from vllm_sizing.specs.model import REPLICATED, ROW, Encoder, Part
from vllm_sizing.specs.value import Value

MAX_HEADS = 2**16
MAX_SIDE = 2**20


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Vit(Value):
    """
    Sizes of an encoder's transformer.

    Attributes:
        positions: That the encoder works through for the largest item.

        width: Of all heads together; 0: the hidden size.
    """

    hidden: int
    intermediate: int
    num_heads: int
    num_layers: int
    positions: int = 0
    width: int = 0

    @property
    def head_size(self) -> int:
        """
        Width of one head.
        """
        return (self.width or self.hidden) // self.num_heads


def read_vit(
    config: Config,
    *,
    hidden: str = "hidden_size",
    intermediate: str = "intermediate_size",
    heads: str = "num_attention_heads",
    layers: str = "num_hidden_layers",
    ratio: str = "",
    attention: str = "",
) -> Vit:
    """
    The sizes of a section, under the keys that its config class uses.

    Args:
        ratio: Key of the MLP's width over the hidden size, where the config has that instead.

        attention: Key of the width of all heads, where it may differ.
    """
    width = config.required(hidden)
    own = config.integer(attention, default=0, minimum=0) if attention else 0
    number = config.required(heads, maximum=MAX_HEADS)
    if (own or width) % number:
        raise config.refuse(heads, f"a divisor of {attention or hidden} ({own or width})")
    inner = int(width * config.number(ratio, default=4.0)) if ratio else config.required(intermediate)
    if not 0 < inner < 2**40:
        raise config.refuse(ratio or intermediate, "above 0")
    return Vit(hidden=width, intermediate=inner, num_heads=number, num_layers=config.num_layers(layers), width=own)


@contextmanager
def open_tower(
    builder: Builder,
    modality: str = "vision",
    *,
    stage: str = "first",
    data_parallel: bool = True,
    heads: int = 0,
    lora: bool = False,
    spread: bool = False,
) -> Iterator[Builder]:
    """
    A builder for one encoder; its layers are the encoder's own and all on one stage.

    Args:
        modality: ``vision`` is image and video, else ``image``, ``video`` or ``audio``: the tower is
            not loaded where all of its modalities are limited to 0.

        stage: ``first`` where vLLM marks the tower, ``all`` where it does not.

        data_parallel: The class looks at ``mm_encoder_tp_mode`` here.

        heads: The class keeps the tower whole where the tensor-parallel size does not divide so many
            heads; 0: it does not.

        lora: LoRA wraps it as well (classes without ``get_mm_mapping``).

        spread: The class spreads its layers over pipeline stages, though only the first has a tower.
    """
    tower = builder.beside()
    tower.tower = modality
    yield tower
    for tensor in tower.tensors:
        builder.tensors.append(
            attrs.evolve(
                tensor,
                layers=(),
                count=max(len(tensor.layers), 1) * tensor.count,
                stage="spread" if spread and tensor.layers else stage,
                data_parallel=data_parallel,
                encoder_heads=heads or tensor.encoder_heads,
                lora=lora and tensor.lora,
            )
        )


def add_vit_layers(
    tower: Builder,
    layer: str,
    vit: Vit,
    *,
    num_layers: int | None = None,
    bias: bool = True,
    qkv_bias: bool | None = None,
    mlp_bias: bool | None = None,
    attention: str = "self_attn",
    qkv: str = "qkv_proj",
    fused: tuple[str, ...] = ("q_proj", "k_proj", "v_proj"),
    output: str = "out_proj",
    mlp: str = "mlp",
    up: str = "fc1",
    down: str = "fc2",
    gated: bool = False,
    gate_parts: tuple[str, ...] = ("gate_proj", "up_proj"),
    norms: tuple[str, ...] = ("layer_norm1", "layer_norm2"),
    norm_bias: bool = True,
    quantized: bool = True,
    mlp_quantized: bool | None = None,
    divided: bool = True,
    kv_heads: int = 0,
    qkv_lora: bool = True,
) -> None:
    """
    Attention, MLP and two norms of every layer.

    Args:
        num_layers: Where not all are built.

        attention, mlp: Empty: its projections are the layer's own.

        gated: ``up`` is gate and up in one.

        divided: False: the class divides nothing.

        kv_heads: Where they are fewer than the heads.

        qkv_lora: The class lists the parts of the projection to q, k and v, if LoRA wraps the tower.
    """
    layers = tuple(range(vit.num_layers if num_layers is None else num_layers))
    if not layers:
        return
    hidden, inner = vit.hidden, vit.intermediate
    common: dict[str, Any] = {"layers": layers, "quantized": quantized}
    row: dict[str, Any] = {"shard": ROW if divided else REPLICATED}
    column: dict[str, Any] = {} if divided else {"shard": REPLICATED}
    keys = kv_heads or vit.num_heads  # Whole heads: a rank never holds half of one.
    width = vit.head_size * vit.num_heads
    parts = (Part(width, vit.num_heads), *(Part(keys * vit.head_size, keys),) * 2)
    inside = f"{layer}.{attention}." if attention else f"{layer}."
    tower.linear(
        f"{inside}{qkv}", hidden, parts,
        bias=bias if qkv_bias is None else qkv_bias, fused=fused, lora=qkv_lora, **column, **common,
    )  # fmt: skip
    tower.linear(f"{inside}{output}", width, hidden, bias=bias, **row, **common)
    if mlp_quantized is not None:
        common["quantized"] = mlp_quantized
    common["bias"] = bias if mlp_bias is None else mlp_bias
    ups = (inner, inner) if gated else inner
    inside = f"{layer}.{mlp}." if mlp else f"{layer}."
    tower.linear(f"{inside}{up}", hidden, ups, fused=gate_parts if gated else (), **column, **common)
    tower.linear(f"{inside}{down}", inner, hidden, **row, **common)
    for norm in norms:
        tower.norm(f"{layer}.{norm}", hidden, layers=layers, bias=norm_bias)


def add_patches(
    tower: Builder, name: str, vision: Config, hidden: int, *, bias: bool = True, frames: int = 0
) -> tuple[int, int]:
    """
    The convolution over patches; returns patches along a side and the patch size.

    Args:
        frames: Images that one patch covers; 0: it has no such axis.
    """
    image, patch = square(vision, "image_size"), square(vision, "patch_size")
    channels = vision.integer("num_channels", "in_channels", default=3, maximum=2**10)
    if patch > image:
        raise vision.refuse("patch_size", f"at most image_size ({image})")
    depth = (frames,) if frames else ()
    tower.parameter(f"{name}.weight", hidden, channels, *depth, patch, patch)
    if bias:
        tower.parameter(f"{name}.bias", hidden)
    return image // patch, patch


def square(config: Config, key: str) -> int:
    """
    A side length, which some configs write as [height, width].
    """
    value = config.data.get(key)
    if isinstance(value, (list, tuple)) and len(value) == 2 and value[0] == value[1]:
        config = config.changed(**{key: value[0]})
    return config.required(key, maximum=MAX_SIDE)


def feature_layers(config: Config, key: str, num_layers: int) -> int:
    """
    Layers that must run for the features that the projector takes: the deepest of them.

    Source: vLLM 0.33 ``model_executor/models/vision.py:get_layer_index``, ``llava.py:_get_num_hidden_layers``.
    """
    value = config.data.get(key)
    wanted = config.integers(key, minimum=-MAX_LAYERS, maximum=MAX_LAYERS) if isinstance(value, list) else None
    if wanted is None:
        wanted = [config.integer(key, default=-1, minimum=-MAX_LAYERS, maximum=MAX_LAYERS)]
    if not wanted:
        raise config.refuse(key, "a layer or a list of layers")
    deepest = max(at + num_layers + 1 if at < 0 else at for at in wanted)
    if not 0 < deepest <= num_layers:
        raise config.refuse(key, f"a layer from -{num_layers} to {num_layers}")
    return deepest


def add_encoder(
    builder: Builder,
    modality: str,
    vit: Vit,
    hidden: int,
    *,
    tokens: int,
    positions: int | None = None,
    step: int = 0,
    older: int = 0,
) -> None:
    """
    What profiling knows of a modality.

    Args:
        hidden: Width of the decoder.

        tokens: Embeddings of the largest item.

        positions: That the encoder works through for it.

        step: Embeddings of the parts by which an item is shortened to fit the context; 0: it is not.

        older: See `Encoder.older_tokens`.
    """
    positions = vit.positions if positions is None else positions
    builder.encoders.append(
        Encoder(
            modality=modality,
            max_tokens_per_item=tokens,
            hidden_size=hidden,
            patches_per_token=max(1, positions // tokens) if tokens else 1,
            width=vit.hidden,
            intermediate_size=vit.intermediate,
            num_heads=vit.num_heads,
            step_tokens=step,
            older_tokens=older,
        )
    )
