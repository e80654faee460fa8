"""
Which modules a ModelOpt checkpoint leaves alone, and those that all share one format.

Source: vLLM 0.33 ``quantization/modelopt.py:ModelOptQuantConfigBase``.
"""

from __future__ import annotations

from vllm_sizing.architectures.formats.names import Patterns, Renames, named, renamed
from vllm_sizing.architectures.formats.schemes import PLAIN_EXPERTS, Experts
from vllm_sizing.architectures.quantization import CheckpointQuantization
from vllm_sizing.specs.quantization import Scheme

_UNQUANTIZED_TOWERS = ("vision_tower", "vision_model", "vit_large_projector")


class ExcludingQuantization(CheckpointQuantization):
    """
    One format for all matrices, LM head included, but those that a list of wildcards names.

    Attributes:
        uniform: The format of linear layers and experts.
    """

    uniform: tuple[Scheme | None, Experts] = (None, PLAIN_EXPERTS)

    def __init__(self, method: str, excluded: list[str]) -> None:
        self.method = method
        self._excluded_names = excluded
        self.prepare(())

    def prepare(self, prefixes: Renames) -> None:
        """
        Build the matchers; ``module*`` means the module and what lies below it.
        """
        split = [
            part
            for name in self._excluded_names
            for part in (
                (name[:-1], f"{name[:-1]}.*")
                if len(name) > 1 and name[-1] == "*" != name[-2] and name[-2] != "."
                else (name,)
            )
        ]
        names = [renamed(name, prefixes) for name in split]
        wild = [name for name in names if any(char in name for char in "*?[")]
        self._exact = frozenset(names)
        self._patterns = Patterns(parts=set(names) - set(wild), globs=wild)
        self._expert_names = [name for name in names if "experts" in name]
        self.varies_by_layer = self._patterns.varies

    def excluded(self, prefix: str, fused: tuple[str, ...] = ()) -> bool:
        """
        Whether a module keeps the model's dtype.

        Source: ``ModelOptQuantConfigBase.is_layer_excluded``.
        """
        if "experts" in prefix and not fused:
            listed = any(prefix in name for name in self._expert_names)
        else:
            listed = named(prefix, fused, self._exact.__contains__)
        return listed or self._patterns.match(prefix)

    def _kept(self, prefix: str, fused: tuple[str, ...] = ()) -> bool:
        return self.excluded(prefix, fused) or any(tower in prefix for tower in _UNQUANTIZED_TOWERS)

    def linear(self, prefix: str, fused: tuple[str, ...] = ()) -> Scheme | None:
        """
        The format of a linear layer.
        """
        return None if self._kept(prefix, fused) else self.uniform[0]

    def experts(self, prefix: str) -> Experts:
        """
        The formats of ``w13`` and ``w2``.
        """
        return PLAIN_EXPERTS if self._kept(prefix) else self.uniform[1]

    def lm_head(self, prefix: str) -> Scheme | None:
        """
        The format of the output projection.
        """
        return self.linear(prefix)
