"""
The search: the same answers whoever computes them, the best of all candidates, and no more memory for more.
"""

import itertools
import subprocess
import sys
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vllm_sizing as vs
from vllm_sizing.sizing import search as module
from vllm_sizing.sizing.offers import cost_order, nearness, pareto_front
from vllm_sizing.sizing.space import groups, inner_values
from vllm_sizing.specs.price import price_of

TARGET = vs.LatencyTarget(ttft_ms=2000, tpot_ms=40)
H100, L4, MI300X = (vs.find_gpu(name) for name in ("h100-sxm", "l4", "mi300x"))


def space(*names, **changes):
    usual = {
        "models": tuple(vs.load_model(name) for name in names or ("Qwen/Qwen3-8B",)),
        "gpus": (L4, H100),
        "workload": vs.Workload(1024, 256, 32, target=TARGET),
        "num_gpus": (1, 2),
        "prices": vs.listed_prices(),
        "max_num_batched_tokens": None,
    }
    return vs.SearchSpace(**(usual | changes))


@pytest.fixture(scope="module")
def offers():
    return list(vs.sweep(space()))


def test_each_answer_is_the_plan_of_its_own_question(offers):
    for offer in offers[::7]:
        plan = offer.plan
        again = vs.plan(plan.model, plan.gpu, plan.workload, num_gpus=plan.cluster.num_gpus, engine_args=plan.requested)
        # What takes longer than all the rest is left to plan() and search().
        speed = attrs.evolve(again.performance, max_concurrency_at_target=None, max_request_rate_at_target=None)
        assert attrs.evolve(again, alternatives=(), performance=speed) == plan


def test_what_a_search_finds_are_whole_plans():
    result = vs.search(space())
    for offer in (*result.best, *result.front):
        plan = offer.plan
        again = vs.plan(plan.model, plan.gpu, plan.workload, num_gpus=plan.cluster.num_gpus, engine_args=plan.requested)
        assert again == plan
        assert plan.performance.max_concurrency_at_target >= 0


def test_every_candidate_has_its_number_and_they_are_counted_beforehand(offers):
    assert [offer.number for offer in offers] == list(range(vs.count_candidates(space())))


def test_every_combination_is_tried_once(offers):
    asked = [(o.plan.gpu.name, o.plan.cluster.num_gpus, o.plan.requested) for o in offers]

    assert len(set(asked)) == len(asked)
    assert {o.plan.requested.kv_cache_dtype for o in offers} == {None, "fp8"}
    assert {o.plan.requested.max_num_seqs for o in offers} == {None, 64}
    sizes = {
        (o.plan.requested.tensor_parallel_size, o.plan.requested.pipeline_parallel_size, o.plan.requested.data_parallel_size)
        for o in offers
    }  # fmt: skip
    assert sizes == {(1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2)}


def test_the_best_are_the_best_of_all(offers):
    result = vs.search(space())
    cheapest = min((offer for offer in offers if offer.meets), key=lambda offer: cost_order(offer, "usd_per_hour"))

    assert result.best[0].number == cheapest.number
    assert result.num_candidates == len(offers)
    assert result.num_meeting == sum(offer.meets for offer in offers)
    assert result.num_fitting == sum(offer.plan.fits for offer in offers)
    assert result.closest is None
    costs = [offer.usd_per_hour for offer in result.best]
    assert costs == sorted(costs)
    hardware = [(o.plan.gpu.name, o.plan.num_gpus, o.plan.requested.quantization is None) for o in result.best]
    assert len(set(hardware)) == len(hardware)


def test_nobody_beats_the_front(offers):
    front = vs.search(space()).front

    assert front
    for one in front:
        for other in offers:
            if not other.plan.fits:
                continue
            faster = other.plan.performance.e2el_ms.mid < one.plan.performance.e2el_ms.mid
            assert not (faster and other.output_tokens_per_s_per_gpu >= one.output_tokens_per_s_per_gpu)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=14), st.randoms(use_true_random=False))
def test_the_front_is_the_same_in_any_order_and_from_parts(points, random):
    offers = [point(number, *values) for number, values in enumerate(points)]
    wanted = {
        values
        for values in points
        if not any(a <= values[0] and b >= values[1] and (a, b) != values for a, b in points)
    }
    front = pareto_front(offers)
    assert [(o.plan.performance.e2el_ms.mid, o.output_tokens_per_s_per_gpu) for o in front] == sorted(wanted)
    half = len(offers) // 2
    assert pareto_front((*pareto_front(offers[:half]), *pareto_front(offers[half:]))) == front
    random.shuffle(offers)
    assert len(pareto_front(offers)) == len(front)


SAMPLE = next(vs.sweep(space()))


def point(number, time, rate):
    exact = vs.Estimate(time, time, time)
    speed = attrs.evolve(SAMPLE.plan.performance, e2el_ms=exact)
    plan = attrs.evolve(SAMPLE.plan, performance=speed)
    return attrs.evolve(SAMPLE, number=number, plan=plan, output_tokens_per_s_per_gpu=rate)


class Later:
    """
    An executor that works when it is asked for the result, and counts what waits.
    """

    def __init__(self):
        self.waiting = self.most = self.cancelled = 0

    def submit(self, work, *args):
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        executor, future = self, Future()

        def result():
            executor.waiting -= 1
            return work(*args)

        def cancel():
            executor.cancelled += 1

        future.result, future.cancel = result, cancel
        return future


def test_threads_give_the_same_answers(offers):
    with ThreadPoolExecutor(2) as executor:
        assert list(vs.sweep(space(), executor=executor)) == offers
        assert vs.search(space(), executor=executor) == vs.search(space())


def test_processes_give_the_same_answers(offers):
    with ProcessPoolExecutor(2) as executor:
        assert list(vs.sweep(space(), executor=executor)) == offers
        assert vs.search(space(), executor=executor) == vs.search(space())


def test_a_dask_cluster_gives_the_same_answers(offers):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        assert list(vs.sweep(space(), executor=executor)) == offers
        assert vs.search(space(), executor=executor) == vs.search(space())


def test_an_executor_holds_no_more_than_was_allowed(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3)
    executor = Later()

    found = list(vs.sweep(space(), executor=executor, in_flight=4))

    assert len(found) == vs.count_candidates(space())
    assert executor.most == 4
    assert executor.waiting == 0


def test_chunks_that_come_out_even_leave_nothing_over(monkeypatch, offers):
    monkeypatch.setattr(module, "CHUNK", len(offers) // 2)

    assert list(vs.sweep(space(), executor=Later())) == offers


def test_who_stops_early_cancels_the_rest(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3)
    executor = Later()
    answers = vs.sweep(space(), executor=executor, in_flight=4)

    next(answers)
    answers.close()

    assert executor.cancelled == executor.waiting == 3


def test_an_immense_space_answers_at_once():
    immense = space(concurrency=tuple(range(1, 10_001)), max_num_seqs=tuple(range(1, 10_001)), num_gpus=1)

    first = list(itertools.islice(vs.sweep(immense), 3))

    assert vs.count_candidates(immense) > 10**9
    assert [offer.plan.workload.concurrency for offer in first] == [1, 2, 3]


def test_the_place_of_a_candidate_says_its_settings():
    tried = space(max_num_seqs=(None, 8), max_num_batched_tokens=(512, 1024, 2048), concurrency=(1, 4))

    found = [inner_values(tried, place) for place in range(12)]

    assert found == list(itertools.product((None, 8), (512, 1024, 2048), (1, 4)))


FLAT = """
import resource
import attrs
import vllm_sizing as vs
from vllm_sizing.sizing import search as module

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def cheap(space, chunk):
    for group, start, stop in chunk:
        for place in range(start, stop):
            # Longer is better: the front grows as far as it can.
            yield sample.replaced(number=group.first + place)

def question(number):
    return vs.SearchSpace(
        models=vs.load_model("Qwen/Qwen3-8B"), gpus=vs.find_gpu("l4"), num_gpus=1, quantization=None,
        kv_cache_dtype="auto", max_num_seqs=tuple(range(1, 1001)), max_num_batched_tokens=None,
        concurrency=tuple(range(1, number + 1)),
    )

sample = next(vs.sweep(question(1)))
real = [vs.search(question(1)).num_candidates, peak()]
real += [vs.search(question(4)).num_candidates, peak()]
module._outcomes = cheap
vs.search(question(10))
few = peak()
found = vs.search(question(1000))
print(real[1], real[3], few, peak(), found.num_candidates)
"""


def test_memory_stays_flat_over_a_million_candidates(python_env):
    """
    1000 and 4000 real plans, then 10,000 and a million answers, which are copies of one.  KiB.
    """
    quiet = {name: value for name, value in python_env.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", FLAT], env=quiet, capture_output=True, text=True, check=True)
    thousand, thousands, few, million, number = map(int, done.stdout.split())

    assert number == 1_000_000
    assert thousands - thousand < 8 * 1024
    assert million - few < 8 * 1024


def test_progress_counts_up_to_all():
    seen = []

    vs.search(space(), progress=lambda done, total: seen.append((done, total)))

    total = vs.count_candidates(space())
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (total, total)


def test_the_user_s_price_decides():
    own = (vs.Price(gpu="h100-sxm", usd_per_gpu_hour=0.01), *vs.listed_prices())
    best = vs.search(space(prices=own)).best[0]

    assert best.plan.gpu.name == "h100-sxm"
    assert best.usd_per_hour == pytest.approx(0.01)
    assert "the user's price" in best.usd_per_million_tokens.basis


def test_cost_per_million_tokens_is_price_over_throughput(offers):
    for offer in offers:
        speed, cost = offer.plan.performance, offer.usd_per_million_output_tokens
        per_s = offer.usd_per_hour / 3600
        assert cost.mid == pytest.approx(per_s / speed.output_tokens_per_s.mid * 1e6)
        assert cost.low == pytest.approx(per_s / speed.output_tokens_per_s.high * 1e6)
        assert cost.low <= cost.mid <= cost.high
        assert offer.usd_per_million_tokens.mid == pytest.approx(cost.mid * 256 / 1280)
        assert "list price" in cost.basis


def test_without_a_price_the_number_of_gpus_is_the_cost():
    result = vs.search(space(prices=()))

    counts = [offer.plan.num_gpus for offer in result.best]
    assert counts == sorted(counts)
    assert result.best[0].usd_per_hour is result.best[0].usd_per_million_tokens is None


def test_what_has_a_price_comes_before_what_has_none():
    own = (vs.Price(gpu="l4", usd_per_gpu_hour=900.0),)
    easy = vs.Workload(1024, 256, 32, target=vs.LatencyTarget(ttft_ms=4000, tpot_ms=80))
    names = [offer.plan.gpu.name for offer in vs.search(space(prices=own, workload=easy)).best]

    assert names == sorted(names, reverse=True)
    assert set(names) == {"h100-sxm", "l4"}


def test_a_free_load_wants_the_cheapest_tokens_and_a_given_one_the_cheapest_machine():
    assert vs.search(space(concurrency=(8, 64))).rank == "usd_per_million_tokens"
    assert vs.search(space(concurrency=64)).rank == "usd_per_hour"
    assert vs.search(space(concurrency=(8, 64), output_tokens_per_s=100)).rank == "usd_per_hour"
    assert vs.search(space(rank="usd_per_million_tokens")).rank == "usd_per_million_tokens"


def test_at_equal_cost_the_checkpoint_and_the_limits_are_left_as_they_are():
    asked = vs.search(space(gpus=H100, num_gpus=1)).best[0].plan.requested

    assert asked.quantization is asked.kv_cache_dtype is None
    assert asked.max_num_seqs is asked.max_num_batched_tokens is None


def test_at_equal_cost_the_surer_one_comes_first():
    sure, likely = attrs.evolve(SAMPLE, number=7, sure=True), attrs.evolve(SAMPLE, number=3, sure=False)

    assert cost_order(sure, "usd_per_hour") < cost_order(likely, "usd_per_hour")


def test_a_throughput_target_is_held():
    wanted = 3_000.0
    result = vs.search(space(output_tokens_per_s=wanted, concurrency=(8, 32, 128)))

    assert result.best
    assert all(offer.plan.performance.output_tokens_per_s.mid >= wanted for offer in result.best)
    sure = [offer for offer in result.best if offer.sure]
    assert all(offer.plan.performance.output_tokens_per_s.low >= wanted for offer in sure)


def test_where_nothing_meets_the_targets_the_nearest_miss_is_told():
    hard = vs.Workload(1024, 256, 32, target=vs.LatencyTarget(tpot_ms=0.5, e2el_ms=1e6))
    result = vs.search(space(workload=hard))
    missed = [offer for offer in vs.sweep(space(workload=hard)) if offer.plan.fits]

    assert result.best == ()
    assert result.num_meeting == 0
    assert result.closest.number == min(missed, key=nearness).number
    (miss,) = result.closest.misses
    assert miss.name == "tpot_ms"
    assert miss.factor == pytest.approx(result.closest.plan.performance.tpot_ms.mid / 0.5)


def test_a_rate_that_overloads_the_server_is_a_miss():
    slow, fast = vs.Workload(request_rate=0.5), vs.Workload(request_rate=1e4)

    assert vs.search(space(workload=slow)).best
    (miss,) = vs.search(space(workload=fast)).closest.misses
    assert (miss.name, miss.wanted) == ("requests_per_s", 1e4)
    assert miss.factor == pytest.approx(1e4 / miss.got)


def test_throughput_that_is_not_reached_is_a_miss():
    result = vs.search(space(output_tokens_per_s=1e9))

    assert [miss.name for miss in result.closest.misses] == ["output_tokens_per_s"]


def test_what_does_not_fit_says_what_is_missing():
    result = vs.search(space("meta-llama/Llama-3.1-70B-Instruct", gpus=L4, num_gpus=1))

    assert result.best == result.front == ()
    (miss,) = result.closest.misses
    assert (miss.name, miss.wanted) == ("shortfall_bytes", 0)
    assert miss.got == result.closest.plan.shortfall_bytes > 0
    assert miss.factor > 1


def test_a_risky_start_is_no_answer():
    """
    At some size of the GPU the start is a coin's throw.
    """
    risks = set()
    for extra in range(40):
        gpu = attrs.evolve(L4, memory_bytes=18_600_000_000 + extra * 100_000_000)
        for offer in vs.sweep(space(gpus=gpu, num_gpus=1, quantization=None, max_num_seqs=64)):
            risks.add((offer.plan.oom_risk, "oom_risk" in {miss.name for miss in offer.misses}, offer.plan.fits))

    assert ("low", False, True) in risks
    assert {told for risk, told, fits in risks if fits and risk != "low"} == {True}


def test_requests_that_the_server_would_refuse_are_a_miss():
    long = vs.Workload(60_000, 1000, 1)
    result = vs.search(space(workload=long))

    assert result.best == ()
    assert {"max_model_len"} <= {miss.name for miss in result.closest.misses}


def test_unknown_speed_is_a_miss_where_speed_is_wanted():
    blind = attrs.evolve(H100, memory_bandwidth_bytes_per_s=None)
    workload = vs.Workload(target=TARGET, request_rate=2.0)
    result = vs.search(space(gpus=blind, num_gpus=1, output_tokens_per_s=1.0, workload=workload))

    assert [(miss.name, miss.got, miss.factor) for miss in result.closest.misses] == [
        ("ttft_ms", "unknown", None),
        ("tpot_ms", "unknown", None),
        ("output_tokens_per_s", "unknown", None),
        ("requests_per_s", "unknown", None),
    ]
    assert result.front == ()
    assert vs.search(space(gpus=blind, num_gpus=1, workload=vs.Workload())).best[0].usd_per_hour == 2.95


def test_refusals_are_counted_by_argument():
    result = vs.search(space(gpus=H100, num_gpus=3, quantization=(None, "fp8")))
    layouts = 3

    assert result.num_candidates == layouts * 2 * 2 * 2
    assert [(refusal.field, refusal.num_candidates) for refusal in result.refusals] == [("tensor_parallel_size", 8)]
    assert result.num_refused == 8


def test_if_all_are_refused_the_first_reason_is_raised():
    with pytest.raises(vs.UnsupportedError, match="quantization is 'nonsense'"):
        vs.search(space(quantization="nonsense"))


def test_a_length_beyond_the_model_is_refused_as_plan_does():
    with pytest.raises(vs.UnsupportedError, match="above the 40,960 of the model's config"):
        vs.search(space(engine_args=vs.EngineArgs(max_model_len=10**6)))


def methods(*names, gpu=H100, **changes):
    tried = groups(space(*names, gpus=gpu, num_gpus=1, **changes))
    return list(dict.fromkeys(group.args.quantization for group in tried))


def test_quantizations_that_exist_are_tried():
    """
    Each format once (fp8 and fp8_per_tensor are one), none below 8 bits unless it is named.
    """
    assert methods() == [None, "fp8", "fp8_per_block", "fp8_per_channel", "mxfp8"]
    assert set(methods("Qwen/Qwen3-30B-A3B")) == {*methods(), "int8_per_channel_weight_only", "experts_int8"}
    assert methods("Qwen/Qwen3-8B-FP8") == [None]
    assert methods(gpu=vs.find_gpu("v100-16gb")) == [None]
    assert methods(gpu=MI300X) == [None]
    assert methods(vllm_version="0.10.0") == [None, "fp8"]
    assert methods(quantization=("mxfp4", None)) == ["mxfp4", None]
    assert methods(policy=vs.Policy(allow_quantization=False)) == [None]


def test_what_is_fixed_is_not_varied():
    args = vs.EngineArgs(
        tensor_parallel_size=2,
        data_parallel_size=1,
        pipeline_parallel_size=1,
        quantization="fp8",
        kv_cache_dtype="fp8",
        max_num_seqs=32,
        max_num_batched_tokens=4096,
    )

    (offer,) = vs.sweep(space(gpus=H100, engine_args=args))

    assert offer.plan.requested == args


def test_experts_are_spread_where_there_are_some():
    tried = [
        (group.args.tensor_parallel_size, group.args.data_parallel_size, group.args.enable_expert_parallel)
        for group in groups(space("Qwen/Qwen3-30B-A3B", gpus=H100, quantization=None, kv_cache_dtype="auto"))
    ]

    assert (2, 1, True) in tried
    assert (1, 2, True) in tried
    assert (1, 1, True) not in tried
    fixed = vs.EngineArgs(enable_expert_parallel=True)
    kept = groups(space("Qwen/Qwen3-30B-A3B", gpus=H100, num_gpus=2, engine_args=fixed))
    assert {group.args.enable_expert_parallel for group in kept} == {True}


def test_a_cache_dtype_that_the_checkpoint_asks_for_is_not_tried_twice():
    model = attrs.evolve(vs.load_model("Qwen/Qwen3-8B"), kv_cache_dtype="fp8")

    assert {group.args.kv_cache_dtype for group in groups(space(models=model))} == {None}
    plain = space(policy=vs.Policy(allow_kv_cache_dtype=False))
    assert {group.args.kv_cache_dtype for group in groups(plain)} == {None}


def test_several_nodes_are_joined():
    found = list(vs.sweep(space(gpus=H100, num_gpus=2, num_nodes=2, quantization=None, kv_cache_dtype="auto")))

    assert {offer.plan.num_gpus for offer in found} == {4}
    assert max(offer.plan.engine_args.tensor_parallel_size for offer in found) == 2
    assert {offer.usd_per_hour for offer in found} == {4 * 2.95}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": ()}, "models is empty; it must be a ModelSpec, or several"),
        ({"gpus": "l4"}, "gpus has 'l4'; it must be a GpuSpec, or several"),
        ({"num_gpus": (1, 0)}, "num_gpus has 0; it must be an integer of at least 1, or several"),
        ({"num_gpus": True}, "num_gpus has True"),
        ({"max_num_seqs": (None, "8")}, "max_num_seqs has '8'; it must be an integer of at least 1 or None"),
        ({"enable_expert_parallel": 1}, "enable_expert_parallel has 1; it must be a bool"),
        ({"quantization": 8}, "quantization has 8; it must be a method of vLLM or None"),
        ({"output_tokens_per_s": 0}, "output_tokens_per_s is 0; it must be a number above 0"),
        ({"workload": "chat"}, "workload is 'chat'; it must be of class Workload"),
        ({"vllm_version": ""}, "vllm_version is ''; it must be text"),
        ({"rank": "price"}, "rank is 'price'; it must be one of usd_per_hour, usd_per_million_tokens"),
        ({"prices": 3}, "prices has 3; it must be a Price"),
        ({"models": [[]]}, "models has []; it must be a ModelSpec"),
    ],
)
def test_a_space_that_cannot_be_meant_is_refused(changes, words):
    with pytest.raises(vs.InvalidValueError) as caught:
        space(**changes)

    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_sizes_that_never_meet_are_refused_before_the_work_begins():
    with pytest.raises(vs.InvalidValueError, match=r"num_gpus is 1, 2, which no product .* equals"):
        vs.sweep(space(tensor_parallel_size=(3, 5)))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"executor": "dask"}, "executor is 'dask'; it must have submit()"),
        ({"executor": Later(), "in_flight": 0}, "in_flight is 0; it must be an integer of at least 1"),
    ],
)
def test_an_executor_that_is_none_is_refused(more, words):
    with pytest.raises(vs.InvalidValueError) as caught:
        vs.search(space(), **more)

    assert words in caught.value.message


def test_one_value_stands_for_several_and_twice_is_once():
    tried = space(num_gpus=[2, 2, 1], kv_cache_dtype="auto", concurrency=range(1, 4))

    assert tried.num_gpus == (2, 1)
    assert tried.kv_cache_dtype == ("auto",)
    assert tried.concurrency == (1, 2, 3)


def test_a_listed_price_is_that_of_the_smallest_instance_that_holds_them():
    prices = vs.listed_prices()

    assert price_of(prices, "h100-sxm", 1).instance == "gpu-h100-sxm_1gpu-16vcpu-200gb"
    assert price_of(prices, "h100-sxm", 2).num_gpus == 8
    assert not price_of(prices, "h100-sxm", 8).stale
    assert price_of(prices, "a100-sxm-80gb", 1).stale
    assert price_of(prices, "h100-sxm", 16) is None
    assert price_of(prices, "mi300x", 1) is None


def test_every_listed_price_is_of_a_gpu_that_we_know_and_has_its_source():
    for price in vs.listed_prices():
        assert vs.find_gpu(price.gpu).name == price.gpu
        assert price.num_gpus
        assert price.date
        assert price.source


@pytest.mark.parametrize("usd", [0, -1, float("inf"), float("nan"), "2", True])
def test_a_price_is_a_number_above_0(usd):
    with pytest.raises(vs.InvalidValueError, match="it must be a number of US dollars above 0"):
        vs.Price(gpu="l4", usd_per_gpu_hour=usd)
