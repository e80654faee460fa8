"""
Something that the user should know beside the numbers.
"""

from __future__ import annotations

import attrs

from vllm_sizing.specs.checks import one_of
from vllm_sizing.specs.value import Value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Finding(Value):
    """
    One remark about a plan.

    Attributes:
        code: Stable, for programs: ``kv-cache-holds-less-than-concurrency``.

        severity: ``info``, ``warning`` or ``error``.

        message: One sentence with the numbers.

        hint: What to do; empty if nothing.
    """

    code: str
    severity: str = attrs.field(default="info", validator=one_of("info", "warning", "error"))
    message: str
    hint: str = ""
