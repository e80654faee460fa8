"""
Fits the constants of the roofline by least squares on log errors, and cross-validates them.

``python -m tests.validation fit``: on all rows, with each model and each GPU left out.  A constant
is pulled towards its prior with the deviation below: what the rows cannot settle stays physics.
"""

from __future__ import annotations

import collections
import json
import math

import numpy as np

from tests.validation.cases import answers
from tests.validation.left_out import PLACE
from vllm_sizing.sizing import accuracy, performance, steady
from vllm_sizing.sizing.speed_constants import Constants

# Centre and logarithmic deviation of each prior: physics and public sources, not these rows, so that a
# fit without some rows knows nothing of them.
#   memory   aiconfigurator's systems/*.yaml: 0.8 of the datasheet; gathered experts and paged KV cache lie lower
#   compute  large BF16 products alone reach 0.75 to 0.8 (H100, H200, B200); FP8 is held back by power;
#            attention between FlashAttention-2 (0.35) and 3 (0.75; arXiv 2407.08608)
#   experts  tensor cores take tiles of 64 to 128: half their speed at half a tile of tokens, at a tile of columns;
#            independent routing has the exponent 1
#   launch   3 us per kernel (aiconfigurator): 11 kernels in a dense layer, 3 more that quantize what comes in,
#            5 more with experts, 9 where they quantize by block, 3 where one kernel does all; without graph
#            10 times that on the CPU
#   link     8 to 10 us a hop; a ring reaches half of a direction in messages of some MB
#   front    HTTP and tokenizing: 8 ms, 3 us per token; M/D/1 queue: 0.5; all others' prompts pass: 1
FREE = {
    "dense_memory": (0.8, 0.1), "moe_memory": (0.75, 0.3), "kv_memory": (0.7, 0.3),
    "dense_compute": (0.55, 0.3), "bf16_compute": (0.65, 0.25), "moe_compute": (0.4, 0.4),
    "attention_compute": (0.5, 0.3), "blackwell_compute": (0.94, 0.3), "fp4_compute": (1.0, 0.3),
    "packed_compute": (0.9, 0.2), "activation_passes": (2.0, 0.5), "dense_tokens": (64.0, 0.7),
    "moe_tokens": (32.0, 0.6), "moe_columns": (128.0, 0.6), "moe_routing": (1.0, 0.15),
    "layer_us": (33.0, 0.3), "quantized_layer_us": (10.0, 0.5), "moe_layer_us": (15.0, 0.5),
    "moe_block_layer_us": (28.0, 0.5), "moe_fused_layer_us": (8.0, 0.7), "step_us": (500.0, 0.7), "sequence_us": (5.0, 1.0),
    "eager_launch": (10.0, 0.7), "eager_step_us": (5000.0, 0.7), "reduce_us": (9.0, 0.4),
    "reduce_growth": (1.4, 0.2), "bulk_us": (30.0, 0.7), "link": (0.5, 0.4), "front_us": (8000.0, 0.25),
    "front_token_us": (3.0, 0.7), "front_slot_us": (200.0, 1.0), "mix": (1.0, 0.15), "queue": (0.5, 1.0),
}  # fmt: skip
WEIGHT = np.array([0.5, 1.0, 0.7])  # Of TTFT, TPOT, throughput: they scatter 2:1:1.4.
SCALE = 0.08  # Of a residual, below which it counts as noise.
UNSEEN = 1.12  # Quantiles of five models are too narrow for a sixth, which has a bias of its own.
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

    from scipy.optimize import least_squares

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
    {group: the free constants fitted without its rows}.
    """
    found = {}
    for group in sorted({key(case) for case in everything}):
        constants = fit([case for case in everything if key(case) != group])
        found[group] = {name: float(f"{getattr(constants, name):.6g}") for name in FREE}
    return found


def left_out_residuals(everything, key, fitted):
    """
    Residuals of every row under constants fitted without its group.
    """
    logs = np.zeros((len(everything), 3))
    for group, values in fitted.items():
        inside = [key(case) == group for case in everything]
        held = [case for case, kept in zip(everything, inside, strict=True) if kept]
        logs[inside] = residuals(held, Constants(**values))
    return logs


def save(kept):
    PLACE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def quantiles(everything, logs):
    """
    (regime, 10 %, 90 %) of measured over predicted, as logarithms, by regime; wider by `UNSEEN`.
    """
    kinds = collections.defaultdict(list)
    for case, log in zip(everything, logs, strict=True):
        state = steady.steady_state(case.server, performance.DEFAULTS)
        kinds[accuracy.regime(case.server, state)].append(-log)
    for kind, found in sorted(kinds.items()):
        low, high = (UNSEEN * np.quantile(found, [0.1, 0.9], axis=0)).round(2).tolist()
        yield kind, len(found), low, high
