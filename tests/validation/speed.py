"""
Published measurements of speed as rows, the plan of each, and errors over cells (a model on a GPU).
"""

from __future__ import annotations

import collections
import csv
import gzip
import json
import math
import statistics
from functools import cache
from pathlib import Path

import vllm_sizing as vs

DATA = Path(__file__).parents[1] / "data" / "validation"
METRICS = ("ttft", "tpot", "throughput")


@cache
def configs():
    return json.loads(gzip.decompress((DATA / "configs.json.gz").read_bytes()))


@cache
def load(name):
    found = configs()[name]
    return vs.model_from_config(
        found["config"], name=name.partition("/")[2], hf_quant_config=found.get("hf_quant_config")
    )


@cache
def rows():
    with (DATA / "speed.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def number(text):
    return float(text) if text else None


def measured(row):
    """
    TTFT and TPOT in ms and output tokens/s; what the source leaves out follows from Little's law.
    """
    ttft, tpot, rate = (number(row[name]) for name in ("ttft_ms", "tpot_ms", "output_tokens_per_s"))
    return {"ttft": ttft, "tpot": tpot, "throughput": rate or little(row, ttft, tpot)}


def little(row, ttft, tpot):
    slots, tokens = float(row["concurrency"]), float(row["mean_output_tokens"])
    return slots * tokens / (ttft + (tokens - 1) * tpot) * 1e3


def burst(row, tokens_per_s, dp):
    """
    What the opening of a run adds to a mean TTFT, in ms: (slots - 1) / 2 prefills in one round of so many.
    """
    if not row["ttft_is_mean"]:
        return 0.0
    slots = float(row["concurrency"])
    share = min(1.0, slots / (number(row["num_prompts"]) or 10 * slots))
    return share * (slots / dp - 1) / 2 * float(row["mean_input_tokens"]) * 1e3 / tokens_per_s


def question(row):
    """
    Arguments of `plan` for the deployment that was measured.
    """
    tp, pp, dp = (int(float(row[name])) for name in ("tp", "pp", "dp"))
    engine = json.loads(row["engine_args"] or "{}")
    if row["kv_dtype"].startswith("fp8"):
        engine.setdefault("kv_cache_dtype", "fp8")
    sizes = {"pipeline_parallel_size": pp, "data_parallel_size": dp}
    engine.update({name: size for name, size in sizes.items() if size > 1})
    args = vs.EngineArgs(
        tensor_parallel_size=tp,
        enable_expert_parallel=float(row["ep"]) > 1,
        max_model_len=int(float(row["input_len"]) + float(row["output_len"])) + 256,
        **engine,
    )
    lengths = (round(float(row[name])) for name in ("mean_input_tokens", "mean_output_tokens"))
    gpus = tp * pp * dp
    where = {"num_gpus": gpus} if gpus <= 8 else {"num_gpus": 8, "num_nodes": math.ceil(gpus / 8)}
    if row["vllm_version"]:
        where["vllm_version"] = row["vllm_version"]
    return vs.find_gpu(row["gpu"]), vs.Workload(*lengths, int(row["concurrency"])), {"engine_args": args, **where}


def plan_row(row):
    gpu, workload, where = question(row)
    return vs.plan(load(f"speed/{row['config']}"), gpu, workload, **where)


def predicted(row, performance):
    """
    (low, mid, high) of each metric, the burst in TTFT included.
    """
    ttft, rate, dp = performance.ttft_ms, performance.prefill_tokens_per_s, float(row["dp"])
    ends = ((ttft.low, rate.high), (ttft.mid, rate.mid), (ttft.high, rate.low))
    found = {"ttft": tuple(value + dp * burst(row, speed, dp) for value, speed in ends)}
    for metric, estimate in (("tpot", performance.tpot_ms), ("throughput", performance.output_tokens_per_s)):
        found[metric] = (estimate.low, estimate.mid, estimate.high)
    return found


class Score:
    """
    Errors of one metric: (row, measured, (low, mid, high)).
    """

    def __init__(self):
        self.cells, self.logs, self.inside = collections.defaultdict(list), [], []

    def add(self, row, want, got):
        low, mid, high = got
        self.cells[row["config"], row["gpu"]].append(abs(mid / want - 1))
        self.logs.append(math.log(mid / want))
        self.inside.append(low <= want <= high)

    @property
    def over_cells(self):
        return statistics.median(statistics.median(cell) for cell in self.cells.values())

    @property
    def worst(self):
        return max(statistics.median(cell) for cell in self.cells.values())

    @property
    def p90(self):
        errors = sorted(error for cell in self.cells.values() for error in cell)
        return errors[min(len(errors) - 1, int(0.9 * len(errors)))]

    @property
    def bias(self):
        return statistics.fmean(self.logs)

    @property
    def coverage(self):
        return statistics.fmean(self.inside)


def score(answers):
    """
    Scores by metric of (row, answers by metric) pairs.
    """
    scores = {metric: Score() for metric in METRICS}
    for row, got in answers:
        want = measured(row)
        for metric in METRICS:
            scores[metric].add(row, want[metric], got[metric])
    return scores
