"""
Bytes of GGUF checkpoints: those of the file, and what vLLM adds.
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vllm_sizing as vs
from tests.gguf_file import SIZES, gguf_bytes, metadata_of, stored_bytes, tensors_of
from vllm_sizing.architectures.formats.gguf import BLOCKS, ggml_scheme
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.sizing.storage import scheme_bytes
from vllm_sizing.sizing.weights import Loading, weights_of
from vllm_sizing.sources.gguf import gguf_facts, parse_gguf

PACKED = st.sampled_from(["Q4_0", "Q8_0", "Q4_K", "Q6_K", "IQ4_XS"])
EITHER = st.sampled_from(["Q4_K", "Q8_0", "F16", "BF16"])
KINDS = st.sampled_from(["llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma3", "phi3"])
# Stored as float32 or 16 bits, kept in the model's 16-bit dtype.
PLAIN = ("F32", "F16", "BF16")


def model_of(kind, tensors):
    facts = gguf_facts(parse_gguf(gguf_bytes(metadata_of(kind), tensors), where="x"), name="x", where="x")
    return vs.model_from_config(facts.config)


def weights(model, tensor=1):
    kept = tuple(at for at in model.tensors if at.role != "buffer")
    return weights_of(kept, model.num_layers, Layout(tensor=tensor), Loading(dtype="bfloat16"))[0].num_bytes


def expected(kind, tensors):
    """
    The file's bytes; plain matrices in 16 bits, fused parts as wide as the widest, a byte for each part's type.
    """
    total = 0
    for name, (stored, shape) in tensors.items():
        total += 2 * math.prod(shape) if stored in PLAIN else stored_bytes(stored, shape)
        part = name.split(".")[-2]
        if stored in PLAIN or part.endswith("_exps"):
            continue
        total += {"attn_qkv": 3}.get(part, 2 if kind == "phi3" and part == "ffn_up" else 1)
        if part in ("attn_q", "attn_k", "attn_v"):
            fellows = [tensors[name.replace(part, other)][0] for other in ("attn_q", "attn_k", "attn_v")]
            total += max(stored_bytes(at, shape) for at in fellows) - stored_bytes(stored, shape)
    return total


@given(KINDS, PACKED, PACKED, PACKED, EITHER, EITHER)
def test_planned_bytes_are_those_of_the_file_and_what_vllm_adds(kind, linear, value, down, embed, head):
    if kind in ("llama", "phi3"):
        embed = linear
    tensors = tensors_of(kind, linear=linear, value=value, down=down, embed=embed, head=head)

    assert weights(model_of(kind, tensors)) == expected(kind, tensors)


@given(KINDS, PACKED, PACKED)
def test_two_ranks_hold_no_less_than_one(kind, linear, down):
    if kind in ("qwen2", "phi3", "qwen2moe", "qwen3moe"):
        linear, down = "Q8_0", "Q8_0"  # Their shares are no whole blocks of 256.
    model = model_of(kind, tensors_of(kind, linear=linear, down=down))

    assert weights(model) <= 2 * weights(model, 2) <= weights(model) * 1.05


def test_layers_of_one_file_differ_in_type():
    tensors = tensors_of() | {"blk.1.ffn_down.weight": ("Q4_K", (SIZES["hidden"], SIZES["width"]))}

    found = {at.layers: at.scheme.name for at in model_of("llama", tensors).tensors if "down_proj" in at.name}

    assert found == {(0,): "Q6_K", (1,): "Q4_K"}


def test_experts_have_two_bytes_of_types_per_layer():
    model = model_of("qwen3moe", tensors_of("qwen3moe"))

    (types,) = [at for at in model.tensors if at.name.endswith("experts.types")]
    assert (types.shape, types.layers) == ((2,), (0, 1))


def test_blocks_of_the_first_matrix_of_experts_lie_along_its_inputs():
    model = model_of("qwen3moe", tensors_of("qwen3moe", down="Q8_0", linear="Q4_K", experts=96))

    assert weights(model) == expected("qwen3moe", tensors_of("qwen3moe", down="Q8_0", experts=96))


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_scheme_stores_whole_blocks(name):
    block, num_bytes = BLOCKS[name]

    assert scheme_bytes(ggml_scheme(name, parts=1), 7, 512) == 7 * 512 // block * num_bytes
    assert scheme_bytes(ggml_scheme(name), 7, 512, num_parts=3) == 7 * 512 // block * num_bytes + 3


def test_experts_of_unfit_width_are_refused_at_the_rank_that_splits_a_block():
    model = model_of("qwen3moe", tensors_of("qwen3moe", value="Q8_0", down="Q6_K"))

    with pytest.raises(vs.SizingError, match="share a scale by 256"):
        weights(model, 2)


# Bytes of all parameters of rank 0, as vLLM 0.23.0's own GGUFModelLoader leaves them on a CPU (transformers 5.20.2;
# for the experts with the loader's list of unmapped names widened to what transformers 5 calls them).
@pytest.mark.parametrize(
    ("kind", "ranks", "num_bytes"),
    [
        ("llama", 1, 1_203_344), ("llama", 2, 602_960), ("qwen2", 1, 916_624), ("qwen3", 1, 1_204_368),
        ("gemma3", 1, 1_139_215), ("qwen2moe", 1, 1_941_652), ("qwen3moe", 1, 1_718_414), ("phi3", 1, 12_084_368),
    ],
)  # fmt: skip
def test_parameters_are_those_of_vllm(monkeypatch, kind, ranks, num_bytes):
    if kind == "phi3":
        monkeypatch.setitem(SIZES, "vocab", 32_064)
    model = model_of(kind, tensors_of(kind, head=None if kind == "gemma3" else "Q6_K"))
    types = sum(2 * len(at.layers) for at in model.tensors if at.name.endswith("experts.types"))

    assert weights(model, ranks) + types == num_bytes
