"""
Recurrent states: a request takes whole blocks of them, so they bound how many may run.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vllm_sizing as vs
from vllm_sizing.units import GIB

MAMBA = vs.model_from_config(
    {
        "architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "hidden_size": 2048, "num_heads": 64,
        "head_dim": 64, "num_hidden_layers": 48, "state_size": 128, "n_groups": 1, "vocab_size": 50288,
        "torch_dtype": "bfloat16",
    },
    name="mamba",
)  # fmt: skip
GRANITE = vs.model_from_config(
    {
        "architectures": ["GraniteMoeHybridForCausalLM"], "model_type": "granitemoehybrid", "hidden_size": 1024,
        "num_hidden_layers": 10, "layer_types": ["mamba"] * 9 + ["attention"], "num_attention_heads": 16,
        "num_key_value_heads": 4, "num_local_experts": 0, "shared_intermediate_size": 2048, "mamba_n_heads": 32,
        "mamba_d_state": 128, "vocab_size": 49159, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
    },
    name="granite",
)  # fmt: skip
H100 = vs.find_gpu("h100-sxm")


def plan(model, cache_bytes, **args):
    engine_args = vs.EngineArgs(kv_cache_memory_bytes=cache_bytes, max_model_len=2048, **args)
    return vs.plan(model, H100, engine_args=engine_args)


@given(st.sampled_from((MAMBA, GRANITE)), st.integers(GIB // 2, 3 * GIB))
def test_the_recommended_number_of_sequences_starts(model, cache_bytes):
    """
    Left open it is at most the state blocks; one more than them is refused.
    """
    decided = plan(model, cache_bytes)
    limit = decided.kv_cache.max_num_seqs_limit
    assert decided.fits
    assert decided.engine_args.max_num_seqs <= limit == decided.kv_cache.num_gpu_blocks
    assert plan(model, cache_bytes, max_num_seqs=limit).fits
    assert not plan(model, cache_bytes, max_num_seqs=limit + 1).fits


def test_too_many_sequences_are_explained_and_a_number_that_starts_is_proposed():
    refused = plan(MAMBA, 4 * GIB, max_num_seqs=1024)
    finding = next(found for found in refused.findings if found.code == "does-not-fit-max-num-seqs")
    assert f"max_num_seqs 1,024, {refused.kv_cache.num_gpu_blocks:,} blocks" in finding.message
    proposed = next(found for found in refused.alternatives if found.change.startswith("max_num_seqs"))
    assert plan(MAMBA, 4 * GIB, max_num_seqs=proposed.engine_args.max_num_seqs).fits


@pytest.mark.parametrize(
    "args", [{"enforce_eager": True}, {"compilation_config": {"cudagraph_mode": "PIECEWISE"}}], ids=str
)
def test_without_full_graphs_there_is_no_such_limit(args):
    free = plan(MAMBA, 4 * GIB, max_num_seqs=1024, **args)
    assert free.fits
    assert free.kv_cache.max_num_seqs_limit is None


def test_a_model_without_attention_caches_no_prefixes_unless_told():
    assert plan(MAMBA, 4 * GIB).engine_args.enable_prefix_caching is False
    told = plan(MAMBA, 4 * GIB, enable_prefix_caching=True)
    assert told.kv_cache.groups[0].blocks_per_request == 3 * plan(MAMBA, 4 * GIB).kv_cache.groups[0].blocks_per_request


def test_ranks_without_heads_are_not_explained_by_heads():
    spread = vs.plan(MAMBA, H100, num_gpus=2)
    reason = next(found.reason for found in spread.decisions if found.flag == "tensor_parallel_size")
    assert "heads" not in reason


def test_a_bounded_gate_lets_prefill_export_states():
    """
    Kimi-K3's kernel writes a state every 16 tokens on Hopper and newer: one more page for a request.
    """
    linear = {
        "kda_layers": [1, 2, 3], "full_attn_layers": [4], "head_dim": 128, "num_heads": 16, "short_conv_kernel_size": 4,
    }  # fmt: skip
    config = {
        "architectures": ["KimiLinearForCausalLM"], "model_type": "kimi_linear", "hidden_size": 512,
        "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 16, "kv_lora_rank": 512,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "mla_use_nope": True, "vocab_size": 1024,
        "model_max_length": 8192, "linear_attn_config": {**linear, "use_full_rank_gate": True, "gate_lower_bound": -5},
    }  # fmt: skip
    pages = {}
    for gpu in ("h100-sxm", "a100-sxm-80gb"):
        model = vs.model_from_config(config, name="k3")
        cache = vs.plan(model, vs.find_gpu(gpu), engine_args=vs.EngineArgs(kv_cache_memory_bytes=GIB)).kv_cache
        pages[gpu] = max(group.blocks_per_request for group in cache.groups if group.kind == "kda")
    assert pages == {"h100-sxm": 3, "a100-sxm-80gb": 2}


@pytest.mark.parametrize(
    ("name", "gpu", "headroom"),
    [("Qwen/Qwen3.5-27B", "h100-sxm", 0), ("mamba", "l4", 14 * GIB)],
    ids=["hybrid", "mamba"],
)
def test_too_many_sequences_do_not_shorten_requests(name, gpu, headroom):
    """
    The states bind the sequences, never the length: fewer sequences start with requests as long as the model's.
    """
    model = MAMBA if name == "mamba" else vs.load_model(name)
    decided = vs.plan(model, vs.find_gpu(gpu), policy=vs.Policy(headroom_bytes=headroom))
    limit = decided.kv_cache.max_num_seqs_limit
    assert decided.fits
    assert decided.engine_args.max_num_seqs <= limit
    assert decided.engine_args.max_model_len == model.max_model_len


def test_what_admits_more_requests_than_states_is_more_gpus():
    found = {
        wanted: next(
            one.hint
            for one in vs.plan(
                MAMBA,
                H100,
                vs.Workload(concurrency=1024),
                engine_args=vs.EngineArgs(kv_cache_memory_bytes=wanted * GIB, max_num_seqs=seqs),
            ).findings
            if one.code == "max-num-seqs-below-concurrency"
        )
        for wanted, seqs in ((4, None), (60, 64))
    }
    assert "at most" in found[4]
    assert found[60] == "raise max_num_seqs"
