"""
The numbers that vLLM prints about memory while it starts, read from its log.

Source: vLLM 0.10 to 0.33 ``v1/worker/gpu_worker.py``, ``gpu_model_runner.py``, ``v1/core/kv_cache_utils.py``,
``v1/engine/core.py``, ``entrypoints`` (version, ``non-default args``).
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_LINE = 20_000
_NUMBER = r"(-?[0-9][0-9,]{0,20}(?:\.[0-9]{1,9})?)"
_LINES = {
    "weights": re.compile(rf"Model loading took {_NUMBER} GiB"),
    "kv_cache_memory": re.compile(rf"Available KV cache memory: {_NUMBER} GiB"),
    "kv_cache_tokens": re.compile(rf"KV cache size: {_NUMBER} tokens"),
    "max_concurrency": re.compile(rf"Maximum concurrency for {_NUMBER} tokens per request: {_NUMBER}x"),
    "cuda_graphs": re.compile(rf"Graph capturing finished in \S{{1,20}} secs?, took {_NUMBER} GiB"),
    "cuda_graph_estimate": re.compile(rf"[Ee]stimated CUDA graph memory: {_NUMBER} GiB"),
    "blocks": re.compile(rf"# (?:GPU|cuda) blocks: {_NUMBER}"),
}
# Of several ranks: vLLM gives every rank the smallest cache; the others are told of the fullest GPU.
_SMALLEST = frozenset({"kv_cache_memory", "kv_cache_tokens", "max_concurrency", "blocks"})
_VERSION = re.compile(
    r"(?:API server version|LLM engine \(v|█\s+version |vLLM version:?) ?v?([0-9]{1,3}\.[0-9]{1,4}(?:\.[0-9]{1,4})?)"
)
_ARGUMENTS = re.compile(r"non-default args: (\{.*\})")
_FAILURES = (
    re.compile(r"(No available memory for the cache blocks[^.]*)"),
    re.compile(r"(To serve at least one request with .{1,400}?)(?:\. |$)"),
    re.compile(r"(Free memory on device[^.]*\.[0-9]+[^.]*)"),
    re.compile(r"((?:torch\.)?(?:cuda\.)?OutOfMemoryError: CUDA out of memory[^.]*)"),
    re.compile(r"(max_num_seqs \([0-9]+\) exceeds available Mamba cache blocks[^.]*)"),
    re.compile(r"(Engine core initialization failed[^.]*)"),
)


class Printed(NamedTuple):
    """
    One number of a log.

    Attributes:
        value: In GiB, tokens or requests, as printed.

        slack: Half a unit of the last digit.
    """

    value: float
    slack: float
    line: int


class StartLog(NamedTuple):
    """
    What a log says.

    Attributes:
        version: Of vLLM; empty if it is not printed.

        numbers: By name; of several ranks the one that decides.

        length: Tokens that the maximum concurrency is for.

        arguments: That the log calls non-default; empty if it does not.

        failure: The sentence in which the start ends; empty: none was found.
    """

    version: str
    numbers: dict[str, Printed]
    length: int | None
    arguments: dict[str, Any]
    failure: str

    @property
    def model(self) -> str | None:
        """
        That the log says is served; None if it does not.
        """
        name = self.arguments.get("model_tag") or self.arguments.get("model")
        return name if isinstance(name, str) else None


def parse_log(text: str) -> StartLog:
    """
    The numbers of a start; of several starts in one log those of the last.

    >>> log = parse_log("INFO Model loading took 15.27 GiB memory and 3.1 seconds")
    >>> log.numbers["weights"].value, round(log.numbers["weights"].slack, 3)
    (15.27, 0.005)
    """
    numbers: dict[str, Printed] = {}
    version, failure = "", ""
    length: int | None = None
    arguments: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        shown = line[:_LONGEST_LINE]
        if found := _VERSION.search(shown):
            if version and "API server" in found[0]:  # Another start in the same log.
                numbers, failure, length = {}, "", None
            version = found[1]
        if found := _ARGUMENTS.search(shown):
            arguments = _literal(found[1])
        for name, pattern in _LINES.items():
            if match := pattern.search(shown):
                value, slack = _number(match[match.lastindex or 1])
                if name == "max_concurrency":
                    length = int(_number(match[1])[0])
                _keep(numbers, name, Printed(value, slack, number))
        failure = _failure(shown, _FAILURES) or failure
    return StartLog(version, numbers, length, arguments, failure)


def _keep(numbers: dict[str, Printed], name: str, printed: Printed) -> None:
    before = numbers.get(name)
    if before is None or (printed.value < before.value) == (name in _SMALLEST):
        numbers[name] = printed


def _number(text: str) -> tuple[float, float]:
    plain = text.replace(",", "")
    digits = len(plain.partition(".")[2])
    return float(plain), 0.5 * 10.0**-digits if digits else 0.5


def _literal(text: str) -> dict[str, Any]:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}  # Values such as LoRAModulePath(...) are no literals.
    return value if isinstance(value, dict) else {}


def _failure(line: str, patterns: Iterable[re.Pattern[str]]) -> str:
    for pattern in patterns:
        if found := pattern.search(line):
            return " ".join(found[1].split())[:300]
    return ""
