"""
Laws of the KV cache: blocks, groups and the answers derived from them.
"""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.strategies import SIXTEEN, cache_layers, cache_settings, compressed_layers, full_layers
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.cache_pages import CacheSettings, Page, attention_token_bytes, build_pages
from vllm_sizing.sizing.defaults import rules_for
from vllm_sizing.sizing.kv_cache import cache_layout, make_groups
from vllm_sizing.specs.model import SlidingWindow

RULES = rules_for((0, 33, 0))


def layout_of(layers, settings, stages=1):
    number = 1 + max(layer for kind in layers for layer in kind.layers)
    return cache_layout(layers, number, min(stages, number), settings, SIXTEEN, RULES)


@given(full_layers(), cache_settings(), st.integers(1, 1_000_000))
def test_rounding_to_blocks_wastes_less_than_one_block(layer, settings, num_tokens):
    """
    With full attention, paged KV takes less than one block more than needed.
    """
    cache = layout_of((layer,), settings)
    exact = num_tokens * attention_token_bytes(layer, settings) * len(layer.layers)
    paged = cache.blocks_per_request(num_tokens, 0) * cache.bytes_per_block[0]
    assert exact <= paged < exact + cache.bytes_per_block[0]


@given(cache_layers(), cache_settings())
def test_every_layer_is_in_exactly_one_group(layers, settings):
    pages, _ = build_pages(layers, settings, SIXTEEN)
    grouped = sorted(layer for group in make_groups(pages, RULES) for page in group.pages for layer in page.layers)
    assert grouped == sorted(layer for kind in layers for layer in kind.layers)


@given(cache_layers(), cache_settings())
def test_groups_share_one_page_size(layers, settings):
    """
    Any group can use any block: pages are equal wherever there are several groups, unless they are packed.
    """
    cache = layout_of(layers, settings)
    if len(cache.groups) > 1 and not any(page.packed for group in cache.groups for page in group.pages):
        assert len({page.num_bytes for group in cache.groups for page in group.pages}) == 1


@given(full_layers().flatmap(lambda full: compressed_layers(full.layers)), cache_settings())
def test_packed_groups_are_no_wider_than_the_widest_bucket(layers, settings):
    """
    Splitting a bucket never widens the block, and layers of one group have one page each.
    """
    cache = layout_of(layers, settings)
    pages, _ = build_pages(layers, settings, SIXTEEN)
    whole = {}
    for page in pages:
        key = (page.family, page.span, page.block_size)
        whole[key] = whole.get(key, 0) + page.num_bytes * len(page.layers)
    assert max(page.num_bytes for page in pages) <= cache.bytes_per_block[0] <= max(whole.values())


@given(cache_layers(), cache_settings(), st.integers(1, 200_000), st.integers(0, 16384))
def test_longer_requests_never_take_fewer_blocks(layers, settings, num_tokens, in_flight):
    cache = layout_of(layers, settings)
    assert cache.blocks_per_request(num_tokens, in_flight) <= cache.blocks_per_request(num_tokens + 1, in_flight)


@given(cache_layers(), cache_settings(), st.integers(0, 5000), st.integers(0, 16384), st.integers(1, 131072))
def test_the_longest_request_is_maximal(layers, settings, num_blocks, in_flight, limit):
    """
    It fits, and one token more does not (or is over the limit).
    """
    cache = layout_of(layers, settings)
    longest = cache.longest(num_blocks, in_flight, limit)
    assert 0 <= longest <= limit
    if longest:
        assert cache.blocks_per_request(longest, in_flight) <= num_blocks
    if longest < limit:
        assert cache.blocks_per_request(longest + 1, in_flight) > num_blocks


@given(cache_layers(), cache_settings(), st.integers(0, 2**36), st.integers(0, 2**30))
def test_more_memory_never_gives_fewer_blocks(layers, settings, available, more):
    cache = layout_of(layers, settings)
    few, many = cache.num_blocks((available,)), cache.num_blocks((available + more,))
    assert few <= many
    assert few * cache.bytes_per_block[0] <= available < (few + 1) * cache.bytes_per_block[0]


@given(cache_layers(), cache_settings(tensor=1), st.integers(2, 4))
def test_stages_hold_every_layer_of_every_group(layers, settings, stages):
    """
    The layers of a group are cut among the stages, none is lost.
    """
    whole, split = layout_of(layers, settings), layout_of(layers, settings, stages)
    assert whole.groups == split.groups
    assert sum(split.bytes_per_block) >= whole.bytes_per_block[0]
    assert max(split.bytes_per_block) <= whole.bytes_per_block[0]


@given(full_layers(), cache_settings(tensor=1), st.sampled_from((2, 4, 8, 16)))
def test_kv_heads_are_copied_beyond_their_number(layer, settings, tensor):
    """
    More ranks halve a rank's cache until one head is left, then nothing changes.
    """
    alone = attention_token_bytes(layer, settings)
    spread = attention_token_bytes(layer, attrs.evolve(settings, tensor=tensor))
    assert spread * min(tensor, layer.num_kv_heads) == alone


@given(st.lists(st.tuples(st.integers(1, 24), st.integers(1, 4)), min_size=1, max_size=4))
def test_states_of_every_size_share_one_page(kinds):
    """
    Equal states are one group, unequal ones are padded to the largest: ``MambaSpec.is_uniform_with_collection``.
    """
    starts = [sum(number for number, _ in kinds[:kind]) for kind in range(len(kinds))]
    pages = tuple(
        Page(
            family="mamba", kind=f"state {kind}", layers=tuple(range(start, start + number)), block_size=16,
            num_bytes=1024 * size, geometry=(kind,), fixed_blocks=1, sharded=False,
        )
        for kind, (start, (number, size)) in enumerate(zip(starts, kinds, strict=True))
    )  # fmt: skip
    groups = make_groups(pages, RULES)
    sizes = {size for _, size in kinds}
    assert {page.num_bytes for group in groups for page in group.pages} == {1024 * max(sizes)}
    assert (len(groups) == 1) is (len(sizes) == 1)


@pytest.mark.parametrize(
    ("num_bytes", "paddable", "refusing", "since", "way_out"),
    [
        (1024, True, (0, 11, 2), (0, 12, 0), "take 0.12.0 or later"),
        (1536, True, (0, 23, 0), (0, 24, 0), "take 0.24.0 or later"),
        (1536, False, (0, 33, 0), None, "choose another kv_cache_dtype"),
    ],
)
def test_unequal_pages_need_a_release_that_evens_them(num_bytes, paddable, refusing, since, way_out):
    """
    Larger blocks where the bytes divide, padding since 0.24 where they do not, never for latent attention.
    """
    full = Page(family="full", kind="full_attention", layers=(0, 1), block_size=16, num_bytes=2048)
    other = Page(
        family="window", kind="x", layers=(2, 3), block_size=16, num_bytes=num_bytes, span=8, paddable=paddable
    )
    with pytest.raises(UnsupportedError, match=way_out) as caught:
        make_groups((full, other), rules_for(refusing))
    assert (caught.value.field, caught.value.value) == ("vllm_version", refusing)
    if since:
        groups = make_groups((full, other), rules_for(since))
        assert [(page.num_bytes, page.block_size) for group in groups for page in group.pages] == [
            (2048, 16),
            (2048, 16 if 2048 % num_bytes else 16 * 2048 // num_bytes),
        ]


@given(st.lists(st.integers(16, 64), min_size=1, max_size=3))
def test_windows_alone_are_one_kind_of_cache_only_if_they_are_equal(spans):
    """
    Without full attention nothing is promoted: ``_promote_local_kv_cache_specs``.
    """
    layers = tuple(
        SlidingWindow(layers=(number,), window=span, num_kv_heads=1, head_size=64, head_size_v=64)
        for number, span in enumerate(spans)
    )
    settings = CacheSettings(
        tensor=1, kv_cache_dtype="bfloat16", model_dtype="bfloat16", conv_dtype="bfloat16", disable_hybrid=True
    )
    if len(set(spans)) == 1:
        assert len(layout_of(layers, settings).groups) == 1
    else:
        with pytest.raises(UnsupportedError, match="leave it unset"):
            layout_of(layers, settings)
