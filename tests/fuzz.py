"""
Hostile configs: every answer is a value or a `SizingError`, soon and in little memory.

    python -m tests.fuzz [NUMBER] [SEED]

takes recorded configs apart at random and plans what is left; a slice of it runs with the tests.
"""

import copy
import gzip
import json
import random
import sys
import time
import traceback
from pathlib import Path

import vllm_sizing as vs

CONFIGS = json.loads(gzip.decompress((Path(__file__).parent / "data" / "vllm" / "configs.json.gz").read_bytes()))
SLOW_SECONDS = 0.05
WILD = (
    None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**63, 2**200, -(2**63), 0.0, 0.5, -0.5, 1e308, 1e-308,
    float("nan"), float("inf"), "", "x", "auto", "\x00", "1" * 5000, "é\u202e", [], [None], [[]], [1, "a"], {}, {"a": 1},
    [0] * 3000, "silu", "float32", "sliding_attention", [-1], {"factor": -1}, {"rope_type": "yarn"}, ["full_attention"],
)  # fmt: skip


def mutate(config, rng):
    """
    A copy with some values dropped, replaced, moved, nested or made to contain themselves.
    """
    config = copy.deepcopy(config)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        holder = config
        while True:
            inner = [value for value in holder.values() if isinstance(value, dict) and value]
            if not inner or rng.random() < 0.5:
                break
            holder = rng.choice(inner)
        if not holder:
            continue
        key = rng.choice(sorted(holder, key=str))
        action = rng.random()
        if action < 0.15:
            del holder[key]
        elif action < 0.7:
            holder[key] = copy.deepcopy(rng.choice(WILD))
        elif action < 0.8 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
            holder[key] = holder[key] * rng.choice((-1, 0, 2, 3, 1000, 10**9, 0.5))
        elif action < 0.87:
            holder[rng.choice(("text_config", "quantization_config", "rope_parameters", "rope_scaling"))] = (
                copy.deepcopy(rng.choice(WILD))
            )
        elif action < 0.93:
            holder[key] = {"nested": {"deeper": holder[key]}}
        elif action < 0.95:
            holder["text_config"] = holder  # It contains itself.
        else:
            other = rng.choice(sorted(holder, key=str))
            holder[key], holder[other] = holder[other], holder[key]
    return config


def attempt(config, companion, gpu, rng):
    """
    None, or what went wrong.
    """
    started = time.perf_counter()
    try:
        model = vs.model_from_config(config, name="fuzz", hf_quant_config=companion)
        args = vs.EngineArgs(
            tensor_parallel_size=rng.choice((1, 2, 8)), kv_cache_dtype=rng.choice((None, "fp8", "auto"))
        )
        vs.plan(model, gpu, num_gpus=8, engine_args=args)
    except vs.SizingError as refusal:
        text = str(refusal)
        if "\n" in text or len(text) > 2000:
            return f"not one line: {text[:200]!r}"
    except RecursionError:
        return "RecursionError"
    except Exception:
        return traceback.format_exc()
    seconds = time.perf_counter() - started
    return f"{seconds * 1e3:.0f} ms" if seconds > SLOW_SECONDS else None


def run(number, seed=0):
    """
    (what went wrong, config, mutation) of each failure, slow ones tried three times.
    """
    rng = random.Random(seed)
    names, gpu, failures = sorted(CONFIGS), vs.find_gpu("h100-sxm"), []
    for _ in range(number):
        name = rng.choice(names)
        config = mutate(CONFIGS[name]["config"], rng)
        companion = CONFIGS[name].get("hf_quant_config")
        if companion is not None and rng.random() < 0.5:
            companion = mutate(companion, rng)
        state = rng.getstate()
        wrong = attempt(config, companion, gpu, rng)
        for _ in range(2):
            if wrong is None or not wrong.endswith(" ms"):
                break
            rng.setstate(state)
            wrong = attempt(config, companion, gpu, rng)
        if wrong is not None:
            failures.append((wrong, name, config))
    return failures


def main():
    """
    Print each kind of failure once.
    """
    number, seed = (int(word) for word in (*sys.argv[1:], *("10000", "0")[len(sys.argv) - 1 :]))
    failures = run(number, seed)
    seen = {}
    for wrong, name, _ in failures:
        seen.setdefault(wrong.strip().splitlines()[-1][:100] + wrong[-400:-100], (wrong, name))
    for wrong, name in seen.values():
        print(name, wrong, sep="\n")
    print(f"{number} configs, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
