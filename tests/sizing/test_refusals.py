"""
What vLLM 0.33 refuses whatever the memory, recorded by running its own configuration and attention selection.
"""

import attrs
import pytest

import vllm_sizing as vs

H100 = vs.find_gpu("h100-sxm")
LLAMA = vs.load_model("meta-llama/Llama-3.1-8B-Instruct")
BLOOM = vs.model_from_config({
    "architectures": ["BloomForCausalLM"], "hidden_size": 1024, "n_head": 16, "n_layer": 2, "vocab_size": 1000,
})  # fmt: skip


def refused(model, gpu=H100, *, num_gpus=1, **fixed):
    with pytest.raises(vs.UnsupportedError) as caught:
        vs.plan(model, gpu, num_gpus=num_gpus, engine_args=vs.EngineArgs(**fixed))
    return caught.value


def test_alibi_has_no_fp8_cache_on_hopper():
    """
    In vLLM's words: FlashAttention does not support fp8 kv-cache on this device.
    """
    assert "ALiBi" in refused(BLOOM, kv_cache_dtype="fp8").message
    assert vs.plan(BLOOM, H100).kv_cache.kv_cache_dtype == "bfloat16"


@pytest.mark.parametrize("kv_cache_dtype", ["turboquant_k8v4", "turboquant_4bit_nc"])
def test_chunks_have_no_turboquant(kv_cache_dtype):
    """
    In vLLM's words: Unknown TurboQuant cache dtype: 'auto'.
    """
    llama4 = vs.load_model("meta-llama/Llama-4-Scout-17B-16E-Instruct")

    assert refused(llama4, num_gpus=8, kv_cache_dtype=kv_cache_dtype).field == "kv_cache_dtype"


@pytest.mark.parametrize(
    ("name", "kv_cache_dtype"),
    [("Qwen/Qwen2.5-0.5B-Instruct", "nvfp4"), ("openai/gpt-oss-20b", "nvfp4"), ("Qwen/Qwen3-8B", "nvfp4_4over6")],
)
def test_fp4_caches_before_blackwell(name, kv_cache_dtype):
    """
    FlashInfer's FA2 kernels take one of the two formats, no heads of 64 and no attention sinks.
    """
    assert refused(vs.load_model(name), kv_cache_dtype=kv_cache_dtype).field == "kv_cache_dtype"
    assert vs.plan(LLAMA, H100, engine_args=vs.EngineArgs(kv_cache_dtype="nvfp4")).fits


def test_a_16_bit_cache_is_of_the_models_dtype():
    """
    In vLLM's words: kv_cache_dtype="bfloat16" is incompatible with dtype="float16"; new in 0.33.
    """
    fixed = vs.EngineArgs(dtype="float16", kv_cache_dtype="bfloat16")

    assert "float16" in refused(LLAMA, dtype="float16", kv_cache_dtype="bfloat16").message
    assert vs.plan(LLAMA, H100, engine_args=fixed, vllm_version="0.32.0").fits


@pytest.mark.parametrize("kv_cache_dtype", ["auto", "fp8_ds_mla"])
def test_a_sparse_context_is_shared_only_in_fp8_on_hopper(kv_cache_dtype):
    """
    In vLLM's words: DCP for FlashMLA sparse requires an fp8_ds_mla kv-cache.
    """
    model = vs.load_model("deepseek-ai/DeepSeek-V3.2")
    fixed = {"tensor_parallel_size": 8, "decode_context_parallel_size": 8, "kv_cache_dtype": kv_cache_dtype}
    if kv_cache_dtype == "auto":
        assert "fp8_ds_mla" in refused(model, num_gpus=8, **fixed).message
    else:
        assert (
            vs.plan(model, H100, num_gpus=8, engine_args=vs.EngineArgs(**fixed)).kv_cache.kv_cache_dtype == "fp8_ds_mla"
        )


@pytest.mark.parametrize("limit", [-1, "two", {"count": -1}, None], ids=str)
def test_items_are_counted_from_nothing_on(limit):
    error = refused(LLAMA, limit_mm_per_prompt={"image": limit})
    assert error.field == "limit_mm_per_prompt"
    assert repr(limit) in error.message
    assert vs.plan(LLAMA, H100, engine_args=vs.EngineArgs(limit_mm_per_prompt={"image": {"width": 512}})).fits


def test_a_block_that_no_kernel_takes_is_the_fault_of_the_block():
    error = refused(LLAMA, block_size=7)
    assert error.field == "block_size"
    assert error.message.endswith("leave it out for 16")
    assert refused(LLAMA, block_size=7, kv_cache_dtype="fp8_ds_mla").field == "kv_cache_dtype"


@pytest.mark.parametrize("number", [0, -1, 1025, True, "3", 1.5])
def test_drafted_tokens_are_a_count(number):
    """
    ``SpeculativeConfig`` wants more than 0.
    """
    error = refused(LLAMA, speculative_config={"method": "ngram", "num_speculative_tokens": number})

    assert (error.field, error.value) == ("speculative_config", number)
    assert "from 1 to 1024" in error.message


@pytest.mark.parametrize(
    ("model", "words", "way_out"),
    [
        (LLAMA, {"lora_dtype": "float8"}, "auto, float16 or bfloat16"),
        (LLAMA, {"fully_sharded_loras": True}, "leave it unset"),
        (vs.load_model("MiniMaxAI/MiniMax-M3"), {"enable_lora": True}, "MiniMaxM3"),
    ],
)
def test_lora_slots_that_vllm_or_we_do_not_know(model, words, way_out):
    error = refused(model, num_gpus=8, tensor_parallel_size=8, **{"enable_lora": True, **words})

    assert (error.field, error.value) in words.items()
    assert way_out in error.message


def test_scales_of_the_checkpoint_are_of_the_other_fp8():
    """
    In vLLM's words: fp8_e5m2 kv-cache is not supported with fp8 checkpoints.
    """
    model = vs.load_model("nvidia/Llama-3.1-8B-Instruct-FP8")

    assert "use fp8" in refused(model, kv_cache_dtype="fp8_e5m2").message
    assert vs.plan(model, H100, engine_args=vs.EngineArgs(kv_cache_dtype="fp8")).fits


def test_windows_are_not_shared_among_ranks():
    """
    gpt-oss has 8 KV heads, so that 16 ranks could share a context, but for its windows.
    """
    error = refused(
        vs.load_model("openai/gpt-oss-120b"), num_gpus=16, tensor_parallel_size=16, decode_context_parallel_size=2
    )

    assert error.field == "decode_context_parallel_size"
    assert "sliding windows; leave it at 1" in error.message


@pytest.mark.parametrize(
    "name", ["nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "Qwen/Qwen3.5-27B", "deepseek-ai/DeepSeek-V4-Flash"]
)
def test_states_and_compressed_windows_have_no_single_kind_of_cache(name):
    """
    In vLLM's words: Failed to promote local KV cache specs to one unified type; a TypeError for DeepSeek-V4.
    """
    error = refused(vs.load_model(name), num_gpus=8, disable_hybrid_kv_cache_manager=True)

    assert error.field == "disable_hybrid_kv_cache_manager"
    assert "leave it unset" in error.message


def test_a_model_without_a_cache_has_nothing_to_keep_in_one_kind():
    args = vs.EngineArgs(disable_hybrid_kv_cache_manager=True)

    assert vs.plan(vs.load_model("BAAI/bge-m3"), H100, engine_args=args).fits


def test_speculation_needs_a_number_where_no_draft_gives_one():
    """
    A checkpoint's own draft layers give it, suffix decoding has a depth, n-grams have neither.
    """
    llama = {"model": LLAMA, "speculative_config": {"method": "ngram", "prompt_lookup_max": 4}}
    assert "num_speculative_tokens" in refused(llama.pop("model"), **llama).message

    deepseek = vs.load_model("deepseek-ai/DeepSeek-V3")
    own, given = (
        vs.plan(deepseek, H100, num_gpus=8, engine_args=vs.EngineArgs(speculative_config=config))
        for config in ({"method": "mtp"}, {"method": "mtp", "num_speculative_tokens": 1})
    )
    assert own.kv_cache == given.kv_cache
    assert own.memory == given.memory


def test_draft_layers_are_run_whole_times():
    """
    In vLLM's words: num_speculative_tokens must be divisible by n_predict.
    """
    deepseek = vs.load_model("deepseek-ai/DeepSeek-V3")
    two = attrs.evolve(deepseek, draft=attrs.evolve(deepseek.draft, num_layers=2))

    assert (
        "multiple"
        in refused(two, num_gpus=8, speculative_config={"method": "mtp", "num_speculative_tokens": 3}).message
    )


def test_a_method_that_nobody_taught_us_is_refused_by_name():
    """
    Of a model put together by hand: never planned as if any GPU could run it.
    """
    odd = attrs.evolve(LLAMA, quantization="nonesuch")

    error = refused(odd)
    assert "nonesuch" in error.message
    assert error.field == "quantization"
