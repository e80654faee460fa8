"""
Published start-up logs as rows, the plan of each, and the errors of its parts.
"""

from __future__ import annotations

import ast
import csv
import re

import attrs

import vllm_sizing as vs
from tests.validation.speed import DATA, configs, number
from vllm_sizing.units import GIB

# A piece of the log's GPU name, and our key; the first that is found.
GPUS = {
    " + ": "", " or ": "", "not stated": "", "A100 40GB MIG": "a100-sxm-40gb", "A100 40GB": "a100-sxm-40gb",
    "A100": "a100-sxm-80gb", "H100 94GB": "h100-nvl", "H100": "h100-sxm", "H200": "h200-sxm", "B200": "b200",
    "RTX A5000": "rtx-a5000", "RTX 3090": "rtx-3090", "RTX 4080": "rtx-4080", "RTX 4090": "rtx-4090",
    "GB10": "gb10 (dgx spark)", "L40S": "l40s", "L4 ": "l4", "T4": "t4", "RX 9070 XT": "rx 9070 xt",
}  # fmt: skip
SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
INTEGERS = (*SIZES, "max_model_len", "max_num_seqs", "max_num_batched_tokens")
SWITCHES = {
    "enforce_eager": "enforce_eager",
    "prefix_caching": "enable_prefix_caching",
    "enable_expert_parallel": "enable_expert_parallel",
}
FLAGS = {
    "limit_mm_per_prompt", "language_model_only", "decode_context_parallel_size", "mamba_cache_mode",
    "skip_mm_profiling", "runner", "convert",
}  # fmt: skip
FAILED = ("max len", "no KV memory", "OOM", "other: max_num_seqs")
MIG_BYTES = int(4.75 * GIB)
SLACK_GIB = 0.005  # The log prints two decimals.


def rows():
    """
    Starts whose model and GPU are known, with a draft inside the checkpoint if any.
    """
    with (DATA / "memory.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            draft = row["speculative_config"]
            if row["config"] and row["version_used"] and gpu_of(row) and (not draft or "mtp" in draft):
                yield row


def gpu_of(row):
    name = next((key for piece, key in GPUS.items() if piece in row["gpu_name"]), "")
    if not name:
        return None
    gpu = vs.find_gpu(name)
    printed = row["gpu_total_gib"] or next(iter(re.findall(r"(\d+\.\d+) GiB", row["gpu_name"])), "")
    memory = int(float(printed) * GIB) if printed else MIG_BYTES if "MIG" in row["gpu_name"] else gpu.memory_bytes
    return attrs.evolve(gpu, memory_bytes=memory)


def settings(row, config):
    """
    What the row states, under vLLM's names; what is empty is left to vLLM.
    """
    args = {name: int(row[name]) for name in INTEGERS if row[name]}
    args = {name: value for name, value in args.items() if value > 1 or name not in SIZES}
    args |= {name: float(row[name]) for name in ("gpu_memory_utilization", "cpu_offload_gb") if row[name]}
    args |= {name: row[column] == "True" for column, name in SWITCHES.items() if row[column]}
    if row["lora"]:
        args["enable_lora"] = True
    if row["kv_cache_dtype"] not in ("", "auto"):
        args["kv_cache_dtype"] = row["kv_cache_dtype"]
    if row["block_size"] in ("16", "32", "64", "128", "256"):  # Others are vLLM's own choice for hybrids.
        args["block_size"] = int(row["block_size"])
    if re.search(r"(^|/ )fp16$", row["weight_quant"]):
        args["dtype"] = "float16"
    stored = config.get("quantization_config") or config.get("text_config", {}).get("quantization_config")
    if row["weight_quant"].startswith("fp8") and not stored:
        args["quantization"] = "fp8"
    if "Embedding" in row["model_id"]:
        args["runner"] = "pooling"
    draft = re.match(r"mtp, (\d+) token", row["speculative_config"])
    if draft:
        args["speculative_config"] = {"method": "mtp", "num_speculative_tokens": int(draft[1])}
    elif row["speculative_config"]:
        args["speculative_config"] = ast.literal_eval(row["speculative_config"])
    for part in row["other_flags"].split(";"):
        name, _, value = part.strip().partition("=")
        if name.replace("-", "_") in FLAGS:
            literal = re.fullmatch(r"\{.*\}|True|False|\d+", value)
            args[name.replace("-", "_")] = ast.literal_eval(value) if literal else value or True
    return args


def plan_row(row):
    found = configs()[f"memory/{row['config'].removesuffix('.json')}"]
    args = settings(row, found["config"])
    ranks = 1
    for name in SIZES:
        ranks *= args.get(name, 1)
    model = vs.model_from_config(
        found["config"], name=row["model_id"], hf_quant_config=found.get("hf_quant_config")
    )  # fmt: skip
    return vs.plan(
        model, gpu_of(row), num_gpus=ranks, engine_args=vs.EngineArgs(**args), vllm_version=row["version_used"]
    )


def compare(row, plan):
    """
    {part: (ours, theirs)} in GiB, tokens as counts; ``inside``: whether the interval holds the measured cache.
    """
    memory, found = plan.memory, {}
    loaded = memory.weights_bytes_per_gpu + memory.lora_bytes + memory.draft_bytes + memory.loading_bytes_per_gpu
    if row["model_weights_gib"]:
        found["weights"] = (loaded / GIB, float(row["model_weights_gib"]))
    if row["settings"] != "complete":
        return found
    parts = {"activation_peak": "activation_peak_gib", "non_torch": "non_torch_gib", "cuda_graph": "cudagraph_gib"}
    for part, column in parts.items():
        if row[column]:
            found[part] = (getattr(memory, f"{part}_bytes") / GIB, float(row[column]))
    measured = number(row["available_kv_gib"])
    if measured and measured > 0:
        found["kv"] = (memory.kv_cache_bytes / GIB, measured)
        interval = memory.kv_cache_bytes_interval
        found["inside"] = interval.low / GIB - SLACK_GIB <= measured <= interval.high / GIB + SLACK_GIB
        if row["gpu_kv_cache_tokens"]:
            found["tokens"] = (plan.kv_cache.size_tokens, int(row["gpu_kv_cache_tokens"]))
            found["roomy"] = measured >= 0.1 * plan.memory.total_bytes / GIB
    return found


def outcome(row, plan):
    """
    (``start`` or ``failure``, called right); None where the row does not say.
    """
    if row["settings"] != "complete":
        return None
    if row["outcome"] == "started":
        return "start", plan.fits
    if row["outcome"].startswith(FAILED):
        return "failure", not plan.fits or plan.oom_risk == "high"
    return None
