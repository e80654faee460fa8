"""
A replica in balance: what each request meets when so many are in flight, or so many come per second.

Continuous batching in seconds, from the steps of `roofline`; estimates are made of it in `performance`.
"""

from __future__ import annotations

import math

import attrs

from vllm_sizing.sizing.machine import Machine
from vllm_sizing.sizing.roofline import Pace, Step, pace_of, step
from vllm_sizing.sizing.speed_constants import Constants
from vllm_sizing.sizing.work import Work
from vllm_sizing.specs.plan import Percentiles
from vllm_sizing.specs.value import Value
from vllm_sizing.specs.workload import Workload

ONSET = 0.04  # How sharply waiting for the KV cache begins.
FULL = 0.95  # Busier than that, a server is not called steady.
NORMAL_90, NORMAL_99 = 1.2816, 2.3263


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Server(Value):
    """
    One replica and what is asked of it: all that speed depends on.

    Attributes:
        work, machine: Of one rank.

        slots: Requests in flight on the replica.

        prompt: Tokens to prefill, what the prefix cache holds left out.

        request_blocks: Cache blocks of a request that has grown half-way; ``pool``: all there are.
    """

    work: Work
    machine: Machine
    workload: Workload
    slots: float
    prompt: float
    replicas: int
    num_gpus: int
    max_num_seqs: int
    max_num_batched_tokens: int
    request_blocks: int
    pool: int

    @property
    def seats(self) -> float:
        """
        Requests that run at once at most.
        """
        held = self.pool / self.request_blocks if self.request_blocks else math.inf
        return max(1.0, min(self.max_num_seqs, held))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Steady(Value):
    """
    The replica in balance: seconds, and what they were made of.

    Attributes:
        slots: Requests in flight; ``running``: in the batch.

        prefill_s: A request's own prompt; ``load``: share of the time that prompts take.

        wait_s: For a place in the batch; ``jitter_s``: mean of the waits that come by chance.

        decode, mixed: A step without and with a prompt.

        passing: Steps with others' prompts during one answer.

        burst_s: Mean TTFT when all of them come at once.
    """

    slots: float
    running: float
    ttft_s: float
    tpot_s: float
    e2el_s: float
    prefill_s: float
    prefill_tokens_per_s: float
    load: float
    wait_s: float
    jitter_s: float
    decode: Step
    mixed: Step
    passing: float
    passing_s: float
    burst_s: float


def steady_state(
    server: Server, constants: Constants, slots: float | None = None, *, pace: Pace | None = None
) -> Steady:
    """
    So many slots, each sending its next request when the last has ended (a closed loop).
    """
    machine, workload = server.machine, server.workload
    pace = pace or pace_of(server.work, machine, constants)
    slots = server.slots if slots is None else slots
    stages = machine.pipeline
    seats = min(slots, server.max_num_seqs)
    # Requests grow while they run, so the cache holds more than full-grown ones; the scheduler admits
    # until it is full and then preempts, so that it holds fewer than at their mean length.
    ratio = seats * server.request_blocks / server.pool
    crowd = ONSET * math.log1p(math.exp(min(600.0, (ratio - 1.0) / ONSET)))
    running = max(1.0, seats / (1.0 + crowd))
    others, further = running - 1, max(workload.output_tokens - 1, 0)
    context = workload.input_tokens + workload.output_tokens / 2
    prompt = server.prompt
    budget = max(1.0, server.max_num_batched_tokens - running)
    chunks = math.ceil(prompt / min(prompt, budget))
    # Where answers are short, several prompts share a step; what finds no step to ride on queues.
    rides = others * chunks
    prompts = max(1.0, min(rides / max(further * stages, 1), budget * chunks / prompt))
    chunk, attended = prompts * prompt / chunks, workload.input_tokens - prompt / 2
    alone = step(pace, max(1.0, running / stages), context)
    passing = min(rides / prompts, further * stages)
    decoding = others * passing * prompts / rides if rides else 0.0
    mixed = step(pace, decoding / stages, context, chunk, attended, prompts)
    # Prompts alone fill their steps, as in the opening of a run.
    full = min(budget, prompt * slots) if chunks == 1 else chunk
    bare = step(pace, 0.0, 0.0, full, attended, max(1.0, full / prompt))
    decode_s, mixed_s = alone.seconds, mixed.seconds
    passing_s = passing * max(mixed_s - decode_s, 0.0) * constants.mix
    # A request's own step holds other prompts as well.
    queued_s = max(0.0, (rides + 1) / prompts - passing - 1) * mixed_s
    accepted = 1.0 + (machine.queries - 1) * (workload.acceptance_rate or 0.0)
    tpot_s = stages * decode_s / accepted + passing_s / max(further, 1)
    prefill_s = (chunks + stages - 1) * mixed_s
    cycle_s = prefill_s + queued_s + tpot_s * further
    load = min(1.0, running * chunks * mixed_s / prompts / cycle_s)
    jitter_s = prefill_s * constants.queue * load / (2 - load)
    wait_s = queued_s + (slots / running - 1.0) * cycle_s if slots > running else queued_s
    front_us = constants.front_us + constants.front_token_us * workload.input_tokens
    front_s = 1e-6 * (front_us + constants.front_slot_us * slots)
    ttft_s = front_s + prefill_s + jitter_s + stages * decode_s / 2 + wait_s
    rate = full / bare.seconds
    return Steady(
        slots=slots,
        running=running,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        e2el_s=ttft_s + tpot_s * further,
        prefill_s=prefill_s,
        prefill_tokens_per_s=rate,
        load=load,
        wait_s=wait_s,
        jitter_s=jitter_s,
        decode=alone,
        mixed=mixed,
        passing=passing,
        passing_s=passing_s,
        burst_s=front_s + prefill_s + others / 2 * prompt / rate + wait_s / 2,
    )


def open_loop(server: Server, constants: Constants, rate: float) -> tuple[Steady, bool]:
    """
    Requests at a rate (per second, of this replica), whatever the server does; whether that is too much.

    By Little's law as many are in flight as come during one request.  One that arrives finds them all, so
    it fares like one of a closed loop with one slot more.
    """
    full, pace = server.seats, pace_of(server.work, server.machine, constants)
    fullest = at_load(server, constants, full, pace=pace)
    if rate * fullest.e2el_s >= full:
        return fullest, True
    low, high = 0.0, full
    slots = min(full, rate * steady_state(server, constants, 1.0, pace=pace).e2el_s)
    found = at_load(server, constants, slots, pace=pace)
    while abs((wanted := rate * found.e2el_s) - slots) > 1e-3 * slots and high - low > 1e-6 * high:
        low, high = (slots, high) if wanted > slots else (low, slots)
        slots = wanted if low < wanted < high else (low + high) / 2
        found = at_load(server, constants, slots, pace=pace)
    return found, False


def at_load(server: Server, constants: Constants, in_flight: float, *, pace: Pace | None = None) -> Steady:
    """
    An open loop with so many in flight on average: the waits that come by chance are added.
    """
    seats = server.seats
    steady = steady_state(server, constants, min(in_flight + 1.0, seats), pace=pace)
    busy = min(FULL, in_flight / seats)
    # Prompts queue for the GPU as in M/D/1; requests for a place as in M/D/c (Sakasegawa's approximation).
    rate = in_flight / steady.e2el_s
    load = min(FULL, rate * steady.prefill_s)
    queue_s = load / (2 * (1 - load)) * steady.prefill_s
    seat_s = busy ** (math.sqrt(2 * (seats + 1)) - 1) / (seats * (1 - busy)) * steady.e2el_s / 2
    more = max(queue_s - steady.jitter_s, 0.0) + seat_s
    return steady.replaced(
        slots=in_flight,
        running=min(steady.running, max(1.0, in_flight)),
        load=load,
        jitter_s=max(queue_s, steady.jitter_s) + seat_s,
        ttft_s=steady.ttft_s + more,
        e2el_s=steady.e2el_s + more,
    )


def spreads(
    server: Server, steady: Steady, constants: Constants, *, random: bool
) -> tuple[Percentiles, Percentiles, Percentiles, Percentiles]:
    """
    Percentiles in milliseconds of TTFT, TPOT, the gap between two tokens, and the whole request.

    Args:
        random: Requests arrive at random (an open loop), so that their number in flight changes as well.
    """
    further = max(server.workload.output_tokens - 1, 0)
    step_s, stages = steady.decode.seconds, server.machine.pipeline
    # A request waits for the step under way, uniformly, and by chance for other prompts, exponentially.
    chance = max(steady.load, 1e-9)
    base = steady.ttft_s - steady.jitter_s - stages * step_s / 2
    ttft = [base + share * stages * step_s + _tail(share, chance, steady.jitter_s) for share in (0.5, 0.9, 0.99)]
    deviation = steady.passing_s / max(further, 1) / math.sqrt(max(steady.passing, 1.0)) / 2
    if random:
        # Their number, averaged over one request's stay, varies by 2/3 of its mean.
        crowded = steady.slots + math.sqrt(2 * max(steady.slots, 0.0) / 3)
        deviation += max(0.0, steady_state(server, constants, crowded + 1.0).tpot_s - steady.tpot_s)
    tpot = [steady.tpot_s + number * deviation for number in (0.0, NORMAL_90, NORMAL_99)]
    share = min(1.0, steady.passing / max(further * stages, 1))
    longer_s = max(steady.mixed.seconds, step_s)
    gaps = [longer_s if part > 1 - share else step_s for part in (0.5, 0.9, 0.99)]
    e2el = [ttft[0] + steady.tpot_s * further] + [
        steady.e2el_s + math.hypot(max(first - steady.ttft_s, 0.0), further * (each - steady.tpot_s))
        for first, each in zip(ttft[1:], tpot[1:], strict=True)
    ]
    return _milliseconds(ttft), _milliseconds(tpot), _milliseconds([stages * gap for gap in gaps]), _milliseconds(e2el)


def _milliseconds(seconds: list[float]) -> Percentiles:
    return Percentiles(seconds[0] * 1e3, seconds[1] * 1e3, seconds[2] * 1e3)


def _tail(share: float, chance: float, mean_s: float) -> float:
    """
    Quantile of a wait that happens with some chance and is then exponential.
    """
    if share <= 1 - chance:
        return 0.0
    return mean_s / chance * math.log(chance / (1 - share))
