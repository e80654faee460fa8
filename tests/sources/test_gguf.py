"""
GGUF files: the header's form, and the model that a file means.
"""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vllm_sizing as vs
from tests.gguf_file import SIZES, gguf_bytes, metadata_of, stored_bytes, tensors_of, text
from vllm_sizing.errors import ConfigError, SizingError, SourceError, UnknownArchitectureError
from vllm_sizing.sources import gguf
from vllm_sizing.sources.gguf import parse_gguf

KINDS = ("llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "phi3", "gemma3")


@pytest.fixture
def write(tmp_path):
    def written(metadata, tensors, name="tiny.gguf"):
        (tmp_path / name).write_bytes(gguf_bytes(metadata, tensors))
        return tmp_path / name

    return written


def message_of(call, *args, error=SizingError, **options):
    with pytest.raises(error) as caught:
        call(*args, **options)
    assert "\n" not in caught.value.message
    return caught.value.message


def header(tensors=0, keys=0, rest=b"", version=3):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + rest


# What is read


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_of_the_file_is_in_the_model(write, kind):
    tensors = tensors_of(kind)

    model = vs.load_model(write(metadata_of(kind), tensors))

    assert model.num_parameters == sum(math.prod(shape) for _, shape in tensors.values())
    assert model.checkpoint_bytes == sum(stored_bytes(*tensor) for tensor in tensors.values())
    assert (model.num_layers, model.vocab_size) == (SIZES["layers"], SIZES["vocab"])
    assert (model.quantization, model.max_model_len) == ("gguf", 4096)
    assert model.provenance[0].startswith("GGUF header: ")


def test_a_file_without_an_output_matrix_shares_its_embeddings(write):
    tied = vs.load_model(write(metadata_of("gemma3"), tensors_of("gemma3", head=None)))

    assert "tied_embeddings" in tied.traits
    assert not [tensor for tensor in tied.tensors if tensor.role == "lm_head"]


def test_vocabulary_of_the_metadata_counts_before_the_tokens(write):
    told = metadata_of(changed={"llama.vocab_size": 320, "tokenizer.ggml.tokens": ["one"]})

    assert vs.load_model(write(told, tensors_of())).vocab_size == 320


def test_tensors_that_vllm_does_not_load_are_left_out(write):
    more = tensors_of() | {"rope_freqs.weight": ("F32", (64,)), "blk.0.attn_rot_embd.weight": ("F32", (64,))}

    assert vs.load_model(write(metadata_of(), more)).num_parameters == sum(
        math.prod(shape) for _, shape in tensors_of().values()
    )


def test_a_long_header_is_read_on(write, monkeypatch):
    path = write(metadata_of(), tensors_of())
    monkeypatch.setattr(gguf, "FIRST_READ_BYTES", 1000)

    assert vs.load_model(path).vocab_size == 320


def test_arrays_keep_their_length_only():
    data = gguf_bytes({"a": [1, 2, 3], "b": ["x", "yy"], "c": True, "d": 0.5}, {})

    assert parse_gguf(data, where="x").metadata == {"a": {"length": 3}, "b": {"length": 2}, "c": True, "d": 0.5}


# What goes wrong


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "where GGUF stands"),
        (b"GGML" + bytes(40), "where GGUF stands"),
        (b"GGUF", "ends inside its header"),
        (header(version=1), "version 1 of"),
        (header(version=3 << 24), "numbers low byte first"),
        (header(tensors=2**40), "1,099,511,627,776 tensors"),
        (header(keys=2**40), "1,099,511,627,776 keys"),
        (header(keys=1, rest=struct.pack("<Q", 2**60)), "a string of"),
        (header(keys=1, rest=struct.pack("<Q", 9) + b"x"), "ends inside its header"),
        (header(keys=1, rest=text("k") + struct.pack("<I", 77)), "a value of type 77"),
        (header(keys=1, rest=text("k") + struct.pack("<IIQ", 9, 4, 2**50)), "an array of"),
        (header(keys=1, rest=text("k") + struct.pack("<IIQ", 9, 9, 1)), "values of type 9"),
        (header(keys=1, rest=text("k") + struct.pack("<IIQ", 9, 8, 5)), "ends inside its header"),
        (header(keys=1, rest=text("k") + struct.pack("<IIQQ", 9, 8, 1, 9)), "ends inside its header"),
        (header(tensors=1, rest=text("t") + struct.pack("<I", 5)), "5 axes"),
        (header(tensors=1, rest=text("t") + struct.pack("<IQIQ", 1, 8, 99, 0)), "unknown type 99"),
        (header(tensors=1, rest=text("t") + struct.pack("<IQIQ", 1, 2**60, 0, 0)), "of shape"),
        (header(tensors=2, rest=(text("t") + struct.pack("<IQIQ", 1, 8, 0, 0)) * 2), "twice"),
    ],
)
def test_damaged_headers(data, said):
    assert said in message_of(parse_gguf, data, where="x.gguf", error=SourceError)


def test_a_file_that_ends_early_is_refused(write):
    path = write(metadata_of(), tensors_of())
    data = path.read_bytes()
    path.write_bytes(data[:-5000])
    assert "its download is unfinished" in message_of(vs.load_model, path)

    path.write_bytes(data[:600])
    assert "ends inside its header" in message_of(vs.load_model, path)


@given(st.data())
def test_no_damage_gives_a_traceback(data):
    found = bytearray(gguf_bytes(metadata_of(), tensors_of())[:7000])
    for _ in range(data.draw(st.integers(1, 4))):
        found[data.draw(st.integers(0, len(found) - 1))] = data.draw(st.integers(0, 255))
    said = ""
    try:
        gguf.gguf_facts(parse_gguf(bytes(found), where="x"), name="x", where="x")
    except SizingError as error:
        said = error.message
    assert "\n" not in said


@pytest.mark.parametrize(
    ("kind", "changed", "said"),
    [
        ("llama", {"general.architecture": "mamba"}, "'mamba', which is not modelled in this format; known are llama"),
        ("llama", {"general.architecture": 7}, "must be a string"),
        ("llama", {"split.count": 3}, "llama-gguf-split --merge"),
        ("llama", {"llama.expert_count": 8}, "transformers reads no experts"),
        ("llama", {"llama.attention.head_count": [4, 4]}, "num_attention_heads"),
        ("llama", {"llama.embedding_length": 512}, "by the file's own metadata"),
        ("llama", {"llama.vocab_size": 321}, "tensor token_embd.weight has the shape (320, 256)"),
        ("llama", {"llama.feed_forward_length": 1024}, "ffn_"),
        ("llama", {"llama.block_count": 3}, "model.layers.2.self_attn.q_proj is missing from the file"),
        ("llama", {"llama.block_count": 2**31}, "num_hidden_layers"),
    ],
)
def test_metadata_that_cannot_be_meant(write, kind, changed, said):
    path = write(metadata_of(kind, changed), tensors_of(kind))

    assert said in message_of(vs.load_model, path, error=(ConfigError, UnknownArchitectureError))


@pytest.mark.parametrize(
    ("kind", "options", "more", "said"),
    [
        ("qwen3moe", {"head": None}, {}, "output.weight is missing"),
        ("qwen3moe", {}, {"blk.0.ffn_gate_exps.weight": ("F32", (4,))}, "it must be a matrix"),
        ("qwen3moe", {}, {"blk.1.ffn_up_exps.weight": ("Q8_0", (4, 256, 256))}, "up_proj Q8_0"),
        ("qwen3moe", {"down": "F16"}, {}, "vLLM wants experts packed"),
        ("llama", {"value": "F16"}, {}, "all packed or none"),
        ("llama", {"embed": "F16"}, {}, "LlamaForCausalLM looks for packed embeddings only"),
        ("llama", {"down": "MXFP4"}, {}, "is stored as MXFP4, which vLLM does not load"),
        ("llama", {}, {"output.weight": ("Q4_0", (320, 250))}, "rows of whole blocks of 32"),
    ],
)
def test_tensors_that_vllm_does_not_take(write, kind, options, more, said):
    path = write(metadata_of(kind), tensors_of(kind, **options) | more)

    assert said in message_of(vs.load_model, path, error=ConfigError)


def test_images_beside_gemma_are_not_modelled(write, tmp_path):
    path = write(metadata_of("gemma3"), tensors_of("gemma3"))
    (tmp_path / "mmproj-F16.gguf").write_bytes(b"")

    assert "mmproj" in message_of(vs.load_model, path, error=SourceError)


def test_too_many_types_are_refused():
    quant = {"quant_method": "gguf", "tensor_types": dict.fromkeys(map(str, range(2**17 + 1)), "F32")}
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": quant}

    assert "at most 131,072 tensors" in message_of(vs.model_from_config, config, error=ConfigError)


@pytest.mark.parametrize("reference", ["org/repo:Q4_K_M", "org/repo/model-Q4_K_M.gguf"])
def test_files_on_the_hub_are_not_read(reference):
    assert "fetch it (hf download org/repo) and give its path" in message_of(vs.load_model, reference)
