"""
Errors on rows that the constants were not fitted on: a whole model, with all its quantizations, or a whole GPU.
"""

from __future__ import annotations

import json
from functools import cache

from tests.validation import speed
from vllm_sizing.sizing import performance
from vllm_sizing.sizing.speed_constants import Constants

PLACE = speed.DATA / "left_out.json"  # What `fit` found without each model and each GPU.
GROUPS = {"model": lambda case: case.model, "GPU": lambda case: case.gpu}


@cache
def recorded():
    """
    {kind of group: {group: {constant: value fitted without it}}}.
    """
    return json.loads(PLACE.read_text(encoding="utf-8"))


def constants_without(name, group):
    return Constants(**recorded()[name][group])


def left_out_scores(everything, name):
    """
    Scores by metric, every row predicted by constants fitted without its group.
    """
    pairs = []
    for case in everything:
        constants = constants_without(name, GROUPS[name](case))
        pairs.append(
            (case.row, speed.predicted(case.row, performance.performance_of(case.server, case.gpu, constants)))
        )
    return speed.score(pairs)
