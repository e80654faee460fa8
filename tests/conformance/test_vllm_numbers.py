"""
Our numbers against vLLM's own: computed by the code of vLLM 0.33.0 from the same config.json.

``tests/data/vllm`` holds the answers: bytes of the heaviest rank, and for a given KV pool the blocks,
tokens and concurrency, or the longest length that fits where vLLM refuses.
"""

import gzip
import json
from pathlib import Path

import pytest

import vllm_sizing as vs
from vllm_sizing.architectures import known_architectures

DATA = Path(__file__).parent.parent / "data" / "vllm"
CASES = [json.loads(line) for line in (DATA / "cases.jsonl").read_text().splitlines()]
CONFIGS = json.loads(gzip.decompress((DATA / "configs.json.gz").read_bytes()))
BY_CONFIG = {name: [case for case in CASES if case["config"] == name] for name in CONFIGS}
KNOWN = {name for name, files in CONFIGS.items() if set(files["config"]["architectures"]) & set(known_architectures())}


def plan_of(model, case, **engine):
    args = dict(case.get("args", {}))
    if "kv" in case:
        engine["kv_cache_dtype"] = case["kv"]
    ranks = case["tp"] * args.get("pipeline_parallel_size", 1)
    engine_args = vs.EngineArgs(tensor_parallel_size=case["tp"], **engine, **args)
    return vs.plan(model, vs.find_gpu(case["gpu"]), num_gpus=ranks, engine_args=engine_args, vllm_version="0.33.0")


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_every_number_is_vllms(name):
    """
    Weights, LoRA slots and drafts within 0.1 %; blocks, tokens, concurrency and refusals exactly.
    """
    files = CONFIGS[name]
    model = vs.model_from_config(files["config"], name=name, hf_quant_config=files.get("hf_quant_config"))
    for case in BY_CONFIG[name]:
        plan = None
        for row in case["capacity"]:
            plan = plan_of(model, case, kv_cache_memory_bytes=row[0], max_model_len=row[1])
            cache = plan.kv_cache
            if len(row) == 3:
                assert (plan.fits, cache.max_model_len_that_fits) == (False, row[2]), case
            else:
                got = [cache.num_gpu_blocks, cache.size_tokens, round(cache.max_concurrency, 2)]
                assert got == row[2:], case
        plan = plan or plan_of(model, case)
        if case["weights"]:
            assert plan.memory.weights_bytes_per_gpu == pytest.approx(case["weights"], rel=1e-3), case
        for part in ("lora", "draft"):
            if part in case:
                assert getattr(plan.memory, f"{part}_bytes") == pytest.approx(case[part], rel=1e-3), case


def test_nearly_all_weights_are_exact():
    """
    Within 0.01 % in at least 95 of 100 cases; here in all but a few.
    """
    close = total = 0
    for name in KNOWN:
        cases, files = BY_CONFIG[name], CONFIGS[name]
        model = vs.model_from_config(files["config"], name=name, hf_quant_config=files.get("hf_quant_config"))
        for case in cases:
            if case["weights"] and not case.get("args"):
                total += 1
                weights = plan_of(model, case).memory.weights_bytes_per_gpu
                close += abs(weights - case["weights"]) <= case["weights"] * 1e-4
    assert close >= 0.97 * total


def test_every_recorded_architecture_is_modelled():
    """
    What vLLM gave numbers for can be planned; anything else is refused by name, never planned as something else.
    """
    assert set(CONFIGS) == KNOWN
    config = {**next(iter(CONFIGS.values()))["config"], "architectures": ["BrandNewForCausalLM"]}
    with pytest.raises(vs.UnknownArchitectureError, match="BrandNewForCausalLM"):
        vs.model_from_config(config)
