"""
One layer's page: what a block of tokens (or a request's state) takes on one rank.

Source: vLLM 0.33 ``v1/kv_cache_interface.py`` and the backends' ``customize_spec``.
"""

from __future__ import annotations

import math

import attrs

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.attention import TURBOQUANT, AttentionChoice
from vllm_sizing.sizing.kv_formats import head_token_bytes, mla_token_bytes
from vllm_sizing.sizing.layout import part_on_rank
from vllm_sizing.specs.model import (
    CacheLayer,
    ChunkedLocal,
    CompressedMla,
    ConvWindow,
    CrossAttention,
    FullAttention,
    IndexKeys,
    MlaAttention,
    Part,
    RecurrentState,
    SlidingWindow,
)
from vllm_sizing.specs.value import Value
from vllm_sizing.units import DTYPE_BYTES, ceil_div, round_up


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CacheSettings(Value):
    """
    What decides pages and needs beside the model.

    Attributes:
        kv_cache_dtype: Resolved: never ``auto``.

        block_size: The user's, None to let vLLM choose.

        speculative_tokens: Lengthen recurrent states and add pages.

        aligned_states: Recurrent states are kept for prefix caching (``mamba_cache_mode=align``).

        checkpoint_alignment: Tokens between states that prefill can export; 0: it cannot.

        encoder_tokens: That vLLM reserves for the encoder's output of a request, for cross attention.
    """

    tensor: int
    decode_context: int = 1
    kv_cache_dtype: str
    model_dtype: str
    conv_dtype: str
    ssm_dtype: str | None = None
    block_size: int | None = None
    speculative_tokens: int = 0
    aligned_states: bool = False
    checkpoint_alignment: int = 0
    state_blocks: int = 1
    disable_hybrid: bool = False
    encoder_tokens: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Page(Value):
    """
    A page and the layers that have it.

    Attributes:
        family: Layers of one family can share a block table: ``full``, ``window``, ``chunk``,
            ``mamba``, ``mla_window``, ``cross``.

        num_bytes: Of one page, padding included.

        geometry: What else must be equal for layers to be interchangeable.

        span: Window or chunk length in tokens.

        fixed_blocks: Pages of one request where their number does not depend on its length.

        sharded: Context-parallel decode divides its tokens.

        paddable: Its page may be padded to a larger one.

        packed: Pages of all sizes lie side by side in a block.

        stride: Bytes of a block are a multiple of it.
    """

    family: str
    kind: str
    layers: tuple[int, ...]
    block_size: int
    num_bytes: int
    geometry: tuple[object, ...] = ()
    span: int = 0
    fixed_blocks: int = 0
    sharded: bool = True
    paddable: bool = True
    packed: bool = False
    stride: int = 1
    draft: bool = False

    def blocks_for(self, num_tokens: int, in_flight: int, decode_context: int, extra: int = 0) -> int:
        """
        Pages that one request of so many tokens holds at its peak.
        """
        family = self.family
        if family == "full":
            if decode_context > 1 and self.sharded:
                num_tokens = ceil_div(num_tokens, decode_context)
            return ceil_div(num_tokens, self.block_size)
        if self.fixed_blocks:
            return self.fixed_blocks
        if family == "chunk":
            return ceil_div(min(self.span + in_flight, num_tokens), self.block_size)
        # The window need not start at the beginning of a block.
        return ceil_div(min(self.span - 1 + extra + in_flight, num_tokens), self.block_size) + 1


def attention_token_bytes(layer: FullAttention, settings: CacheSettings) -> int:
    """
    Bytes of one token of one layer on a rank.
    """
    heads = layer.num_kv_heads
    local = part_on_rank(Part(heads, units=heads), settings.tensor, "KV heads")
    return local * head_token_bytes(settings.kv_cache_dtype, layer.head_size, layer.head_size_v)


def state_bytes(layer: RecurrentState, settings: CacheSettings) -> int:
    """
    Bytes of one request's state of one layer on a rank.
    """
    total = 0
    for state in layer.states:
        columns = sum(part_on_rank(part, settings.tensor, f"{layer.kind} state") for part in state.columns)
        rows = state.rows + (settings.speculative_tokens if state.grows else 0)
        if state.dtype == "model":
            dtype = settings.conv_dtype
        elif state.dtype == "ssm":
            dtype = settings.ssm_dtype or layer.ssm_dtype or settings.conv_dtype
        else:
            dtype = state.dtype
        total += rows * columns * state.depth * DTYPE_BYTES[dtype]
    return total


def build_pages(
    layers: tuple[CacheLayer, ...], settings: CacheSettings, choice: AttentionChoice
) -> tuple[tuple[Page, ...], int]:
    """
    The pages of all cache layers, and the block size that vLLM settles on.
    """
    states = [layer for layer in layers if isinstance(layer, RecurrentState)]
    block_size, state_page = choice.block_size, 0
    if states:
        attention = [layer for layer in layers if isinstance(layer, (FullAttention, MlaAttention))]
        state_page = max(state_bytes(layer, settings) for layer in states)
        if attention and state_page:
            block_size, state_page = _aligned_block(attention[0], state_page, settings, choice)
    pages: list[Page] = []
    for layer in layers:
        if settings.kv_cache_dtype in TURBOQUANT and not states and isinstance(layer, FullAttention):
            edge = boundary_layers(layers)
            inner = tuple(number for number in layer.layers if number not in edge)
            outer = tuple(number for number in layer.layers if number in edge)
            plain = attrs.evolve(settings, kv_cache_dtype=settings.model_dtype)
            pages.extend(_pages_of(attrs.evolve(layer, layers=inner), settings, block_size, state_page))
            pages.extend(_pages_of(attrs.evolve(layer, layers=outer), plain, block_size, state_page))
        else:
            pages.extend(_pages_of(layer, settings, block_size, state_page))
    return tuple(page for page in pages if page.layers), block_size


def _aligned_block(
    layer: FullAttention | MlaAttention, state_page: int, settings: CacheSettings, choice: AttentionChoice
) -> tuple[int, int]:
    """
    Attention's block grows until its page holds a recurrent state; the state's page is padded to it.

    Source: ``platforms/interface.py:_align_hybrid_block_size``.
    """
    if isinstance(layer, MlaAttention):
        per_token = mla_token_bytes(settings.kv_cache_dtype, layer.head_size)
        step = max(choice.kernel_block, choice.block_size, 128)
    else:
        per_token = attention_token_bytes(layer, settings)
        step = max(choice.kernel_block, choice.block_size)
    if settings.aligned_states and settings.checkpoint_alignment:
        step = math.lcm(step, settings.checkpoint_alignment)
    block = max(choice.block_size, round_up(step * ceil_div(state_page, step * per_token), choice.kernel_block))
    return block, block * per_token


def boundary_layers(layers: tuple[CacheLayer, ...]) -> frozenset[int]:
    """
    Layers that keep the model's dtype beside TurboQuant: the first two and the last two.

    Source: ``quantization/turboquant/config.py:get_boundary_skip_layers``.
    """
    numbers = sorted({number for layer in layers for number in layer.layers})
    count = min(2, len(numbers) // 2)
    return frozenset(numbers[:count] + numbers[len(numbers) - count :])


def _pages_of(layer: CacheLayer, settings: CacheSettings, block_size: int, state_page: int) -> list[Page]:
    if isinstance(layer, RecurrentState):
        number = (2 if settings.aligned_states else 1) + settings.speculative_tokens + (settings.state_blocks - 1)
        size = max(state_page, state_bytes(layer, settings))
        return [
            Page(
                family="mamba", kind=layer.kind, layers=layer.layers, block_size=block_size, num_bytes=size,
                geometry=(layer.kind,), fixed_blocks=number, sharded=False,
            )
        ]  # fmt: skip
    if isinstance(layer, MlaAttention):
        return _mla_pages(layer, settings, block_size)
    if isinstance(layer, IndexKeys):
        size = block_size * layer.head_size * 2
        common = {"layers": layer.layers, "block_size": block_size, "num_bytes": size}
        return [Page(family="full", kind="sparse_indexer", geometry=("indexer", layer.head_size), **common)]  # type: ignore[arg-type]
    if isinstance(layer, CompressedMla):
        return [_compressed_page(layer, settings, block_size)]
    if isinstance(layer, ConvWindow):
        return [_conv_page(layer, settings)]
    size = block_size * attention_token_bytes(layer, settings)
    geometry = (layer.num_kv_heads, layer.head_size, layer.head_size_v, settings.kv_cache_dtype)
    common = {"layers": layer.layers, "block_size": block_size, "num_bytes": size, "geometry": geometry}
    if isinstance(layer, SlidingWindow):
        return [Page(family="window", kind="sliding_window", span=layer.window, **common)]  # type: ignore[arg-type]
    if isinstance(layer, ChunkedLocal):
        return [Page(family="chunk", kind="chunked_local_attention", span=layer.chunk, **common)]  # type: ignore[arg-type]
    if isinstance(layer, CrossAttention):
        number = ceil_div(settings.encoder_tokens, block_size)
        return [Page(family="cross", kind="cross_attention", fixed_blocks=number, **common)]  # type: ignore[arg-type]
    return [Page(family="full", kind="full_attention", **common)]  # type: ignore[arg-type]


def conv_token_bytes(layer: ConvWindow, settings: CacheSettings) -> int:
    """
    Bytes of one token's inputs of one layer on a rank.
    """
    part = Part(layer.num_units, units=layer.num_units, copied=False)
    return part_on_rank(part, settings.tensor, "convolution windows") * layer.width * 2


def _conv_page(layer: ConvWindow, settings: CacheSettings) -> Page:
    return Page(
        family="window", kind="sliding_window", layers=layer.layers, block_size=layer.window, span=layer.window,
        num_bytes=layer.window * conv_token_bytes(layer, settings), geometry=("conv", layer.num_units, layer.width),
    )  # fmt: skip


def _mla_pages(layer: MlaAttention, settings: CacheSettings, block_size: int) -> list[Page]:
    per_token = mla_token_bytes(settings.kv_cache_dtype, layer.head_size)
    pages = [
        Page(
            family="full", kind="mla_attention", layers=layer.layers, block_size=block_size,
            num_bytes=block_size * per_token, geometry=("mla", layer.head_size), paddable=False,
        )
    ]  # fmt: skip
    if layer.indexer_bytes_per_token:
        pages.append(
            Page(
                family="full", kind="sparse_indexer", layers=layer.indexer_layers or layer.layers,
                block_size=block_size, num_bytes=block_size * layer.indexer_bytes_per_token,
                geometry=("indexer", layer.indexer_bytes_per_token), paddable=False,
            )
        )  # fmt: skip
    return pages


def _compressed_page(layer: CompressedMla, settings: CacheSettings, block_size: int) -> Page:
    sizes = dict(layer.bytes_per_state)
    per_state = sizes.get(settings.kv_cache_dtype, sizes.get("", 0))
    if not per_state:
        word = settings.kv_cache_dtype
        message = f"kv_cache_dtype is {word}, which this model's {layer.name} cache cannot store; use auto or fp8"
        raise UnsupportedError(message, field="kv_cache_dtype", value=word)
    block = layer.block_size or block_size
    if block % layer.tokens_per_state:
        message = f"block_size is {block}; this model's {layer.name} cache needs a multiple of {layer.tokens_per_state}"
        raise UnsupportedError(message, field="block_size", value=block)
    size = _compressed_bytes(layer, block, per_state)
    # Kernels walk over pages of their own block in a larger one: kv_cache_interface.py:get_block_stride_alignment.
    kernel = block if layer.block_size else math.gcd(layer.kernel_block, block)
    family = "mla_window" if layer.window else "full"
    return Page(
        family=family, kind=layer.name, layers=layer.layers, block_size=block, num_bytes=size,
        geometry=(layer.name, per_state, layer.tokens_per_state), span=layer.window,
        paddable=False, packed=True, sharded=not layer.window,
        stride=1 if kernel == block else _compressed_bytes(layer, kernel, per_state),
    )  # fmt: skip


def _compressed_bytes(layer: CompressedMla, block: int, per_state: int) -> int:
    size = block // layer.tokens_per_state * per_state
    return round_up(size, layer.alignment) if layer.alignment else size
