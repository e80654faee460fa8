"""
Curves: each point is what `plan` says of the same flags under that workload.
"""

import attrs

import vllm_sizing as vs
from vllm_sizing.sizing import curves

PLAN = vs.plan(
    vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"), vs.Workload(1024, 256, concurrency=24), num_gpus=2
)


def test_the_point_of_the_workload_is_the_plan():
    by_load = {point.concurrency: point.performance for point in curves.load_points(PLAN)}

    assert by_load[24] == PLAN.performance
    assert list(by_load) == sorted(by_load)


def test_every_load_is_planned_with_the_same_flags():
    for point in curves.load_points(PLAN):
        again = vs.plan(
            PLAN.model, PLAN.gpu, vs.Workload(1024, 256, point.concurrency), num_gpus=2, engine_args=PLAN.engine_args
        )
        assert again.performance == point.performance


def test_longer_requests_are_held_less_often():
    points = curves.capacity_curve(PLAN)

    assert points[-1].tokens == PLAN.engine_args.max_model_len
    assert [point.num_requests for point in points] == sorted((point.num_requests for point in points), reverse=True)
    replicas = PLAN.engine_args.data_parallel_size
    assert points[-1].num_requests == int(PLAN.kv_cache.max_concurrency) * replicas


def test_loads_end_near_what_the_server_admits():
    small = vs.plan(PLAN.model, PLAN.gpu, vs.Workload(concurrency=2), engine_args=vs.EngineArgs(max_num_seqs=4))

    assert curves.load_points(small)[-1].concurrency == 8


def test_a_plan_that_does_not_fit_has_no_curve():
    poor = vs.plan(PLAN.model, vs.find_gpu("t4"))

    assert not poor.fits
    assert curves.capacity_curve(poor) == curves.load_points(poor) == ()


def test_unknown_speed_has_no_curve():
    blind = vs.plan(PLAN.model, attrs.evolve(PLAN.gpu, memory_bandwidth_bytes_per_s=None))

    assert blind.performance is None
    assert curves.load_points(blind) == ()
    assert curves.capacity_curve(blind)


def test_a_plan_that_cannot_be_repeated_has_no_curve():
    """
    One from a file may hold what this release of us refuses.
    """
    broken = attrs.evolve(PLAN, engine_args=attrs.evolve(PLAN.engine_args, tensor_parallel_size=3))

    assert curves.capacity_curve(broken) == curves.load_points(broken) == ()


def test_an_open_loop_is_drawn_around_what_it_comes_to():
    rate = vs.plan(PLAN.model, PLAN.gpu, vs.Workload(1024, 256, request_rate=4.0))
    points = [point.concurrency for point in curves.load_points(rate)]

    assert points[0] < rate.performance.in_flight < points[-1]
    assert all(load & (load - 1) == 0 for load in points)
