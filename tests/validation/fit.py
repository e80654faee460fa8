"""
Fits the constants of the roofline by least squares on log errors, and cross-validates them.

``python -m tests.validation fit``: on all rows, with each model and each GPU left out.  A constant
is pulled towards its prior with the deviation below: what the rows cannot settle stays physics.
"""

from __future__ import annotations

import collections
import math

import numpy as np
from scipy.optimize import least_squares

from tests.validation.cases import answers
from vllm_sizing.sizing import performance
from vllm_sizing.sizing.roofline import Constants

# Logarithmic deviation of each prior; the centres are round guesses from physics and public sources.
FREE = {
    "dense_memory": (0.82, 0.1), "moe_memory": (0.6, 0.2), "kv_memory": (0.6, 0.2),
    "dense_compute": (0.5, 0.2), "bf16_compute": (0.6, 0.15), "moe_compute": (0.3, 0.3),
    "attention_compute": (0.45, 0.2), "blackwell_compute": (0.8, 0.2), "fp4_compute": (0.75, 0.2),
    "moe_tokens": (20.0, 0.5), "moe_columns": (180.0, 0.5), "moe_routing": (0.8, 0.08),
    "layer_us": (45.0, 0.3), "moe_layer_us": (20.0, 0.4), "moe_block_layer_us": (30.0, 0.4),
    "moe_fused_layer_us": (10.0, 0.7), "step_us": (500.0, 0.5), "sequence_us": (5.0, 0.5),
    "eager_layer_us": (300.0, 0.5), "eager_step_us": (8000.0, 0.7), "reduce_us": (8.0, 0.3),
    "reduce_growth": (1.4, 0.1), "link": (0.45, 0.3), "front_us": (15_000.0, 0.4),
    "front_token_us": (3.4, 0.4), "front_slot_us": (300.0, 0.5), "mix": (0.9, 0.1), "queue": (0.15, 0.5),
}  # fmt: skip
WEIGHT = np.array([0.5, 1.0, 0.7])  # Of TTFT, TPOT, throughput: they scatter 2:1:1.4.
SCALE = 0.08  # Of a residual, below which it counts as noise.
PRIOR = 8.0  # Rows that a prior is worth.


def residuals(chosen, constants):
    return np.log([answers(case, constants) for case in chosen]) - np.array([case.logs for case in chosen])


def fit(chosen):
    """
    The constants that explain these rows best; each cell counts as the root of its rows.
    """
    sizes = collections.Counter((case.row["config"], case.gpu) for case in chosen)
    weight = np.array([sizes[case.row["config"], case.gpu] ** -0.25 for case in chosen])[:, None] * WEIGHT
    weight *= math.sqrt(len(chosen)) / np.sqrt((weight**2).sum())
    centres = np.log([centre for centre, _ in FREE.values()])
    deviations = np.array([deviation for _, deviation in FREE.values()])

    def errors(point):
        off = residuals(chosen, constants_at(point)) / SCALE * weight
        # Pseudo-Huber by hand, so that priors stay quadratic.
        soft = np.sign(off) * np.sqrt(2 * (np.sqrt(1 + off**2) - 1))
        return np.concatenate([soft.ravel(), math.sqrt(PRIOR) * (point - centres) / deviations])

    return constants_at(least_squares(errors, centres, diff_step=1e-3, max_nfev=12, ftol=1e-4).x)


def constants_at(point):
    return Constants(**dict(zip(FREE, np.exp(point).tolist(), strict=True)))


def errors_over_cells(chosen, logs):
    """
    Median over cells of the cell's median absolute error, by metric.
    """
    cells = collections.defaultdict(list)
    for case, log in zip(chosen, logs, strict=True):
        cells[case.row["config"], case.gpu].append(np.abs(np.expm1(log)))
    return np.median([np.median(cell, axis=0) for cell in cells.values()], axis=0)


def left_out(everything, key):
    """
    Residuals of every row under constants fitted without its group.
    """
    logs = np.zeros((len(everything), 3))
    for group in sorted({key(case) for case in everything}):
        inside = [key(case) == group for case in everything]
        constants = fit([case for case, held in zip(everything, inside, strict=True) if not held])
        logs[inside] = residuals([case for case, held in zip(everything, inside, strict=True) if held], constants)
    return logs


def quantiles(everything, logs):
    """
    (regime, 10 %, 90 %) of measured over predicted, as logarithms, by regime.
    """
    kinds = collections.defaultdict(list)
    for case, log in zip(everything, logs, strict=True):
        steady = performance.steady_state(case.server, performance.DEFAULTS)
        kinds[performance.regime(case.server, steady)].append(-log)
    for kind, found in sorted(kinds.items()):
        low, high = np.quantile(found, [0.1, 0.9], axis=0).round(2).tolist()
        yield f"{kind} ({len(found)})", low, high
