"""
Laws of a whole plan.
"""

import pickle

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

import vllm_sizing as vs
from tests.property.strategies import dense_models, gpus, workloads
from vllm_sizing.units import GIB

QUICK = settings(max_examples=40)


@QUICK
@given(dense_models(), gpus(), workloads())
def test_equal_questions_get_equal_plans(model, gpu, workload):
    assert vs.plan(model, gpu, workload) == vs.plan(model, gpu, workload)


@QUICK
@given(dense_models(), gpus(), workloads())
def test_a_plan_survives_pickling_and_hashing(model, gpu, workload):
    plan = vs.plan(model, gpu, workload)
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert hash(plan) == hash(vs.plan(model, gpu, workload))


@QUICK
@given(dense_models(), gpus(), workloads())
def test_what_was_fixed_is_kept(model, gpu, workload):
    fixed = vs.EngineArgs(max_model_len=2048, max_num_seqs=17, gpu_memory_utilization=0.8, kv_cache_dtype="auto")
    plan = vs.plan(model, gpu, workload, engine_args=fixed)
    for name, value in fixed.fixed().items():
        assert getattr(plan.engine_args, name) == value


@QUICK
@given(dense_models(), gpus(), workloads())
def test_the_completed_arguments_give_the_same_plan(model, gpu, workload):
    """
    Planning what was decided changes nothing: the plan is what will run.
    """
    first = vs.plan(model, gpu, workload)
    second = vs.plan(model, gpu, workload, engine_args=first.engine_args)
    assert second.engine_args == first.engine_args
    assert second.memory == first.memory
    assert second.kv_cache == first.kv_cache
    assert second.fits == first.fits


@QUICK
@given(dense_models(), gpus(), workloads(), st.integers(0, 8 * GIB))
def test_a_larger_gpu_never_fits_less(model, gpu, workload, more):
    larger = attrs.evolve(gpu, memory_bytes=gpu.memory_bytes + more)
    fixed = vs.EngineArgs(max_model_len=4096, max_num_seqs=64, max_num_batched_tokens=2048)
    before = vs.plan(model, gpu, workload, engine_args=fixed)
    after = vs.plan(model, larger, workload, engine_args=fixed)
    assert before.kv_cache.num_gpu_blocks <= after.kv_cache.num_gpu_blocks
    assert before.fits <= after.fits


@QUICK
@given(dense_models(), gpus(), st.integers(GIB // 4, 40 * GIB))
def test_a_given_pool_is_filled_exactly(model, gpu, pool):
    """
    kv_cache_memory_bytes skips every modelled part: whole blocks, and no interval.
    """
    args = vs.EngineArgs(kv_cache_memory_bytes=pool, max_model_len=1024)
    plan = vs.plan(model, gpu, engine_args=args)
    cache = plan.kv_cache
    assert cache.num_gpu_blocks == pool // cache.bytes_per_block
    assert plan.memory.kv_cache_bytes == pool
    assert cache.size_tokens_interval.low == cache.size_tokens == cache.size_tokens_interval.high


@QUICK
@given(dense_models(), gpus(), workloads())
def test_the_workload_answer_is_maximal(model, gpu, workload):
    """
    So many requests of the workload's length fit, and one more does not.
    """
    plan = vs.plan(model, gpu, workload, engine_args=vs.EngineArgs(max_model_len=4096))
    cache = plan.kv_cache
    length = min(workload.tokens_per_request, 4096)
    blocks = -(-length // cache.block_size)
    held = cache.max_concurrency_at_workload
    usable = max(cache.num_gpu_blocks - 1, 0)
    assert held * blocks <= usable < (held + 1) * blocks or held == usable == 0


@QUICK
@given(dense_models(), gpus(), workloads())
def test_risk_follows_from_the_interval(model, gpu, workload):
    plan = vs.plan(model, gpu, workload)
    interval = plan.memory.kv_cache_bytes_interval
    assert interval.low <= interval.mid <= interval.high
    assert plan.fits or plan.oom_risk == "high"


@QUICK
@given(dense_models(), gpus(), workloads())
def test_alternatives_really_fit(model, gpu, workload):
    """
    What is proposed, planned again, fits.
    """
    plan = vs.plan(model, gpu, workload)
    for alternative in plan.alternatives:
        again = vs.plan(model, gpu, workload, num_gpus=alternative.num_gpus, engine_args=alternative.engine_args)
        assert again.fits
        assert again.memory.kv_cache_bytes == alternative.kv_cache_bytes
