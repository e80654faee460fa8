"""
A plan for programs: JSON whose names are the attributes of `Plan`; its schema is in the reference.
"""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING

from vllm_sizing.serialize import plan_to_dict

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan


def json(plan: Plan, *, full: bool = False) -> str:
    """
    The plan as JSON, keys in the order of the classes, with a line break at the end.

    All of it is ASCII: a model's name can neither steer a terminal nor break a pipe of another encoding.

    Args:
        full: With the model's tensors and cache layers, so that `plan_from_dict` can read it back.

    Raises:
        InvalidValueError: A number is infinite or not a number, which JSON cannot say.

    >>> import vllm_sizing as vs
    >>> plan = vs.plan(vs.load_model("Qwen/Qwen3-8B"), vs.find_gpu("h100-sxm"))
    >>> json(plan).splitlines()[1]
    '  "fits": true,'
    """
    return dumps(plan_to_dict(plan, full=full), indent=2, allow_nan=False) + "\n"
