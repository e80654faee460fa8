"""
What the server is asked to do: lengths, load and targets.
"""

from __future__ import annotations

import attrs

from vllm_sizing.specs.checks import above_zero_or_none, fraction_or_none, instance, positive
from vllm_sizing.specs.value import Value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LatencyTarget(Value):
    """
    Limits that the user wants kept; None means no limit.

    Attributes:
        ttft_ms: Time to first token.

        tpot_ms: Mean time per output token after the first.

        e2el_ms: End to end, per request.
    """

    ttft_ms: float | None = attrs.field(default=None, validator=above_zero_or_none)
    tpot_ms: float | None = attrs.field(default=None, validator=above_zero_or_none)
    e2el_ms: float | None = attrs.field(default=None, validator=above_zero_or_none)

    def __bool__(self) -> bool:
        """
        Whether there is any limit.

        >>> bool(LatencyTarget()), bool(LatencyTarget(tpot_ms=50))
        (False, True)
        """
        return not self.ttft_ms is self.tpot_ms is self.e2el_ms is None

    def kept(self, ttft_ms: float, tpot_ms: float, e2el_ms: float) -> bool:
        """
        Whether these figures keep every limit.

        >>> LatencyTarget(ttft_ms=500).kept(400, 20, 3000)
        True
        """
        return (
            (self.ttft_ms is None or ttft_ms <= self.ttft_ms)
            and (self.tpot_ms is None or tpot_ms <= self.tpot_ms)
            and (self.e2el_ms is None or e2el_ms <= self.e2el_ms)
        )


def _hit_rate(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if value != 0:
        fraction_or_none(_, attribute, value)


@attrs.frozen(eq=False, repr=False)
class Workload(Value):
    """
    Requests as the planner sees them.

    Attributes:
        input_tokens: Prompt tokens of a typical request.

        output_tokens: Generated tokens of a typical request.

        concurrency: Requests in flight at once (a closed loop); the cache is sized for it.

        request_rate: Requests per second that come at random, of the whole deployment (an open loop); the
            number in flight follows from it. None for the closed loop.

        prefix_cache_hit_rate: Share of prompt tokens found in the prefix cache, 0 to 1.

        acceptance_rate: Share of speculative tokens accepted; without it speculation gains nothing.
    """

    input_tokens: int = attrs.field(default=1024, validator=positive)
    output_tokens: int = attrs.field(default=256, validator=positive)
    concurrency: int = attrs.field(default=1, validator=positive)
    request_rate: float | None = attrs.field(default=None, validator=above_zero_or_none, kw_only=True)
    prefix_cache_hit_rate: float = attrs.field(default=0.0, validator=_hit_rate, kw_only=True)
    acceptance_rate: float | None = attrs.field(default=None, validator=fraction_or_none, kw_only=True)
    target: LatencyTarget = attrs.field(factory=LatencyTarget, validator=instance(LatencyTarget), kw_only=True)

    @property
    def tokens_per_request(self) -> int:
        """
        Prompt and answer together: what the KV cache holds at the end of a request.
        """
        return self.input_tokens + self.output_tokens
