"""
Laws of the weights: nothing is lost, nothing is counted twice.
"""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.property.strategies import TENSOR_SIZES, dense_models
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.sizing.layout import Layout, part_on_rank, stage_bounds
from vllm_sizing.sizing.weights import Loading, local_shape, scheme_bytes, stage_weights, tensor_bytes
from vllm_sizing.specs.model import Part
from vllm_sizing.specs.quantization import ONE, PARTS, Extra, Scheme

LOADING = Loading(dtype="bfloat16")


@given(dense_models(), st.sampled_from(TENSOR_SIZES))
def test_divided_tensors_are_conserved_over_ranks(model, tensor_size):
    """
    What is divided, put together again, is the whole tensor (the vocabulary with its padding).
    """
    for tensor in model.tensors:
        whole = tensor_bytes(tensor, Layout(tensor=1), LOADING)
        share = tensor_bytes(tensor, Layout(tensor=tensor_size), LOADING)
        copied = any(0 < part.units < tensor_size for part in tensor.shard.parts)
        if tensor.shard.axis is None:
            assert share == whole
        elif copied:
            assert share * tensor_size >= whole
        else:
            assert share * tensor_size == whole


@given(dense_models(), st.integers(1, 8))
def test_layers_are_conserved_over_pipeline_stages(model, stages):
    """
    Every decoder layer lives on exactly one stage; only ends and tables are held twice.
    """
    stages = min(stages, model.num_layers)
    single = stage_weights(model, Layout(), LOADING)[0].num_bytes
    split = stage_weights(model, Layout(pipeline=stages), LOADING)
    twice = sum(
        tensor_bytes(tensor, Layout(), LOADING) * (stages - 1 if tensor.stage == "all" else 1)
        for tensor in model.tensors
        if not tensor.layers and tensor.stage in ("all", "ends") and stages > 1
    )
    assert sum(stage.num_bytes for stage in split) == single + twice


@given(dense_models())
def test_more_ranks_never_hold_more(model):
    """
    Weights per rank fall, or stay, as ranks are added.
    """
    sizes = [stage_weights(model, Layout(tensor=size), LOADING)[0].num_bytes for size in TENSOR_SIZES]
    assert sizes == sorted(sizes, reverse=True)


@given(dense_models())
def test_parts_of_the_picture_sum_to_the_whole(model):
    stage = stage_weights(model, Layout(), LOADING)[0]
    assert sum(amount for _, amount in stage.parts) == stage.num_bytes


@given(st.integers(1, 1000), st.integers(1, 64))
def test_stages_cover_the_layers_in_order(layers, stages):
    """
    No layer is left out; the last stage never holds more than another.
    """
    stages = min(layers, stages)
    bounds = stage_bounds(layers, stages)
    sizes = [end - start for start, end in bounds]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == layers
    assert all(before[1] == after[0] for before, after in itertools.pairwise(bounds))
    assert max(sizes) - min(sizes) <= 1
    assert sizes[-1] == min(sizes)


@given(st.sampled_from((1, 2, 4, 8, 16, 32)), st.sampled_from((1, 2, 4, 8, 16, 32)), st.integers(1, 256))
def test_heads_are_split_or_copied_whole(units, ranks, width):
    """
    A rank holds whole heads: its share, or one.
    """
    rows = part_on_rank(Part(units * width, units=units), ranks, "heads")
    assert rows == max(1, units // ranks) * width


@given(
    st.integers(1, 4096),
    st.integers(1, 4096),
    st.sampled_from((4, 8, 16)),
    st.sampled_from((ONE, PARTS, 1, 16, 128)),
    st.sampled_from((ONE, 1, 16, 128)),
)
def test_scheme_bytes_grow_with_the_matrix(rows, cols, bits, per_rows, per_cols):
    """
    A larger matrix is never stored in fewer bytes, and scales never vanish.
    """
    scheme = Scheme(
        name="x",
        method="x",
        weight_bits=bits,
        extras=(Extra(name="scale", rows=per_rows, cols=per_cols, partial=True),),
    )
    size = scheme_bytes(scheme, rows, cols, num_parts=2)
    assert size > rows * cols * bits // 8
    assert scheme_bytes(scheme, rows + 1, cols, num_parts=2) >= size
    assert scheme_bytes(scheme, rows, cols + 1, num_parts=2) >= size


@given(dense_models(), st.sampled_from(TENSOR_SIZES))
def test_shapes_keep_their_rank(model, tensor_size):
    for tensor in model.tensors:
        assert len(local_shape(tensor, tensor_size, 1)) == len(tensor.shape)


@given(
    st.integers(1, 64), st.integers(1, 64), st.integers(1, 4096), st.sampled_from((1, 2, 3, 4, 8, 16)), st.booleans()
)
def test_units_are_never_split(units, rows, least, tensor, copied):
    """
    Ranks hold equal whole units, copies beyond their number, or the size is refused with its divisors.
    """
    part = Part(units * rows, units=units, copied=copied, least=min(least, rows))
    try:
        held = part_on_rank(part, tensor, "heads")
    except UnsupportedError as error:
        assert units % tensor
        assert tensor % units or not copied
        assert error.field == "tensor_parallel_size"  # noqa: PT017
        return
    assert held == rows * max(1, units // tensor)
