"""
A program that uses the whole public API.  Type-checked by mypy, never run.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any, assert_type

import vllm_sizing as vs


def inputs(config: dict[str, Any]) -> None:
    assert_type(vs.load_model("Qwen/Qwen3-32B"), vs.ModelSpec)
    assert_type(vs.load_model("Qwen/Qwen3-32B", revision="main"), vs.ModelSpec)
    assert_type(vs.model_from_config(config, name="x", hf_quant_config=None), vs.ModelSpec)
    assert_type(vs.find_model("Qwen/Qwen3-32B"), vs.CatalogModel)
    assert_type(vs.find_gpu("h100-sxm"), vs.GpuSpec)
    for gpu in vs.detect_gpus():
        assert_type(gpu, vs.GpuSpec)


def planning(model: vs.ModelSpec, gpu: vs.GpuSpec) -> vs.Plan:
    target = vs.LatencyTarget(ttft_ms=500, tpot_ms=50)
    return vs.plan(
        model,
        gpu,
        vs.Workload(input_tokens=1024, output_tokens=256, concurrency=32, target=target),
        num_gpus=2,
        num_nodes=1,
        engine_args=vs.EngineArgs(max_model_len=32768, kv_cache_dtype="fp8"),
        policy=vs.Policy(goal="balanced", headroom_bytes=0, overhead_bytes=None),
        vllm_version="0.33.0",
    )


def planning_by_name() -> None:
    request = vs.PlanRequest(model="Qwen/Qwen3-32B", gpu="h100-sxm", num_gpus=2)
    assert_type(vs.plan_request(request), vs.Plan)


def answers(p: vs.Plan) -> None:
    assert_type(p.fits, bool)
    assert_type(p.oom_risk, str)
    assert_type(p.engine_args, vs.EngineArgs)
    assert_type(p.memory, vs.MemoryBudget)
    assert_type(p.memory.weights_bytes_per_gpu, int)
    assert_type(p.memory.activation_peak_bytes, int)
    assert_type(p.memory.non_torch_bytes, int)
    assert_type(p.memory.cuda_graph_bytes, int)
    assert_type(p.memory.cuda_graph_estimate_bytes, int)
    assert_type(p.memory.kv_cache_bytes, int)
    assert_type(p.memory.requested_bytes, int)
    assert_type(p.memory.total_bytes, int)
    assert_type(p.memory.lora_bytes, int)
    assert_type(p.memory.draft_bytes, int)
    assert_type(p.memory.kv_cache_bytes_interval, vs.Estimate)
    assert_type(p.memory.activation_peak_bytes_interval, vs.Estimate)
    assert_type(p.memory.non_torch_bytes_interval, vs.Estimate)
    assert_type(p.memory.cuda_graph_bytes_interval, vs.Estimate)
    assert_type(p.kv_cache, vs.KvCache)
    assert_type(p.kv_cache.num_gpu_blocks, int)
    assert_type(p.kv_cache.size_tokens, int)
    assert_type(p.kv_cache.size_tokens_interval, vs.Estimate)
    assert_type(p.kv_cache.max_concurrency, float)
    assert_type(p.kv_cache.bytes_per_token, int)
    assert_type(p.kv_cache.max_model_len_that_fits, int)
    assert_type(p.kv_cache.max_concurrency_at_workload, int)
    if p.performance is not None:
        assert_type(p.performance, vs.Performance)
        assert_type(p.performance.ttft_ms.mid, float)
        assert_type(p.performance.tpot_ms, vs.Estimate)
        assert_type(p.performance.output_tokens_per_s, vs.Estimate)
        assert_type(p.performance.prefill_tokens_per_s, vs.Estimate)
    assert_type(p.decisions, tuple[vs.Decision, ...])
    assert_type(p.findings, tuple[vs.Finding, ...])
    assert_type(p.alternatives, tuple[vs.Alternative, ...])


def checking() -> None:
    report = vs.check("compose.yaml", gpu="h100-sxm", log="start.log", workload=vs.Workload(100, 100, 8))
    assert_type(report, vs.CheckReport)
    assert_type(vs.check_text("vllm serve m", gpu=vs.find_gpu("l4")), vs.CheckReport)
    assert_type(report.fits, bool | None)
    for server in report.servers:
        assert_type(server, vs.ServerCheck)
        assert_type(server.plan, vs.Plan | None)
        assert_type(server.corrected, tuple[str, ...])
        assert_type(server.waste, tuple[vs.Waste, ...])
        assert_type(server.measured, tuple[vs.Measured, ...])
    for found in report.all_findings:
        assert_type(found, vs.CheckFinding)
        assert_type(found.line, int)
    assert_type(vs.render.check_console(report), str)
    assert_type(vs.render.check_json(report), str)
    assert_type(vs.render.sarif(report), str)


def texts(p: vs.Plan) -> None:
    assert_type(vs.to_text(p), str)
    assert_type(vs.render.command(p), str)
    assert_type(vs.render.json(p), str)


def found(model: vs.ModelSpec, gpu: vs.GpuSpec, executor: Executor) -> None:
    space = vs.SearchSpace(models=model, gpus=(gpu,), num_gpus=(1, 2), prices=vs.listed_prices())
    assert_type(vs.count_candidates(space), int)
    for offer in vs.sweep(space, executor=executor, progress=print):
        assert_type(offer, vs.Offer)
        assert_type(offer.plan, vs.Plan)
        assert_type(offer.usd_per_hour, float | None)
        assert_type(offer.misses, tuple[vs.Miss, ...])
    result = vs.search(space)
    assert_type(result, vs.SearchResult)
    assert_type(result.best, tuple[vs.Offer, ...])
    assert_type(result.closest, vs.Offer | None)
    assert_type(result.refusals, tuple[vs.Refusal, ...])
    assert_type(vs.Price(gpu="l4", usd_per_gpu_hour=1).date, str)


def errors() -> str:
    try:
        vs.find_gpu("h")
    except vs.UnknownNameError as error:
        assert_type(error.candidates, tuple[str, ...])
        return error.message
    except (vs.InvalidValueError, vs.UnsupportedError, vs.ConfigError) as error:
        return error.field
    except vs.UnknownArchitectureError as error:
        return error.architecture
    except vs.SourceError as error:
        return error.source
    except (vs.DetectionError, vs.SizingError) as error:
        return error.message
    return ""


CLUSTER: vs.Cluster
VERSION: str = vs.__version__
