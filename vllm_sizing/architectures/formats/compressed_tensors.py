"""
compressed-tensors checkpoints (LLM Compressor): groups of targets, each with a format of its own.

Source: vLLM 0.33 ``quantization/compressed_tensors``; defaults from compressed-tensors'
``quant_args.py``.
"""

from __future__ import annotations

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.formats.compressed_args import Args, Group
from vllm_sizing.architectures.formats.compressed_schemes import (
    embedding_scheme,
    expert_scheme,
    linear_scheme,
)
from vllm_sizing.architectures.formats.names import (
    Patterns,
    Renames,
    compile_regexes,
    named,
    read_names,
    renamed,
    shards,
)
from vllm_sizing.architectures.formats.schemes import PLAIN_EXPERTS, Experts, same
from vllm_sizing.architectures.quantization import CheckpointQuantization
from vllm_sizing.errors import ConfigError
from vllm_sizing.specs.quantization import Scheme

# Scales in float32 and zero points in the model's dtype for each of Q, K and V.
_SCALES = 3 * 4 + 3 * 2
MAX_GROUPS = 1024
# Last part of every linear class's name: targets such as "Linear" are looked for in it.
_LINEAR, _EMBEDDING, _EXPERTS = "ParallelLinear", "VocabParallelEmbedding", "RoutedExperts"


def parse_compressed_tensors(section: Config) -> CheckpointQuantization:
    """
    ``quant_method: compressed-tensors``.
    """
    sparsity = section.section("sparsity_config")
    if sparsity is not None and read_names(sparsity, "targets"):
        raise sparsity.refuse("targets", "empty: vLLM removed sparse kernels; use a checkpoint without sparsity")
    default = section.text("format")
    groups: dict[str, Group] = {}
    found = section.section("config_groups") or Config({}, "config_groups")
    if len(found.data) > MAX_GROUPS:
        raise section.refuse("config_groups", f"an object of at most {MAX_GROUPS} groups")
    for name in found.data:
        group = found.needed_section(name)
        targets = read_names(group, "targets")
        if len(targets) == 1 and targets[0].endswith("Attention"):
            continue  # Belongs to kv_cache_scheme.
        read = _read_group(group, default)
        groups.update(dict.fromkeys(targets, read))
    return CompressedTensors(section, groups)


def _read_group(group: Config, default_format: str) -> Group:
    weights = group.section("weights")
    if weights is None:
        raise group.refuse("weights", "a JSON object")
    inputs, outputs = group.section("input_activations"), group.section("output_activations")
    return Group(
        weights=Args.read(weights),
        inputs=Args.read(inputs) if inputs is not None and inputs.data else None,
        outputs=Args.read(outputs) if outputs is not None and outputs.data else None,
        format=group.text("format") or default_format,
        path=group.path,
    )


class CompressedTensors(CheckpointQuantization):
    """
    A format for each module that a target names, by name, pattern or class.
    """

    method = "compressed-tensors"

    def __init__(self, section: Config, groups: dict[str, Group]) -> None:
        self._ignored_names = read_names(section, "ignore")
        self._groups = groups
        self.attention_scale_bytes = _SCALES
        cache = section.section("kv_cache_scheme")
        if cache is not None:
            self.kv_cache_dtype = "fp8"
            self.scales_per_kv_head = _check_cache(cache) == "attn_head"
        self.prepare(())

    def prepare(self, prefixes: Renames) -> None:
        """
        Build the matchers; only dotted names are paths that the model class may rename.
        """

        def path(name: str) -> str:
            return renamed(name, prefixes) if "." in name and not name.startswith("re:") else name

        ignored = [path(name) for name in self._ignored_names]
        self._ignored = Patterns(
            exact=[name for name in ignored if not name.startswith("re:")],
            regexes=[name[3:] for name in ignored if name.startswith("re:")],
        )
        targets = {path(name): group for name, group in self._groups.items()}
        if "Linear" in targets:
            targets.setdefault(_EXPERTS, targets["Linear"])
        order = {name: at for at, name in enumerate(targets)}
        self._targets = targets
        self._order = order
        regexes = [name for name in targets if name.startswith("re:")]
        self._regexes = list(zip(compile_regexes(name[3:] for name in regexes), regexes, strict=False))
        self._classes = [name for name in targets if "." not in name]
        listed = Patterns(
            exact=[name for name in targets if not name.startswith("re:")],
            regexes=[name[3:] for name in regexes],
        )
        self.varies_by_layer = self._ignored.varies or listed.varies

    def _target(self, name: str) -> str | None:
        """
        The first target that names a module.
        """
        found = [target for pattern, target in self._regexes if pattern.match(name)][:1]
        if name in self._targets and not name.startswith("re:"):
            found.append(name)
        return min(found, key=self._order.__getitem__, default=None)

    def _group(self, name: str, kind: str, fused: tuple[str, ...] = ()) -> Group | None:
        """
        The group of a module: by its name, by its parts' names, by its class.
        """
        if named(name, fused, self._ignored.match):
            return None
        target = self._target(name)
        if target is None and fused:
            targets = [self._target(part) for part in shards(name, fused)]
            target = targets[0] if all(targets) else None
        if target is None:
            regex = next((text for pattern, text in self._regexes if pattern.match(kind)), None)
            by_class = [text for text in self._classes if text.lower() in kind.lower()]
            found = by_class[:1] + ([regex] if regex else [])
            target = min(found, key=self._order.__getitem__, default=None)
        return None if target is None else self._targets[target]

    def linear(self, prefix: str, fused: tuple[str, ...] = ()) -> Scheme | None:
        """
        The format of a linear layer.
        """
        group = self._group(prefix, _LINEAR, fused)
        return None if group is None else linear_scheme(group)

    def experts(self, prefix: str) -> Experts:
        """
        The formats of ``w13`` and ``w2``: those of the first expert's projections.
        """
        groups = [self._group(f"{prefix}.0.{part}", _EXPERTS) for part in ("gate_proj", "up_proj", "down_proj")]
        if groups[2] is None:
            return PLAIN_EXPERTS
        if any(group != groups[2] for group in groups):
            message = f"config.json: config_groups gives the experts of {prefix} several formats; vLLM needs one"
            raise ConfigError(message, field="quantization_config.config_groups", value=prefix)
        return same(expert_scheme(groups[2]))

    def embedding(self, prefix: str) -> Scheme | None:
        """
        The format of a vocabulary embedding.
        """
        group = self._group(prefix, _EMBEDDING)
        return None if group is None else embedding_scheme(group)

    def lm_head(self, prefix: str) -> Scheme | None:
        """
        The format of the output projection.
        """
        group = self._group(prefix, "ParallelLMHead")
        return None if group is None else linear_scheme(group)


def _check_cache(cache: Config) -> str:
    if cache.text("type") != "float" or cache.integer("num_bits", default=None) != 8:
        raise cache.refuse("num_bits", "8, with type float: vLLM reads no other KV cache scheme")
    strategy = cache.text("strategy")
    if strategy not in ("tensor", "attn_head"):
        raise cache.refuse("strategy", "'tensor' or 'attn_head'")
    if not cache.flag("symmetric", default=False):
        raise cache.refuse("symmetric", "true")
    return strategy


__all__ = ["CompressedTensors", "parse_compressed_tensors"]
