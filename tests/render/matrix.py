"""
Plans of many kinds, to write every output for: models, GPUs, versions, layouts, settings, hostile names.
"""

from functools import cache

import attrs

import vllm_sizing as vs
from vllm_sizing.catalog.flags import check_flag
from vllm_sizing.errors import SizingError

# Kinds of models that need arguments of their own.
MODELS = (
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-30B-A3B",
    "Qwen/Qwen3-235B-A22B-FP8",
    "Qwen/Qwen3-VL-30B-A3B-Instruct",
    "Qwen/Qwen3.5-35B-A3B",
    "meta-llama/Llama-3.1-8B",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-V3",
    "microsoft/phi-4",
)
HARDWARE = (("h100-sxm", 1, 1), ("h100-sxm", 8, 1), ("h100-sxm", 8, 2), ("a100-sxm-80gb", 4, 1), ("l4", 2, 1))
VERSIONS = ("0.10.2", "0.11.0", "0.11.2", "0.16.0", "0.18.0", "0.22.0", "0.27.0", "0.32.0")
SETTINGS = (
    {"max_model_len": 4096, "kv_cache_dtype": "fp8", "served_model_name": "assistant"},
    {"tensor_parallel_size": 2, "max_model_len": 8192, "enable_prefix_caching": False},
    {"pipeline_parallel_size": 2, "max_model_len": 8192},
    {"data_parallel_size": 2, "max_model_len": 4096},
    {"data_parallel_size": 2, "enable_expert_parallel": True, "max_model_len": 4096},
    {"enable_lora": True, "max_loras": 2, "max_lora_rank": 16, "max_model_len": 4096},
    {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}, "max_model_len": 4096},
    {"enforce_eager": True, "max_num_seqs": 64, "gpu_memory_utilization": 0.85, "max_model_len": 4096},
    {"kv_cache_memory_bytes": 2**31, "max_model_len": 2048, "cudagraph_capture_sizes": [1, 2, 4]},
    {"cpu_offload_gb": 4, "max_model_len": 4096, "enable_chunked_prefill": True},
    {"max_model_len": 4096, "revision": "0123456789abcdef0123456789abcdef01234567"},
    {"max_model_len": 4096, "extra_args": ["--seed", "7", "--no-enable-log-requests"]},
    {"max_model_len": 4096, "extra_args": ["--uvicorn-log-level=error", "--max-logprobs", "5"]},
)
# Read as a command, an option, a variable, a comment, a number or a date by somebody who is not careful.
NAMES = (
    "./m;touch P",
    "$(touch P)",
    "`touch P`",
    "${HF_TOKEN}",
    "$HF_TOKEN",
    "it's",
    'say "so"',
    "back\\slash\\",
    "a: b",
    "x #y",
    "*",
    "&a",
    "!tag",
    "{{ .Values.x }}",
    "a - b",
    "~",
    "%h %n",
    "12e4567",
    "1e3",
    "08",
    "0o17",
    "yes",
    "null",
    "2026-01-01",
    "1:30",
    "owner/模型-三十二億",
    "owner/" + "long-" * 30,
    "$(HOSTNAME)",
    ";",
    "a|b",
)


@cache
def model(name):
    return vs.load_model(name)


def plan(name, gpu, num_gpus, num_nodes, version, values):
    """
    The plan, or None where vLLM of that version would refuse it or it does not fit.
    """
    try:
        for flag in values.keys() - {"extra_args"}:
            check_flag(flag, version)
        found = vs.plan(
            model(name),
            vs.find_gpu(gpu),
            vs.Workload(concurrency=8),
            num_gpus=num_gpus,
            num_nodes=num_nodes,
            engine_args=vs.EngineArgs(**values),
            vllm_version=version,
        )
    except SizingError:
        return None
    return found if found.fits else None


@cache
def newest():
    """
    Plans for vLLM 0.33.0, by name.
    """
    found = {}
    for name in MODELS:
        for gpu, num_gpus, num_nodes in HARDWARE:
            for number, values in enumerate(({}, *SETTINGS)):
                if planned := plan(name, gpu, num_gpus, num_nodes, "0.33.0", values):
                    found[f"{name} {num_nodes}x{num_gpus}x{gpu} {number}"] = planned
    return found


@cache
def older():
    """
    Plans for older versions, by name.
    """
    found = {}
    for version in VERSIONS:
        for name in ("Qwen/Qwen3-8B", "Qwen/Qwen3-30B-A3B"):
            for number, values in enumerate(({}, *SETTINGS)):
                if planned := plan(name, "h100-sxm", 2, 1, version, values):
                    found[f"{name} {version} {number}"] = planned
    return found


def named(planned, name):
    """
    The same plan for a model of another name.
    """
    return attrs.evolve(planned, model=attrs.evolve(planned.model, name=name))


@cache
def hostile():
    """
    Plans for models with hostile names, and a served name that is none better.
    """
    plain = plan(MODELS[0], "h100-sxm", 1, 1, "0.33.0", {"max_model_len": 4096})
    served = plan(MODELS[0], "h100-sxm", 1, 1, "0.33.0", {"served_model_name": NAMES[0]})
    found = {f"named {name}": named(plain, name) for name in NAMES}
    for name in NAMES[:16]:
        args = attrs.evolve(served.engine_args, served_model_name=name)
        found[f"served {name}"] = attrs.evolve(served, engine_args=args, requested=args)
    return found
