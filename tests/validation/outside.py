"""
Measurements outside the fit: other GPUs, other models, open loops, bursts; for the order of magnitude.

Rows of ``outside.csv`` keep what their sources say; what they leave out (memory share, batch limits) is
vLLM's default, so an error here is partly theirs.
"""

from __future__ import annotations

import csv
import math
import statistics
from functools import cache

import vllm_sizing as vs
from tests.validation.speed import DATA, number

METRICS = ("ttft", "ttft_p99", "tpot", "tpot_p99", "throughput")


@cache
def rows():
    with (DATA / "outside.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def plan_row(row):
    """
    The plan of the deployment that was measured.
    """
    model, ranks = vs.load_model(row["model"]), int(row["tp"])
    lengths = int(row["input_tokens"]), int(row["output_tokens"])
    args = vs.EngineArgs(
        tensor_parallel_size=ranks,
        max_model_len=min(model.max_model_len, sum(lengths) + 1024),
        quantization=row["quantization"] or None,
        max_num_seqs=int(row["max_num_seqs"]) if row["max_num_seqs"] else None,
    )
    workload = vs.Workload(*lengths, int(row["concurrency"] or 1), request_rate=number(row["request_rate"]))
    version = {"vllm_version": row["vllm_version"]} if row["vllm_version"] else {}
    return vs.plan(model, vs.find_gpu(row["gpu"]), workload, num_gpus=ranks, engine_args=args, **version)


def pairs(row, speed):
    """
    (predicted, measured) by metric; predicted with its interval where it has one.
    """
    answers = {
        "ttft": (speed.ttft_ms, "ttft_ms"),
        "ttft_p99": (speed.ttft_percentiles_ms.p99, "ttft_p99_ms"),
        "tpot": (speed.tpot_ms, "tpot_ms"),
        "tpot_p99": (speed.tpot_percentiles_ms.p99, "tpot_p99_ms"),
        "throughput": (speed.output_tokens_per_s, "output_tokens_per_s"),
    }
    return {metric: (ours, float(row[name])) for metric, (ours, name) in answers.items() if row[name]}


def compared():
    """
    [(row, pairs)] of every row.
    """
    return [(row, pairs(row, plan_row(row).performance)) for row in rows()]


def table(found):
    """
    {(GPU, load): {metric: (rows, median ratio of predicted to measured, median error, inside)}}.
    """
    groups = {}
    for row, each in found:
        for metric, (ours, measured) in each.items():
            mid = ours.mid if isinstance(ours, vs.Estimate) else ours
            inside = not isinstance(ours, vs.Estimate) or ours.low <= measured <= ours.high
            group = groups.setdefault((row["gpu"], row["load"]), {})
            group.setdefault(metric, []).append((mid / measured, inside))
    return {key: {metric: _summary(values) for metric, values in group.items()} for key, group in groups.items()}


def _summary(values):
    ratios = [ratio for ratio, _ in values]
    error = statistics.median(abs(ratio - 1) for ratio in ratios)
    middle = math.exp(statistics.median(math.log(ratio) for ratio in ratios))
    return len(values), middle, error, statistics.fmean(inside for _, inside in values)


def show():
    """
    Prints predicted over measured, by GPU and kind of load.
    """
    print("\nOutside the fit: predicted over measured, median (rows)\n")
    print(f"{'':44}" + "".join(f"{metric:>16}" for metric in METRICS))
    for (gpu, load), group in sorted(table(compared()).items()):
        cells = "".join(f"{group[m][1]:10.2f} ({group[m][0]:3})" if m in group else " " * 16 for m in METRICS)
        print(f"{gpu + ', ' + load:44}{cells}")
