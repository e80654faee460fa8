"""
From pages to blocks, tokens and concurrency.

Source: vLLM 0.33 ``v1/core/kv_cache_planning.py``, ``kv_cache_utils.py``; earlier releases through
`defaults.Rules`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

import attrs

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.attention import AttentionChoice
from vllm_sizing.sizing.cache_pages import CacheSettings, Page, build_pages
from vllm_sizing.sizing.defaults import Rules
from vllm_sizing.sizing.layout import stage_bounds
from vllm_sizing.specs.model import CacheLayer
from vllm_sizing.specs.value import Value
from vllm_sizing.units import ceil_div, round_up


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Group(Value):
    """
    Layers that share a block table.

    Attributes:
        pages: One entry per distinct page; several only where all grow alike.
    """

    pages: tuple[Page, ...]

    @property
    def num_layers(self) -> int:
        """
        Layers of the whole model in this group.
        """
        return sum(len(page.layers) for page in self.pages)

    def bytes_on(self, start: int, end: int) -> int:
        """
        Bytes of one block for the layers from start to end.
        """
        return sum(
            page.num_bytes * (bisect_left(page.layers, end) - bisect_left(page.layers, start)) for page in self.pages
        )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CacheLayout(Value):
    """
    How the cache of one deployment is organised.

    Attributes:
        block_size: As vLLM logs it.

        groups: Each claims its own blocks from one pool.

        bytes_per_block: Of each pipeline stage.

        alike: One of the groups that take equally many blocks, and how many there are.
    """

    block_size: int
    groups: tuple[Group, ...]
    bytes_per_block: tuple[int, ...]
    decode_context: int = 1
    alike: tuple[tuple[Group, int], ...] = attrs.field(
        init=False, default=attrs.Factory(lambda self: _alike(self.groups), takes_self=True)
    )

    def blocks_per_request(self, num_tokens: int, in_flight: int) -> int:
        """
        Blocks that one request of so many tokens takes from the pool.
        """
        return sum([self.group_blocks(group, num_tokens, in_flight) * number for group, number in self.alike])

    def group_blocks(self, group: Group, num_tokens: int, in_flight: int) -> int:
        """
        The same for one group.
        """
        return max(page.blocks_for(num_tokens, in_flight, self.decode_context) for page in group.pages)

    def num_blocks(self, available_bytes: tuple[int, ...]) -> int:
        """
        Blocks that all pipeline stages can hold; 0 if a stage has nothing left.
        """
        if not self.groups:
            return 1
        return max(
            0,
            min(
                available // size for available, size in zip(available_bytes, self.bytes_per_block, strict=True) if size
            ),
        )

    def longest(self, num_blocks: int, in_flight: int, limit: int) -> int:
        """
        The longest request that fits into so many blocks, at most limit; 0 if none does.
        """
        if not self.groups or (whole := self.blocks_per_request(limit, in_flight)) <= num_blocks:
            return limit
        low, fewest, high, most = 0, 0, limit, whole
        for _ in range(_GUESSES):
            # Blocks grow almost in proportion: a layer that keeps every token by one for each block.
            length = round_up(low + (high - low) * (num_blocks - fewest) // (most - fewest), self.block_size)
            for guess in (length, length + 1):
                if low < guess < high:
                    blocks = self.blocks_per_request(guess, in_flight)
                    if blocks <= num_blocks:
                        low, fewest = guess, blocks
                    else:
                        high, most = guess, blocks
        while low < high - 1:
            middle = (low + high) // 2
            if self.blocks_per_request(middle, in_flight) <= num_blocks:
                low = middle
            else:
                high = middle
        return low


_GUESSES = 3  # Windows fill up at the beginning; after that the growth is even.


def _alike(groups: tuple[Group, ...]) -> tuple[tuple[Group, int], ...]:
    found: dict[object, tuple[Group, int]] = {}
    for group in groups:
        key = tuple((page.family, page.span, page.block_size, page.fixed_blocks, page.sharded) for page in group.pages)
        found[key] = (group, found.get(key, (group, 0))[1] + 1)
    return tuple(found.values())


@lru_cache(maxsize=512)
def cache_layout(
    layers: tuple[CacheLayer, ...],
    num_layers: int,
    num_stages: int,
    settings: CacheSettings,
    choice: AttentionChoice,
    rules: Rules,
) -> CacheLayout:
    """
    Pages, groups and block bytes.

    Raises:
        UnsupportedError: vLLM would refuse to start.
    """
    pages, block_size = build_pages(layers, settings, choice)
    if settings.decode_context > 1 and any(page.family in ("window", "mla_window", "chunk") for page in pages):
        message = (
            f"decode_context_parallel_size is {settings.decode_context}, "
            "which vLLM does not support for sliding windows; leave it at 1"
        )
        raise UnsupportedError(message, field="decode_context_parallel_size", value=settings.decode_context)
    disable_hybrid = settings.disable_hybrid or (
        not rules.chunked_local_hybrid and any(page.family == "chunk" for page in pages)
    )
    groups = make_groups(_promoted(pages) if disable_hybrid and pages else pages, rules)
    bounds = [(start, end) for start, end in stage_bounds(num_layers, num_stages)]
    # Draft layers come after the decoder's own and live on the last stage.
    bounds[-1] = (bounds[-1][0], 2**40)
    stride = math.lcm(*(page.stride for group in groups for page in group.pages))
    return CacheLayout(
        block_size=block_size,
        groups=groups,
        bytes_per_block=tuple(
            round_up(max((group.bytes_on(*bound) for group in groups), default=0), stride) for bound in bounds
        ),
        decode_context=settings.decode_context,
    )


def make_groups(pages: tuple[Page, ...], rules: Rules) -> tuple[Group, ...]:
    """
    vLLM's grouping of layers: ``get_kv_cache_groups``.
    """
    if not pages:
        return ()
    pages = _merged(pages)
    if _uniform(pages):
        return (Group(pages=pages),)
    if any(page.packed for page in pages) and len({page.num_bytes for page in pages}) > 1:
        return _packed(pages)
    pages = _merged(_unified(pages, rules))
    counts = [len(page.layers) for page in pages]
    smallest, largest = min(counts), max(counts)
    size = largest if largest < smallest * rules.group_size_ratio else smallest
    groups = []
    for page in pages:
        number = ceil_div(len(page.layers), size)
        # Every n-th layer, so that each pipeline stage gets its share of every group.
        groups += [Group(pages=(attrs.evolve(page, layers=page.layers[i::number]),)) for i in range(number)]
    return tuple(groups)


def _packed(pages: tuple[Page, ...]) -> tuple[Group, ...]:
    """
    Groups of unequal pages, which lie side by side in a block: ``_get_packed_kv_cache_groups``.

    Layers that grow alike are a bucket; one whose page sizes have equally many layers can be split, so
    that the groups are about as large as the largest bucket that cannot.
    """
    buckets: list[list[Page]] = []
    for page in pages:
        for bucket in buckets:
            if _uniform((*bucket, page)):
                bucket.append(page)
                break
        else:
            buckets.append([page])
    counts = [_layers_by_size(bucket) for bucket in buckets]
    balanced = [len(set(count.values())) == 1 for count in counts]
    even = [max(count.values()) for count, whole in zip(counts, balanced, strict=True) if whole]
    floor = max((max(count.values()) for count, whole in zip(counts, balanced, strict=True)
                 if whole and len(count) > 1), default=0)  # fmt: skip
    size = _closest(even, floor) if floor else 0
    groups = []
    for bucket, count, whole in zip(buckets, counts, balanced, strict=True):
        number = ceil_div(max(count.values()), size) if whole and size else 1
        groups += [
            Group(pages=tuple(attrs.evolve(page, layers=page.layers[i::number]) for page in bucket))
            for i in range(number)
        ]
    return tuple(groups)


def _layers_by_size(pages: list[Page]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for page in pages:
        counts[page.num_bytes] = counts.get(page.num_bytes, 0) + len(page.layers)
    return counts


def _closest(counts: list[int], least: int) -> int:
    """
    The group size, at least ``least``, that pads all counts least; the larger of two: ``_approximate_gcd``.
    """
    return min(range(least, max(counts) + 1), key=lambda size: (sum(-count % size for count in counts), -size))


def _identity(page: Page) -> tuple[object, ...]:
    return (
        page.family, page.span, page.block_size, page.num_bytes, page.geometry, page.fixed_blocks, page.sharded
    )  # fmt: skip


def _merged(pages: tuple[Page, ...]) -> tuple[Page, ...]:
    found: dict[tuple[object, ...], Page] = {}
    for page in pages:
        key = _identity(page)
        if key in found:
            found[key] = attrs.evolve(found[key], layers=tuple(sorted(found[key].layers + page.layers)))
        else:
            found[key] = page
    return tuple(found.values())


def _uniform(pages: tuple[Page, ...]) -> bool:
    """
    Whether all layers always need the same number of token slots.
    """
    first = pages[0]
    if any(page.block_size != first.block_size or page.sharded != first.sharded for page in pages):
        return False
    if first.family == "mamba":
        return all(page.family == "mamba" and page.num_bytes == first.num_bytes for page in pages)
    return all(page.family == first.family and page.span == first.span for page in pages)


def _promoted(pages: tuple[Page, ...]) -> tuple[Page, ...]:
    """
    Windows and chunks as full attention: ``_promote_local_kv_cache_specs``.
    """
    if _uniform(pages):
        return pages
    if any(page.family == "full" for page in pages):
        pages = tuple(
            attrs.evolve(page, family="full", kind="full_attention", span=0)
            if page.family in ("window", "chunk")
            else page
            for page in pages
        )
    if not _uniform(pages):
        message = (
            "disable_hybrid_kv_cache_manager is True, but vLLM cannot keep this model's layers in one kind of cache; "
            "leave it unset"
        )
        raise UnsupportedError(message, field="disable_hybrid_kv_cache_manager", value=True)
    return pages


def _unified(pages: tuple[Page, ...], rules: Rules) -> tuple[Page, ...]:
    """
    Equal page bytes for all kinds: ``unify_kv_cache_spec_page_size``.
    """
    largest = max(page.num_bytes for page in pages)
    unified = []
    for page in pages:
        if page.num_bytes == largest:
            unified.append(page)
        elif page.family == "mamba":
            unified.append(attrs.evolve(page, num_bytes=largest))
        elif largest % page.num_bytes == 0 and rules.unify_pages:
            ratio = largest // page.num_bytes
            unified.append(attrs.evolve(page, num_bytes=largest, block_size=page.block_size * ratio))
        elif page.paddable and rules.pad_attention_pages:
            unified.append(attrs.evolve(page, num_bytes=largest))
        else:
            known = "take 0.12.0 or later" if largest % page.num_bytes == 0 else "take 0.24.0 or later"
            message = (
                f"vllm_version is {'.'.join(map(str, rules.version))}, which cannot give this model's cache layers "
                f"pages of one size ({page.num_bytes:,} and {largest:,} bytes); "
                f"{known if page.paddable else 'choose another kv_cache_dtype or leave the draft out'}"
            )
            raise UnsupportedError(message, field="vllm_version", value=rules.version)
    return tuple(unified)
