"""
Plans made by hand, one for each thing that a renderer must get right; no planner is asked.
"""

import attrs

from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.gpu import Cluster, GpuSpec
from vllm_sizing.specs.model import (
    COLUMN,
    ROW,
    VOCAB,
    Draft,
    Encoder,
    FullAttention,
    MlaAttention,
    ModelSpec,
    Part,
    RecurrentState,
    Shard,
    SlidingWindow,
    StateTensor,
    WeightTensor,
)
from vllm_sizing.specs.plan import (
    Alternative,
    Decision,
    Estimate,
    KvCache,
    KvGroup,
    MemoryBudget,
    MemoryPart,
    Percentiles,
    Performance,
    Plan,
)
from vllm_sizing.specs.quantization import Extra, Scheme
from vllm_sizing.specs.request import Policy
from vllm_sizing.specs.workload import LatencyTarget, Workload

GIB = 2**30
H100 = GpuSpec(
    name="h100-sxm",
    product_names=("NVIDIA H100 80GB HBM3",),
    architecture="hopper",
    memory_bytes=85_017_493_504,
    memory_bandwidth_bytes_per_s=3.35e12,
    peak_flops=(("bf16", 989e12), ("fp16", 989e12), ("fp8", 1979e12)),
    compute_capability=(9, 0),
    link="nvlink",
    link_bytes_per_s=450e9,
    pcie_bytes_per_s=64e9,
    tdp_w=700.0,
    source="datasheet",
)
L4 = GpuSpec(name="l4", memory_bytes=23_580_639_232, memory_bandwidth_bytes_per_s=3e11)

FP8 = Scheme(
    name="fp8 128x128",
    method="fp8",
    weight_bits=8,
    block=(128, 128),
    compute="fp8",
    extras=(Extra(name="weight_scale_inv", rows=128, cols=128),),
)
LAYERS = tuple(range(64))
QWEN = ModelSpec(
    name="Qwen/Qwen3-32B",
    architecture="Qwen3ForCausalLM",
    dtype="bfloat16",
    num_layers=64,
    hidden_size=5120,
    vocab_size=151_936,
    max_model_len=40_960,
    num_attention_heads=64,
    tensors=(
        WeightTensor(name="embed_tokens.weight", shape=(151_936, 5120), shard=VOCAB, role="embedding"),
        WeightTensor(
            name="layers.*.self_attn.qkv_proj.weight",
            shape=(10_240, 5120),
            layers=LAYERS,
            shard=Shard(axis=0, parts=(Part(8192, 64), Part(1024, 8), Part(1024, 8))),
            role="linear",
            scheme=FP8,
            lora=True,
        ),
        WeightTensor(name="layers.*.mlp.gate_up_proj.weight", shape=(51_200, 5120), layers=LAYERS, shard=COLUMN),
        WeightTensor(name="layers.*.mlp.down_proj.weight", shape=(5120, 25_600), layers=LAYERS, shard=ROW),
    ),
    cache_layers=(FullAttention(layers=LAYERS, num_kv_heads=8, head_size=128, head_size_v=128, num_heads=64),),
    num_parameters=32_762_123_264,
    checkpoint_bytes=65_524_246_528,
    revision="9216db5781bf21249d130ec9da846c4624c16137",
    provenance=("config.json of the Hub", "safetensors headers of the Hub"),
)
HYBRID = attrs.evolve(
    QWEN,
    name="Qwen/Qwen3-Next-80B-A3B-Instruct",
    architecture="Qwen3NextForCausalLM",
    num_experts=512,
    num_experts_per_token=10,
    max_model_len=262_144,
    num_parameters=81_318_475_776,
    cache_layers=(
        FullAttention(layers=(3, 7, 11), num_kv_heads=2, head_size=256, head_size_v=256),
        SlidingWindow(layers=(4,), num_kv_heads=2, head_size=256, head_size_v=256, window=1024),
        MlaAttention(layers=(5,), num_heads=16, kv_lora_rank=512, rope_head_dim=64),
        RecurrentState(
            layers=(0, 1, 2),
            kind="gdn_attention",
            states=(
                StateTensor(columns=(Part(8192, 32),), rows=3),
                StateTensor(columns=(Part(32, 32),), depth=16_384),
            ),
        ),
    ),
    encoders=(Encoder(modality="image", max_tokens_per_item=16_384, hidden_size=2048),),
    draft=Draft(method="mtp", tensors=(), cache_layers=()),
    traits=frozenset({"no_pipeline", "remote_code"}),
)

HOSTILE_NAME = (
    "\x1b[31mRED\x1b[0m<script>alert('x')</script>&amp;\n[bold]not bold[/bold] :smile: \u202egnp.exe\u2066"
    "\x07\x9b2J\u200b`$(reboot)`\"'\t模型-" + "very-long-" * 24 + "end"
)


def interval(mid, below, above, basis="fitted on 57 recorded starts"):
    return Estimate(mid - below, mid, mid + above, basis)


def memory(
    *,
    weights,
    total=H100.memory_bytes,
    share=0.92,
    lora=0,
    draft=0,
    activation=int(1.21 * GIB),
    non_torch=int(0.62 * GIB),
    graphs=int(0.48 * GIB),
    quality="exact",
    parts=("attention", 0.2),
):
    requested = int(total * share)
    kv = requested - weights - lora - draft - activation - non_torch - graphs
    first = int(weights * parts[1])
    names = (parts[0], "mlp")
    return MemoryBudget(
        total_bytes=total,
        requested_bytes=requested,
        weights_bytes_per_gpu=weights,
        lora_bytes=lora,
        draft_bytes=draft,
        activation_peak_bytes=activation,
        non_torch_bytes=non_torch,
        cuda_graph_bytes=graphs,
        cuda_graph_estimate_bytes=graphs,
        kv_cache_bytes=kv,
        activation_peak_bytes_interval=interval(activation, 0.2 * GIB, 0.31 * GIB),
        non_torch_bytes_interval=interval(non_torch, 0.1 * GIB, 0.2 * GIB),
        cuda_graph_bytes_interval=interval(graphs, 0.1 * GIB, 0.25 * GIB),
        kv_cache_bytes_interval=interval(kv, 0.4 * GIB, 0.25 * GIB, "modelled overhead, independent errors"),
        weight_parts=tuple(
            MemoryPart(name=name, num_bytes=amount, quality=quality)
            for name, amount in zip(names, (first, weights - first), strict=True)
        ),
    )


def kv_cache(budget, *, bytes_per_token=131_072, max_model_len=40_960, wanted=1280, concurrency=32, **changes):
    tokens = max(0, budget.kv_cache_bytes) // max(bytes_per_token, 1) // 16 * 16
    values = {
        "kv_cache_dtype": "bfloat16",
        "block_size": 16,
        "num_gpu_blocks": tokens // 16,
        "bytes_per_block": 16 * bytes_per_token,
        "bytes_per_token": bytes_per_token,
        "bytes_per_request": max_model_len * bytes_per_token,
        "size_tokens": tokens,
        "size_tokens_interval": interval(tokens, tokens // 50, tokens // 80, "from the KV memory interval"),
        "max_concurrency": tokens / max_model_len,
        "max_model_len_that_fits": min(tokens, max_model_len),
        "max_concurrency_at_workload": tokens // wanted,
        "max_model_len_at_concurrency": min(tokens // concurrency, max_model_len),
        "groups": (
            KvGroup(
                kind="full_attention",
                num_layers=64,
                block_size=16,
                page_size_bytes=bytes_per_token * 16 // 64,
                blocks_per_request=max_model_len // 16,
            ),
        ),
    }
    return KvCache(**values | changes)


def performance(**changes):
    basis = "roofline, error of 40 measured runs"
    values = {
        "ttft_ms": Estimate(88.2, 121.4, 170.9, basis),
        "tpot_ms": Estimate(14.1, 16.73, 20.2, basis),
        "itl_ms": Estimate(14.0, 16.6, 20.0, basis),
        "e2el_ms": Estimate(3700.0, 4387.5, 5300.0, basis),
        "ttft_percentiles_ms": Percentiles(118.0, 150.2, 240.9),
        "tpot_percentiles_ms": Percentiles(16.7, 17.9, 19.3),
        "itl_percentiles_ms": Percentiles(14.9, 15.2, 62.0),
        "e2el_percentiles_ms": Percentiles(4380.0, 4700.0, 5100.0),
        "burst_ttft_ms": Estimate(700.0, 902.3, 1300.0, basis),
        "output_tokens_per_s": Estimate(1540.0, 1866.2, 2200.0, basis),
        "total_tokens_per_s": Estimate(7700.0, 9331.0, 11_000.0, basis),
        "requests_per_s": Estimate(6.01, 7.29, 8.6, basis),
        "output_tokens_per_s_per_gpu": Estimate(770.0, 933.1, 1100.0, basis),
        "total_tokens_per_s_per_gpu": Estimate(3850.0, 4665.5, 5500.0, basis),
        "prefill_tokens_per_s": Estimate(15_000.0, 18_900.0, 24_000.0, basis),
        "num_running": 32,
        "in_flight": 32.0,
        "limit": "memory bandwidth",
    }
    return Performance(**values | changes)


DECISIONS = (
    Decision(
        flag="tensor_parallel_size",
        value=2,
        reason="61.0 GiB of weights leave 9 GiB for the KV cache on one GPU, 38 GiB on each of two; 64 heads and 8 KV heads divide by 2",
        source="memory and heads",
    ),
    Decision(
        flag="max_model_len",
        value=40_960,
        reason="the model's own limit; 7.7 such requests fit",
        source="config.json",
    ),
    Decision(flag="gpu_memory_utilization", value=0.92, reason="vLLM's default since 0.20", source="vLLM default"),
    Decision(
        flag="max_num_seqs",
        value=244,
        reason="as many requests of the workload as the KV cache holds",
        source="KV capacity",
    ),
    Decision(
        flag="enable_prefix_caching",
        value=True,
        reason="costs nothing when no prefix repeats",
        source="vLLM default",
    ),
)


def fits():
    budget = memory(weights=int(30.52 * GIB))
    return Plan(
        model=QWEN,
        cluster=Cluster(gpu=H100, num_gpus=2),
        workload=Workload(1024, 256, 32, target=LatencyTarget(tpot_ms=50)),
        policy=Policy(),
        vllm_version="0.33.0",
        requested=EngineArgs(max_model_len=40_960),
        engine_args=EngineArgs(
            tensor_parallel_size=2,
            max_model_len=40_960,
            gpu_memory_utilization=0.92,
            max_num_seqs=244,
            enable_prefix_caching=True,
            compilation_config={"cudagraph_capture_sizes": [1, 2, 4], "pass_config": {}},
        ),
        fits=True,
        oom_risk="low",
        shortfall_bytes=40_960 * 131_072 - budget.kv_cache_bytes,
        memory=budget,
        kv_cache=kv_cache(budget),
        performance=performance(),
        decisions=DECISIONS,
        findings=(
            Finding(
                code="gpu-name-assumed",
                message="h100 was taken for the SXM board.",
                hint="Say h100-pcie if it is not.",
            ),
            Finding(
                code="prefill-longer-than-a-batch",
                severity="warning",
                message="A prompt of 40,960 tokens takes 5 steps of 8,192 tokens.",
                hint="Raise max_num_batched_tokens if long prompts are common.",
            ),
        ),
    )


def does_not_fit():
    budget = memory(weights=int(61.02 * GIB), total=L4.memory_bytes)
    return attrs.evolve(
        fits(),
        cluster=Cluster(gpu=L4),
        engine_args=EngineArgs(tensor_parallel_size=1, max_model_len=40_960),
        fits=False,
        oom_risk="high",
        shortfall_bytes=40_960 * 262_144 - budget.kv_cache_bytes,
        memory=budget,
        kv_cache=kv_cache(budget, bytes_per_token=262_144),
        performance=None,
        findings=(
            Finding(
                code="weights-exceed-the-gpu",
                severity="error",
                message="The weights need 61.0 GiB per GPU, the GPU has 22.0 GiB.",
                hint="Take one of the alternatives.",
            ),
        ),
        alternatives=(
            Alternative(
                change="--tensor-parallel-size 4",
                engine_args=EngineArgs(tensor_parallel_size=4),
                num_gpus=4,
                num_nodes=1,
                gpu_name="l4",
                model_name="Qwen/Qwen3-32B",
                kv_cache_bytes=int(2.9 * GIB),
                max_concurrency_at_workload=37,
            ),
            Alternative(
                change="Qwen/Qwen3-32B-AWQ instead",
                engine_args=EngineArgs(max_model_len=4096),
                num_gpus=1,
                num_nodes=1,
                gpu_name="l4",
                model_name="Qwen/Qwen3-32B-AWQ",
                kv_cache_bytes=int(0.6 * GIB),
                max_concurrency_at_workload=1,
            ),
        ),
    )


def nearly_fits():
    """
    The cache is positive but holds no request of max_model_len.
    """
    budget = memory(weights=int(66.0 * GIB))
    plan = does_not_fit()
    return attrs.evolve(
        plan,
        cluster=Cluster(gpu=H100),
        memory=budget,
        kv_cache=kv_cache(budget, bytes_per_token=262_144),
        shortfall_bytes=40_960 * 262_144 - budget.kv_cache_bytes,
        findings=(),
        alternatives=(),
    )


def hybrid():
    budget = memory(weights=int(38.0 * GIB), parts=("experts", 0.93))
    groups = (
        KvGroup(
            kind="full_attention",
            num_layers=12,
            block_size=544,
            page_size_bytes=1_114_112,
            blocks_per_request=482,
        ),
        KvGroup(
            kind="gdn_attention",
            num_layers=36,
            block_size=262_144,
            page_size_bytes=1_114_112,
            blocks_per_request=3,
        ),
    )
    return attrs.evolve(
        fits(),
        model=HYBRID,
        cluster=Cluster(gpu=attrs.evolve(H100, free_memory_bytes=H100.memory_bytes - 3 * GIB), num_gpus=8, num_nodes=2),
        workload=Workload(8000, 500, 64, request_rate=3.5),
        engine_args=EngineArgs(
            tensor_parallel_size=8,
            pipeline_parallel_size=2,
            enable_expert_parallel=True,
            max_model_len=262_144,
            gpu_memory_utilization=0.92,
            kv_cache_dtype="fp8",
        ),
        oom_risk="medium",
        memory=budget,
        kv_cache=kv_cache(
            budget,
            bytes_per_token=24_576,
            max_model_len=262_144,
            kv_cache_dtype="fp8_e4m3",
            groups=groups,
            max_num_seqs_limit=1290,
            max_concurrency_at_workload=48,
        ),
        findings=(
            Finding(
                code="kv-cache-holds-less-than-concurrency",
                severity="warning",
                message="The KV cache holds 48 requests of 8,500 tokens; 64 are wanted at once.",
                hint="Lower the concurrency, or take kv_cache_dtype=fp8.",
            ),
        ),
    )


def lora_and_draft():
    budget = memory(weights=int(30.52 * GIB), lora=int(1.31 * GIB), draft=int(2.05 * GIB))
    return attrs.evolve(
        fits(),
        memory=budget,
        kv_cache=kv_cache(budget),
        engine_args=attrs.evolve(
            fits().engine_args,
            enable_lora=True,
            max_loras=4,
            max_lora_rank=32,
            speculative_config={"method": "mtp", "num_speculative_tokens": 2},
        ),
    )


def rough():
    budget = memory(weights=int(14.9 * GIB), quality="rough")
    return attrs.evolve(
        fits(),
        model=attrs.evolve(QWEN, name="my-8b", rough=True, num_parameters=8_000_000_000, provenance=("--params-b 8",)),
        cluster=Cluster(gpu=H100),
        engine_args=EngineArgs(),
        memory=budget,
        kv_cache=kv_cache(budget),
        performance=None,
        decisions=(),
        findings=(
            Finding(code="rough-model", severity="warning", message="Built from a parameter count alone.", hint=""),
        ),
    )


def hostile():
    plan = does_not_fit()
    return attrs.evolve(
        fits(),
        model=attrs.evolve(QWEN, name=HOSTILE_NAME, architecture="<b>X</b>\x1b[2J", provenance=(HOSTILE_NAME,)),
        cluster=Cluster(gpu=attrs.evolve(H100, name="<img src=x onerror=alert(1)>[red]\x1b[5m"), num_gpus=2),
        vllm_version="0.33.0\n<script>",
        decisions=(Decision(flag="served_model_name", value=HOSTILE_NAME, reason=HOSTILE_NAME, source=HOSTILE_NAME),),
        findings=(Finding(code="x", severity="warning", message=HOSTILE_NAME, hint=HOSTILE_NAME),),
        alternatives=(
            attrs.evolve(plan.alternatives[0], change=HOSTILE_NAME, gpu_name=HOSTILE_NAME, model_name=HOSTILE_NAME),
        ),
    )


def east_asian():
    return attrs.evolve(
        fits(),
        model=attrs.evolve(QWEN, name="深度求索/大型語言模型-三十二億參數-指令微調版本-" + "模型" * 20),
    )


def encoder_only():
    """
    A pooling model without any cache.
    """
    budget = memory(weights=int(1.1 * GIB))
    return attrs.evolve(
        fits(),
        model=attrs.evolve(QWEN, name="BAAI/bge-m3", runner="pooling", cache_layers=(), num_parameters=567_754_752),
        cluster=Cluster(gpu=H100),
        engine_args=EngineArgs(runner="pooling", max_model_len=8192),
        memory=budget,
        shortfall_bytes=-budget.kv_cache_bytes,
        kv_cache=kv_cache(
            budget,
            num_gpu_blocks=0,
            bytes_per_block=0,
            bytes_per_token=0,
            bytes_per_request=0,
            size_tokens=8192 * 256,
            max_concurrency=256.0,
            groups=(),
        ),
    )


PLANS = {
    make.__name__.replace("_", "-"): make
    for make in (
        fits,
        does_not_fit,
        nearly_fits,
        hybrid,
        lora_and_draft,
        rough,
        hostile,
        east_asian,
        encoder_only,
    )
}
