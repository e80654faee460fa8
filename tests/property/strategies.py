"""
Models, GPUs and settings that could exist, by hand: inference from types ignores validators.
"""

from hypothesis import strategies as st

import vllm_sizing as vs
from vllm_sizing.sizing.attention import AttentionChoice
from vllm_sizing.sizing.cache_pages import CacheSettings
from vllm_sizing.specs.model import (
    CompressedMla,
    FullAttention,
    MlaAttention,
    Part,
    RecurrentState,
    SlidingWindow,
    StateTensor,
)

TENSOR_SIZES = (1, 2, 4, 8)
SIXTEEN = AttentionChoice(name="FLASH_ATTN", block_size=16)


@st.composite
def dense_configs(draw):
    """
    The config.json of a Llama-like model whose heads divide by every tensor-parallel size.
    """
    kv_heads = draw(st.sampled_from((1, 2, 4, 8, 16)))
    heads = kv_heads * draw(st.sampled_from((1, 2, 4, 8)))
    heads = max(heads, 8)
    head_dim = draw(st.sampled_from((64, 80, 128)))
    return {
        "architectures": [draw(st.sampled_from(("LlamaForCausalLM", "Qwen3ForCausalLM", "Qwen2ForCausalLM")))],
        "hidden_size": heads * head_dim,
        "head_dim": head_dim,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "num_hidden_layers": draw(st.integers(1, 24)),
        "intermediate_size": 64 * draw(st.integers(1, 64)),
        "vocab_size": draw(st.integers(1000, 200_000)),
        "max_position_embeddings": draw(st.sampled_from((4096, 32768, 131072))),
        "tie_word_embeddings": draw(st.booleans()),
        "torch_dtype": "bfloat16",
    }


def dense_models():
    return dense_configs().map(lambda config: vs.model_from_config(config, name="model"))


@st.composite
def full_layers(draw, max_layers=16):
    """
    A stack of full attention.
    """
    number = draw(st.integers(1, max_layers))
    return FullAttention(
        layers=tuple(range(number)),
        num_kv_heads=draw(st.sampled_from((1, 2, 4, 8))),
        head_size=draw(st.sampled_from((64, 128, 256))),
        head_size_v=128,
    )


@st.composite
def cache_layers(draw):
    """
    A cache of one or two kinds, as hybrid models have them.
    """
    full = draw(full_layers())
    kind = draw(st.sampled_from(("full", "window", "mamba", "mla", "compressed")))
    first = full.layers[-1] + 1
    number = draw(st.integers(1, 24))
    others = tuple(range(first, first + number))
    if kind == "compressed":
        return draw(compressed_layers(full.layers))
    if kind == "window":
        window = SlidingWindow(
            layers=others,
            window=draw(st.integers(16, 4096)),
            num_kv_heads=full.num_kv_heads,
            head_size=full.head_size,
            head_size_v=full.head_size_v,
        )
        return (full, window)
    if kind == "mamba":
        states = (
            StateTensor(columns=(Part(64 * draw(st.integers(1, 64))),), rows=3, grows=True),
            StateTensor(columns=(Part(8 * draw(st.integers(1, 16))),), depth=64 * 64, dtype="float32"),
        )
        return (full, RecurrentState(layers=others, kind="mamba2", states=states))
    if kind == "mla":
        return (MlaAttention(layers=full.layers, num_heads=16, kv_lora_rank=512, rope_head_dim=64),)
    return (full,)


@st.composite
def compressed_layers(draw, layers):
    """
    A window in every layer, and in some of them a compressed cache, its indexer and its state.
    """
    common = {"bytes_per_state": (("", 584),), "alignment": 64}
    caches = [CompressedMla(layers=layers, name="window", window=128, block_size=64, **common)]
    for rate in (4, 16):
        owners = draw(st.lists(st.sampled_from(layers), unique=True).map(sorted).map(tuple))
        if owners:
            indexer = draw(st.sampled_from((132, 584)))
            caches += [
                CompressedMla(layers=owners, name=f"compressed {rate}", tokens_per_state=rate, **common),
                CompressedMla(layers=owners, name="indexer", tokens_per_state=rate, bytes_per_state=(("", indexer),)),
                CompressedMla(
                    layers=owners, name=f"state {rate}", window=2 * rate, block_size=4, bytes_per_state=(("", 8192),)
                ),
            ]
    return tuple(caches)


@st.composite
def cache_settings(draw, tensor=None):
    """
    How a cache is kept.
    """
    return CacheSettings(
        tensor=tensor or draw(st.sampled_from(TENSOR_SIZES)),
        kv_cache_dtype=draw(st.sampled_from(("bfloat16", "fp8"))),
        model_dtype="bfloat16",
        conv_dtype="bfloat16",
        speculative_tokens=draw(st.integers(0, 4)),
        aligned_states=draw(st.booleans()),
    )


def gpus():
    return st.sampled_from(("h100-sxm", "a100-sxm-80gb", "l4", "b200", "rtx-4090", "h200-sxm")).map(vs.find_gpu)


@st.composite
def workloads(draw):
    return vs.Workload(draw(st.integers(1, 2048)), draw(st.integers(1, 1024)), draw(st.integers(1, 512)))
