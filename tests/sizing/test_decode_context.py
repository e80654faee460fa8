"""
Ranks that share the tokens of the cache: which attention serves it, and with how many heads.
"""

import pytest

import vllm_sizing as vs
from vllm_sizing.errors import UnsupportedError

H100, B200, RTX = map(vs.find_gpu, ("h100-sxm", "b200", "rtx-pro-6000-blackwell-server"))


def planned(model, gpu=H100, *, tensor=8, context=1, **words):
    args = vs.EngineArgs(tensor_parallel_size=tensor, decode_context_parallel_size=context, **words)
    return vs.plan(vs.load_model(model), gpu, num_gpus=tensor, engine_args=args, vllm_version="0.33.0")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("deepseek-ai/DeepSeek-V3.2", {}),
        ("Qwen/Qwen3-30B-A3B", {"kv_cache_dtype": "int8_per_token_head"}),
        ("Qwen/Qwen3-30B-A3B", {"kv_cache_dtype": "turboquant_k8v4"}),
    ],
)
def test_kernels_that_cannot_share_a_cache_are_refused(model, words):
    assert planned(model, **words).kv_cache.bytes_per_block
    with pytest.raises(UnsupportedError) as caught:
        planned(model, context=2, **words)
    assert "decode_context_parallel_size" in caught.value.message


def test_blackwell_shares_a_sparse_16_bit_cache_among_ranks_with_few_heads():
    """
    16 heads are FlashInfer's, 32 FlashMLA's, which cannot.
    """
    assert planned("deepseek-ai/DeepSeek-V3.2", B200, context=2).kv_cache.bytes_per_block
    with pytest.raises(UnsupportedError) as caught:
        planned("deepseek-ai/DeepSeek-V3.2", B200, tensor=4, context=2)
    assert "FLASHMLA_SPARSE: decode_context_parallel_size 2" in caught.value.message


@pytest.mark.parametrize(
    ("tensor", "context", "refused"), [(8, 2, False), (8, 4, False), (8, 8, True), (4, 2, True), (8, 1, False)]
)
def test_heads_that_the_sparse_kernel_cannot_gather_are_named(tensor, context, refused):
    """
    128 heads: 16 on each of 8 ranks, of which 4 gather 64; 32 on each of 4.
    """
    plan = planned("deepseek-ai/DeepSeek-V3.2", tensor=tensor, context=context, kv_cache_dtype="fp8_ds_mla")
    assert ("decode-context-heads" in {finding.code for finding in plan.findings}) == refused


def test_dense_latent_attention_gathers_any_number_of_heads():
    plan = planned("deepseek-ai/DeepSeek-V3", context=8)
    assert "decode-context-heads" not in {finding.code for finding in plan.findings}


@pytest.mark.parametrize(
    ("model", "gpu", "words", "same"),
    [
        ("zai-org/GLM-5.1", B200, {}, {"kv_cache_dtype": "fp8_e4m3"}),
        ("zai-org/GLM-5.1", H100, {}, {"kv_cache_dtype": "bfloat16"}),
        ("deepseek-ai/DeepSeek-V3.2", B200, {}, {"kv_cache_dtype": "bfloat16"}),
        ("deepseek-ai/DeepSeek-V3.2", RTX, {}, {"kv_cache_dtype": "fp8_ds_mla"}),
        ("deepseek-ai/DeepSeek-V3.2", H100, {"kv_cache_dtype": "fp8"}, {"kv_cache_dtype": "fp8_ds_mla"}),
    ],
)
def test_what_a_flag_means_depends_on_the_gpu(model, gpu, words, same):
    fixed = {"kv_cache_memory_bytes": 2**33, "max_model_len": 65_536}
    caches = [planned(model, gpu, **fixed, **chosen).kv_cache for chosen in (words, same)]
    assert caches[0].num_gpu_blocks == caches[1].num_gpu_blocks
    assert caches[0].size_tokens == caches[1].size_tokens


def test_blackwell_keeps_plain_fp8_where_hopper_keeps_deepseeks_own():
    """
    576 bytes of a token and layer instead of 656, beside 132 of the indexer.
    """
    fixed = {"kv_cache_memory_bytes": 2**33, "max_model_len": 65_536, "kv_cache_dtype": "fp8"}
    plain, packed = (planned("deepseek-ai/DeepSeek-V3.2", gpu, **fixed).kv_cache.num_gpu_blocks for gpu in (B200, H100))
    assert plain / packed == pytest.approx((656 + 132) / (576 + 132), rel=1e-3)
