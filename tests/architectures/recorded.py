"""
What vLLM's own model classes allocate, recorded for small variations of each family's configs.

Written by running vLLM 0.33 on meta devices; no GPU was involved.
"""

import copy
import json
from pathlib import Path

import pytest

import vllm_sizing as vs
from vllm_sizing.architectures import model_from_config
from vllm_sizing.sizing.additions import lora_bytes
from vllm_sizing.sizing.defaults import rules_for
from vllm_sizing.sizing.layout import Layout
from vllm_sizing.sizing.modalities import skipped_towers
from vllm_sizing.sizing.pooling import converted
from vllm_sizing.sizing.setup import prepare
from vllm_sizing.sizing.weights import Loading, stage_weights, weights_of
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.model import FullAttention, MlaAttention

DATA = Path(__file__).parent.parent / "data" / "architectures"
BATCHED_TOKENS = 8192


REMOVED = object()
GPUS = {"h100": "h100-sxm", "a100": "a100-sxm-80gb", "l4": "l4", "b200": "b200"}


def recorded(family, number, **changes):
    """
    A recorded config with values replaced; ``a__b`` is b in section a.
    """
    config = copy.deepcopy(json.loads((DATA / f"{family}.json").read_text())["cases"][number]["config"])
    for path, value in changes.items():
        *sections, key = path.split("__")
        holder = config
        for section in sections:
            holder = holder.setdefault(section, {})
        if value is REMOVED:
            del holder[key]
        else:
            holder[key] = value
    return config


def cases(family):
    """
    One pytest parameter for each recorded fact of a family.
    """
    recorded = json.loads((DATA / f"{family}.json").read_text())["cases"]
    return [
        pytest.param(case["config"], fact, id=f"{case['config']['architectures'][0]}-{number}-{_label(fact)}")
        for number, case in enumerate(recorded)
        for fact in case["facts"]
    ]


def _label(fact):
    words = [f"tp{fact['tensor']}"]
    words += [str(fact[word]) for word in ("gpu", "kv_cache_dtype", "args", "stage") if word in fact]
    words += [f"pp{fact['pipeline']}.{fact['stage']}"] if "pipeline" in fact else []
    words += [word for word in ("expert", "lora", "draft_bytes") if word in fact]
    return "-".join(words)


def check(config, fact):
    """
    The model built from a config has exactly the bytes and the cache that vLLM has.
    """
    args = EngineArgs(**fact.get("args", {}))
    model = converted(model_from_config(config, name="recorded"), args)
    layout = Layout(tensor=fact["tensor"], pipeline=fact.get("pipeline", 1), expert=fact.get("expert", False))
    loading = Loading(
        dtype=model.dtype,
        max_num_batched_tokens=BATCHED_TOKENS,
        skipped_towers=skipped_towers(model, args),
        replicated_towers=args.mm_encoder_tp_mode == "data" and "no_encoder_data" not in model.traits,
    )
    assert stage_weights(model, layout, loading)[fact.get("stage", 0)].num_bytes == fact["weights_bytes"]
    draft = model.draft if "draft_bytes" in fact else None
    if "kv" in fact:
        caches = model.cache_layers + (draft.cache_layers if draft else ())
        assert sorted(cache_rows(caches, fact["tensor"]), key=str) == fact["kv"]
    if "lora" in fact:
        args = EngineArgs(
            enable_lora=True, max_loras=fact["lora"]["max_loras"], max_lora_rank=fact["lora"]["max_lora_rank"]
        )
        assert lora_bytes(model, layout, args, model.dtype) == fact["lora"]["bytes"]
    if "draft_bytes" in fact:
        modules = tuple(tensor for tensor in draft.tensors if not tensor.per_batched_token)
        assert weights_of(modules, model.num_layers, layout, loading)[-1].num_bytes == fact["draft_bytes"]


def check_start(config, fact):
    """
    A whole start: bytes of a rank, and for a given KV pool blocks, tokens and concurrency, or the refusal.
    """
    model = vs.model_from_config(config, name="recorded")
    gpu, args = vs.find_gpu(GPUS[fact.get("gpu", "h100")]), fact.get("args", {})
    stages = args.get("pipeline_parallel_size", 1)
    words = {**args, **{key: fact[key] for key in ("kv_cache_dtype",) if key in fact}}
    for available, length, *wanted in [*fact["capacity"], (None, None)]:
        engine_args = vs.EngineArgs(
            tensor_parallel_size=fact["tensor"], kv_cache_memory_bytes=available, max_model_len=length, **words
        )
        plan = vs.plan(model, gpu, num_gpus=fact["tensor"] * stages, engine_args=engine_args, vllm_version="0.33.0")
        cache = plan.kv_cache
        if len(wanted) == 1:
            assert (plan.fits, cache.max_model_len_that_fits) == (False, *wanted)
        elif wanted:
            assert [cache.num_gpu_blocks, cache.size_tokens, round(cache.max_concurrency, 2)] == wanted
    layout = Layout(tensor=fact["tensor"], pipeline=stages, expert=args.get("enable_expert_parallel", False))
    setup = prepare(model, gpu, engine_args, layout, rules_for((0, 33, 0)), model.max_model_len)
    stage = stage_weights(setup.model, layout, setup.loading)[fact.get("stage", 0)]
    assert stage.num_bytes == fact["weights_bytes"]
    for part in ("lora_bytes", "draft_bytes"):
        if part in fact:
            assert getattr(plan.memory, part) == fact[part]


def cache_rows(caches, tensor):
    """
    As vLLM lists its cache specs: kind, heads on a rank, sizes of key and value, window, layers.
    """
    rows = {}
    for cache in caches:
        if isinstance(cache, MlaAttention):
            _count(rows, ("mla", 1, cache.head_size, None), len(cache.layers))
            _count(rows, ("mla", 1, cache.indexer_bytes_per_token, None), len(cache.indexer_layers))
        else:
            assert isinstance(cache, FullAttention)
            heads = max(1, cache.num_kv_heads // tensor)
            sizes = (cache.head_size, cache.head_size_v)
            _count(rows, ("attn", heads, sizes, getattr(cache, "window", None)), len(cache.layers))
    return [[kind, heads, list(size) if isinstance(size, tuple) else size, window, layers]
            for (kind, heads, size, window), layers in rows.items()]  # fmt: skip


def _count(rows, key, layers):
    if layers:
        rows[key] = rows.get(key, 0) + layers
