"""
``python -m tests.validation``: error tables; ``python -m tests.validation fit``: the constants anew.
"""

from __future__ import annotations

import collections
import statistics
import sys

from tests.validation import alternatives, memory, outside, speed
from tests.validation.cases import cases
from tests.validation.left_out import GROUPS, left_out_scores
from vllm_sizing.errors import SizingError
from vllm_sizing.sizing import accuracy, performance, steady

QUANTIZATIONS = {"gpt-oss": "mxfp4", "nvfp4": "nvfp4", "NVFP4": "nvfp4", "Kimi": "int4", "fp8": "fp8", "MiniMax": "fp8"}


def speed_table():
    """
    {(rule, group): scores} for us and the alternatives, and the rows that aiconfigurator answered.
    """
    groups, everything = collections.defaultdict(list), cases()
    for case in everything:
        row, server = case.row, case.server
        got = speed.predicted(row, performance.performance_of(server, case.gpu))
        ours = (row, got)
        state = steady.steady_state(server, performance.DEFAULTS)
        for key in (
            ("all rows", ""),
            ("GPU", case.gpu),
            ("model", row["config"]),
            ("class", kind(server)),
            ("regime", accuracy.regime(server, state)),
            ("source", "InferenceX" if row["ttft_is_mean"] else "jetson-ai-lab"),
        ):
            groups[key].append(ours)
        others = {
            "original heuristic table": alternatives.heuristic(
                server, case.gpu, billions(row), quantization(row), int(float(row["tp"]))
            ),
            "datasheet roofline": alternatives.datasheet(server),
            "weights / bandwidth": alternatives.weights_only(server),
        }
        for name, (ttft, tpot) in others.items():
            groups["alternative", name].append((row, plain(row, ttft, tpot)))
        if row["aic_ttft_ms"]:
            answer = plain(row, float(row["aic_ttft_ms"]), float(row["aic_tpot_ms"]))
            groups["rows that aiconfigurator answered", "aiconfigurator 0.12"].append((row, answer))
            groups["rows that aiconfigurator answered", "vllm-sizing"].append(ours)
    found = {key: speed.score(pairs) for key, pairs in groups.items()}
    return found | {("left out", f"the {name}"): left_out_scores(everything, name) for name in GROUPS}


def kind(server):
    """
    What runs: dense or experts, and the format of most weights.
    """
    work = server.work
    parts = work.experts or work.dense
    largest = max(parts, key=lambda part: part.num_bytes)
    latent = " (MLA)" if any(read.flops_per_token != read.decode_flops_per_token for read in work.caches) else ""
    blocks = " in blocks" if largest.blocks else ""
    return f"{'experts' if work.experts else 'dense'}, {largest.method or 'bf16'}{blocks}{latent}"


def plain(row, ttft, tpot):
    rate = speed.little(row, ttft, tpot)
    return {"ttft": (ttft,) * 3, "tpot": (tpot,) * 3, "throughput": (rate,) * 3}


def billions(row):
    return {"gpt": 117.0, "Min": 229.0, "nvi": 229.0, "Kim": 1026.0, "moo": 1026.0, "Qwe": 8.2}.get(
        row["config"].removeprefix("openai--")[:3], 70.6
    )


def quantization(row):
    return next((name for piece, name in QUANTIZATIONS.items() if piece in row["config"]), "")


def print_speed(table):
    print("Speed: median over cells of the absolute error (worst cell; rows inside the 80 % interval)\n")
    print(f"{'':58}{'TTFT':>22}{'TPOT':>22}{'throughput':>22}   rows")
    for (kind, name), scores in sorted(table.items()):
        cells = "".join(f"{one.over_cells:8.1%} ({one.worst:5.0%}; {one.coverage:4.0%})" for one in scores.values())
        print(f"{kind + ': ' + name if name else kind:58}{cells}   {len(scores['tpot'].logs):4}")


def memory_table():
    """
    {(part, group): [(ours, theirs)]}, coverage and calls, and starts that cannot be planned.
    """
    found, calls, unknown = collections.defaultdict(list), [], []
    for row in memory.rows():
        try:
            plan = memory.plan_row(row)
        except SizingError as error:
            unknown.append((row["id"], str(error)))
            continue
        minor = ".".join(row["version_used"].split(".")[:2])
        parts = memory.compare(row, plan)
        roomy = ("a tenth of the GPU or more",) if parts.get("roomy") else ()
        for part, pair in parts.items():
            for group in ("all", *roomy, f"version {minor}", plan.cluster.gpu.name):
                found[part, group].append(pair)
        called = memory.outcome(row, plan)
        if called:
            calls.append((row["id"], *called))
    return found, calls, unknown


def print_memory(found, calls, unknown):
    print("\nMemory: absolute error in GiB, median and 90th percentile (weights and tokens in percent)\n")
    for (part, group), pairs in sorted(found.items()):
        if part in ("inside", "roomy"):
            continue
        relative = part in ("weights", "tokens")
        errors = sorted(abs(ours - theirs) / (theirs if relative else 1) for ours, theirs in pairs)
        middle, far = statistics.median(errors), errors[min(len(errors) - 1, int(0.9 * len(errors)))]
        shown = f"{middle:8.2%} {far:8.2%}" if relative else f"{middle:8.2f} {far:8.2f}"
        print(f"  {part:16}{group:22}{shown}   {len(errors):3} rows")
    inside = found["inside", "all"]
    print(f"  measured caches inside the 80 % interval: {sum(inside)} of {len(inside)}")
    for kind in ("start", "failure"):
        right = [called for _, what, called in calls if what == kind]
        missed = ", ".join(row for row, what, called in calls if what == kind and not called)
        print(f"  {kind}s called right: {sum(right)} of {len(right)}{'; not ' + missed if missed else ''}")
    for row, reason in unknown:
        print(f"  not planned {row}: {reason:.100}")


def print_fit():
    from tests.validation import fit, left_out

    everything = cases()
    constants = fit.fit(everything)
    for name in fit.FREE:
        print(f"    {name}: float = {float(f'{getattr(constants, name):.3g}')}")
    print("fitted on all rows", fit.errors_over_cells(everything, fit.residuals(everything, constants)))
    kept = {}
    for name, key in left_out.GROUPS.items():
        kept[name] = fit.left_out(everything, key)
        logs = fit.left_out_residuals(everything, key, kept[name])
        print(f"a {name} left out", fit.errors_over_cells(everything, logs))
        for kind, number, low, high in fit.quantiles(everything, logs):
            print(f'    "{kind}": ({", ".join(str(pair) for pair in zip(low, high, strict=True))}),  # {number} rows')
    fit.save(kept)


if __name__ == "__main__":
    if sys.argv[1:] == ["fit"]:
        print_fit()
    else:
        print_speed(speed_table())
        outside.show()
        print_memory(*memory_table())
