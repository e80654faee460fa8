"""
Which backend serves a cache, and what a block and a token then take: vLLM's rules, release by release.
"""

import pytest

import vllm_sizing as vs
from vllm_sizing.sizing.attention import choose_attention
from vllm_sizing.sizing.defaults import rules_for
from vllm_sizing.sizing.kv_formats import head_token_bytes, mla_token_bytes

GPUS = {name: vs.find_gpu(name) for name in ("h100-sxm", "b200", "l4", "mi300x")}
RTX = "rtx-pro-6000-blackwell-server"
NEWEST = rules_for((0, 33, 0))


def dense(head_dim):
    return vs.model_from_config({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 1024, "head_dim": head_dim, "num_attention_heads": 8,
        "num_hidden_layers": 2, "intermediate_size": 1024, "vocab_size": 1000, "torch_dtype": "bfloat16",
    })  # fmt: skip


@pytest.mark.parametrize(
    ("gpu", "head_dim", "kv_cache_dtype", "name"),
    [
        ("h100-sxm", 16, "bfloat16", "FLASH_ATTN"),
        ("h100-sxm", 36, "bfloat16", "TRITON_ATTN"),
        ("h100-sxm", 512, "bfloat16", "FLASH_ATTN"),
        ("h100-sxm", 520, "bfloat16", "TRITON_ATTN"),
        ("l4", 264, "bfloat16", "TRITON_ATTN"),
        ("l4", 512, "bfloat16", "FLASHINFER"),
        ("b200", 80, "bfloat16", "FLASH_ATTN"),
        ("b200", 128, "bfloat16", "FLASHINFER"),
        ("b200", 80, "fp8_e5m2", "TRITON_ATTN"),
    ],
)
def test_heads_decide_the_backend(gpu, head_dim, kv_cache_dtype, name):
    """
    Each backend's ``supports_head_size``.

    FlashAttention takes multiples of 8 up to 256 (512 with its fourth version), FlashInfer a few sizes, Triton
    all from 32 on.
    """
    model = dense(head_dim)
    assert choose_attention(model, GPUS[gpu], NEWEST, kv_cache_dtype, block_size=None).name == name


def test_heads_that_no_backend_takes_are_named_for_each():
    """
    Only Triton reads an FP8 cache on L4, and only from 32 on.
    """
    with pytest.raises(vs.UnsupportedError) as caught:
        vs.plan(dense(16), GPUS["l4"], engine_args=vs.EngineArgs(kv_cache_dtype="fp8_e5m2"))
    assert "TRITON_ATTN: head size 16" in caught.value.message
    assert "leave kv_cache_dtype on auto" in caught.value.message


@pytest.mark.parametrize(
    ("gpu", "version", "block"),
    [
        ("b200", "0.10.0", 16),
        ("b200", "0.10.1", 128),
        ("b200", "0.14.0", 128),
        ("b200", "0.15.0", 64),
        ("b200", "0.18.0", 32),
        ("h100-sxm", "0.10.0", 64),
        ("h100-sxm", "0.17.0", 64),
        ("h100-sxm", "0.18.0", 16),
        (RTX, "0.17.0", 16),
        (RTX, "0.18.0", 16),
    ],
)
def test_the_block_of_latent_attention_belongs_to_the_release(gpu, version, block):
    """
    Until 0.17 ``platforms/cuda.py`` fixed it, then the chosen backend.
    """
    plan = vs.plan(vs.load_model("deepseek-ai/DeepSeek-V2-Lite"), vs.find_gpu(gpu), vllm_version=version)
    assert plan.kv_cache.block_size == block


@pytest.mark.parametrize(
    ("kv_cache_dtype", "num_bytes"),
    [
        ("bfloat16", 512),
        ("fp8_e5m2", 256),
        ("int8_per_token_head", 264),
        ("int4_per_token_head", 136),
        ("turboquant_k8v4", 196),
        ("turboquant_4bit_nc", 134),
        ("turboquant_k3v4_nc", 118),
        ("turboquant_3bit_nc", 102),
        ("nvfp4_4over6", 144),
    ],
)
def test_bytes_of_a_token_and_head(kv_cache_dtype, num_bytes):
    """
    128 keys and 128 values: a scale of 4 bytes each, 4-bit pairs, TurboQuant's norms, or a scale of a byte for 16.
    """
    assert head_token_bytes(kv_cache_dtype, 128, 128) == num_bytes


@pytest.mark.parametrize(
    ("kv_cache_dtype", "num_bytes"), [("float32", 2304), ("fp8_e4m3", 576), ("fp8_ds_mla", 656), ("nvfp4_ds_mla", 352)]
)
def test_bytes_of_a_latent_token(kv_cache_dtype, num_bytes):
    assert mla_token_bytes(kv_cache_dtype, 576) == num_bytes


def test_unequal_heads_are_stored_without_scales():
    assert head_token_bytes("fp8_per_token_head", 192, 128) == head_token_bytes("fp8", 192, 128) == 320


@pytest.mark.parametrize(
    ("model", "kv_cache_dtype"),
    [("meta-llama/Llama-3.1-8B-Instruct", "fp8_ds_mla"), ("deepseek-ai/DeepSeek-V2-Lite", "turboquant_k8v4")],
)
def test_a_cache_of_the_other_kind_of_attention_is_refused_on_every_vendor(model, kv_cache_dtype):
    with pytest.raises(vs.UnsupportedError, match="use auto or fp8") as caught:
        vs.plan(vs.load_model(model), GPUS["mi300x"], engine_args=vs.EngineArgs(kv_cache_dtype=kv_cache_dtype))
    assert (caught.value.field, caught.value.value) == ("kv_cache_dtype", kv_cache_dtype)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("MiniMaxAI/MiniMax-M3", {"block_size": 64}),
        ("MiniMaxAI/MiniMax-M3", {"kv_cache_dtype": "int8_per_token_head"}),
        ("deepseek-ai/DeepSeek-V4-Flash", {"block_size": 96}),
        ("deepseek-ai/DeepSeek-V4-Flash", {"kv_cache_dtype": "bfloat16"}),
    ],
)
def test_sparse_caches_name_what_they_cannot_be(model, words):
    """
    Chosen blocks of 128 tokens and windows of compressed ones fit no other page.
    """
    args = vs.EngineArgs(tensor_parallel_size=8, **words)
    with pytest.raises(vs.UnsupportedError) as caught:
        vs.plan(vs.load_model(model), GPUS["h100-sxm"], num_gpus=8, engine_args=args)
    (field, value), = words.items()  # fmt: skip
    assert (caught.value.field, caught.value.value) == (field, value)
    assert "128" in caught.value.message if field == "block_size" else "use auto or fp8" in caught.value.message
