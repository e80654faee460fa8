"""
What a GPU costs for an hour, and who says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from vllm_sizing.errors import InvalidValueError
from vllm_sizing.specs.checks import positive_or_none, text
from vllm_sizing.specs.value import Value


def _usd(_: Any, attribute: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        message = f"{attribute.name} is {value!r}; it must be a number of US dollars above 0"
        raise InvalidValueError(message, field=attribute.name, value=value)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Price(Value):
    """
    The price of one kind of GPU: the user's own, exact, or one of a dated list.

    Attributes:
        gpu: Catalog key.

        usd_per_gpu_hour: Of a listed instance its share for one GPU.

        num_gpus: Of the instance that is listed; None: the price holds for any number.

        date: When the list was read or says to be from; empty: the price is the user's own.

        stale: The list is known to be older than a change of this price.
    """

    gpu: str = attrs.field(validator=text)
    usd_per_gpu_hour: float = attrs.field(validator=_usd)
    num_gpus: int | None = attrs.field(default=None, validator=positive_or_none)
    provider: str = ""
    instance: str = ""
    region: str = ""
    date: str = ""
    source: str = "given by the user"
    stale: bool = False


def price_of(prices: Iterable[Price], gpu: str, num_gpus: int) -> Price | None:
    """
    What to reckon with for so many GPUs of one node; None: no price is known.

    The user's own price first, then the smallest listed instance that holds them all, then the cheapest; a stale
    price only where there is no other.

    >>> own = Price(gpu="l4", usd_per_gpu_hour=0.5)
    >>> listed = Price(gpu="l4", usd_per_gpu_hour=0.8, num_gpus=1, date="2026-Q1")
    >>> price_of([listed, own], "l4", 1) is own, price_of([listed], "l4", 2)
    (True, None)
    """
    fitting = [price for price in prices if price.gpu == gpu and (price.num_gpus is None or price.num_gpus >= num_gpus)]
    return min(
        fitting,
        key=lambda price: (bool(price.date), price.stale, price.num_gpus or 0, price.usd_per_gpu_hour),
        default=None,
    )
