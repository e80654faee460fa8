"""
Config and safetensors headers beside each other.
"""

import pytest

import vllm_sizing as vs
from vllm_sizing.catalog.models import find_model
from vllm_sizing.sources.comparison import compare_headers, explain_differences, module_name
from vllm_sizing.specs.facts import SafetensorsHeaders, TensorHeader


def llama_headers(config, *, attention="BF16", drop=()):
    """
    The tensors of a Qwen3 checkpoint, under the names that Hugging Face gives them.
    """
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    query = config["num_attention_heads"] * config["head_dim"]
    value = config["num_key_value_heads"] * config["head_dim"]
    shapes = {"model.embed_tokens": (vocab, hidden), "model.norm": (hidden,)}
    if not config.get("tie_word_embeddings"):
        shapes["lm_head"] = (vocab, hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.self_attn.q_proj": (query, hidden), f"{prefix}.self_attn.k_proj": (value, hidden),
            f"{prefix}.self_attn.v_proj": (value, hidden), f"{prefix}.self_attn.o_proj": (hidden, query),
            f"{prefix}.self_attn.q_norm": (config["head_dim"],), f"{prefix}.self_attn.k_norm": (config["head_dim"],),
            f"{prefix}.mlp.gate_proj": (inner, hidden), f"{prefix}.mlp.up_proj": (inner, hidden),
            f"{prefix}.mlp.down_proj": (hidden, inner),
            f"{prefix}.input_layernorm": (hidden,), f"{prefix}.post_attention_layernorm": (hidden,),
        }  # fmt: skip
    tensors = tuple(
        TensorHeader(f"{name}.weight", attention if "self_attn" in name else "BF16", shape)
        for name, shape in shapes.items()
        if not any(word in name for word in drop)
    )
    return SafetensorsHeaders(tensors=tensors, bytes_by_dtype=(), num_files=1)


@pytest.fixture(scope="module", params=["Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B"])
def checkpoint(request):
    return vs.load_model(request.param), find_model(request.param).config


@pytest.mark.parametrize(
    ("tensor", "module"),
    [
        ("visual.blocks.3.attn.qkv.weight", "vision"),
        ("model.vision_tower.encoder.layers.0.mlp.fc1.weight", "vision"),
        ("model.language_model.layers.7.mlp.experts.3.up_proj.weight", "layers.*.mlp"),
        ("transformer.wte.weight", "wte"),
        ("model.layers.0.input_layernorm.weight", "layers.*.input_layernorm"),
    ],
)
def test_modules_have_one_name_on_both_sides(tensor, module):
    assert module_name(tensor) == module


def test_both_ways_agree(checkpoint):
    """
    Every module of the checkpoint holds exactly the bytes that the config asks for.
    """
    model, config = checkpoint
    modules = compare_headers(model, llama_headers(config))

    assert all(module.planned_bytes == module.stored_bytes for module in modules)
    assert explain_differences(model, llama_headers(config)) == ()


def test_a_missing_projection_is_found_and_named(checkpoint):
    model, config = checkpoint
    (finding,) = explain_differences(model, llama_headers(config, drop=("k_proj",)))

    assert finding.code == "headers-differ-from-config"
    assert finding.severity == "warning"
    assert "layers.*.self_attn" in finding.message
    assert "mlp" not in finding.message


def test_another_dtype_is_found_and_named(checkpoint):
    """
    8-bit attention in the files, 16-bit in the config.
    """
    model, config = checkpoint
    (finding,) = explain_differences(model, llama_headers(config, attention="F8_E4M3"))

    assert "layers.*.self_attn" in finding.message


def test_what_only_the_files_have_is_a_remark(checkpoint):
    """
    Draft layers and the like: vLLM leaves them out as well.
    """
    model, config = checkpoint
    headers = llama_headers(config)
    extra = TensorHeader("model.mtp.proj.weight", "BF16", (4096, 4096))
    (finding,) = explain_differences(
        model, SafetensorsHeaders(tensors=(*headers.tensors, extra), bytes_by_dtype=(), num_files=1)
    )

    assert finding.severity == "info"
    assert "mtp" in finding.message
