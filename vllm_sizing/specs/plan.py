"""
What comes out: a `Plan` and its parts.

Bytes are exact integers per GPU (the fullest one) unless a name says otherwise.
"""

from __future__ import annotations

import attrs

from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.findings import Finding
from vllm_sizing.specs.gpu import Cluster, GpuSpec
from vllm_sizing.specs.model import ModelSpec
from vllm_sizing.specs.request import Policy
from vllm_sizing.specs.value import Value
from vllm_sizing.specs.workload import Workload


@attrs.frozen(eq=False, repr=False)
class Estimate(Value):
    """
    A modelled number with its 80 % interval.

    Attributes:
        low, mid, high: In the unit of the field that holds it.

        basis: What the interval rests on; ``exact`` numbers have low = mid = high.
    """

    low: float
    mid: float
    high: float
    basis: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class MemoryPart(Value):
    """
    One line of the picture of a GPU's memory.

    Attributes:
        name: ``attention``, ``mlp``, ``experts``, ``embedding``, ``vision``...

        num_bytes: On the fullest GPU.

        quality: ``exact``, ``modelled`` or ``rough``.
    """

    name: str
    num_bytes: int
    quality: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class MemoryBudget(Value):
    """
    Where every byte of the fullest GPU goes, as vLLM accounts for it.

    Attributes:
        total_bytes: What the driver offers.

        requested_bytes: total x gpu_memory_utilization.

        weights_bytes_per_gpu: The target model on the GPU after loading.

        lora_bytes, draft_bytes: Slots and draft model, beside the weights.

        activation_peak_bytes: Of the profiling pass.

        non_torch_bytes: CUDA context growth, NCCL, kernels' own workspaces, and buffers that stay.

        cuda_graph_bytes: The graphs' pool as captured.

        cuda_graph_estimate_bytes: What vLLM subtracts from the KV cache for it (by version).

        kv_cache_bytes: What is left for the cache; negative when the model does not fit.

        offloaded_bytes_per_gpu: Weights in host memory (``cpu_offload_gb``).

        loading_bytes_per_gpu: Part of non_torch_bytes: what "Model loading took" has beside the weights, as
            torch rounds large tensors up and quantized latent attention keeps a 16-bit copy.

        weight_parts: The weights by part of the model.
    """

    total_bytes: int
    requested_bytes: int
    weights_bytes_per_gpu: int
    lora_bytes: int
    draft_bytes: int
    activation_peak_bytes: int
    non_torch_bytes: int
    cuda_graph_bytes: int
    cuda_graph_estimate_bytes: int
    kv_cache_bytes: int
    activation_peak_bytes_interval: Estimate
    non_torch_bytes_interval: Estimate
    cuda_graph_bytes_interval: Estimate
    kv_cache_bytes_interval: Estimate
    offloaded_bytes_per_gpu: int = 0
    loading_bytes_per_gpu: int = 0
    weight_parts: tuple[MemoryPart, ...] = ()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class KvGroup(Value):
    """
    Layers that share a block table.

    Attributes:
        kind: In vLLM's words: ``full_attention``, ``sliding_window``, ``mamba``...

        blocks_per_request: Of one request at max_model_len.
    """

    kind: str
    num_layers: int
    block_size: int
    page_size_bytes: int
    blocks_per_request: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class KvCache(Value):
    """
    What the KV cache holds.

    Attributes:
        num_gpu_blocks: As vLLM allocates.

        bytes_per_block: Over the layers and groups of one rank.

        size_tokens: What vLLM logs as "GPU KV cache size".

        max_concurrency: What vLLM logs as "Maximum concurrency": requests of max_model_len.

        bytes_per_token: Growth of one request per token, all layers that grow with it.

        bytes_per_request: Of one request at max_model_len, whole blocks.

        max_model_len_that_fits: Longest single request; 0: none.

        max_concurrency_at_workload: Requests of the workload's lengths at once.

        max_model_len_at_concurrency: Longest request if the workload's concurrency must fit.

        max_num_seqs_limit: Requests that recurrent state blocks allow; None: no such limit.
    """

    kv_cache_dtype: str
    block_size: int
    num_gpu_blocks: int
    bytes_per_block: int
    bytes_per_token: int
    bytes_per_request: int
    size_tokens: int
    size_tokens_interval: Estimate
    max_concurrency: float
    max_model_len_that_fits: int
    max_concurrency_at_workload: int
    max_model_len_at_concurrency: int
    max_num_seqs_limit: int | None = None
    groups: tuple[KvGroup, ...] = ()


@attrs.frozen(eq=False, repr=False)
class Percentiles(Value):
    """
    How a figure is spread over requests (or gaps), in the unit of the field that holds it.
    """

    p50: float
    p90: float
    p99: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Performance(Value):
    """
    What the server will do with the workload, steady state.

    Attributes:
        ttft_ms: Mean time to first token of one more request.

        tpot_ms: Mean time per output token after the first.

        itl_ms: Mean gap between two messages; with speculation one holds several tokens.

        e2el_ms: End to end.

        ttft_percentiles_ms, tpot_percentiles_ms, itl_percentiles_ms, e2el_percentiles_ms: Over requests that
            are alike and come at random.

        burst_ttft_ms: Mean time to first token of the opening of a run, when all requests in flight come at
            once; in no other figure.

        output_tokens_per_s, total_tokens_per_s, requests_per_s: Of the whole deployment.

        output_tokens_per_s_per_gpu, total_tokens_per_s_per_gpu: The same over its GPUs.

        prefill_tokens_per_s: One replica working on prompts alone.

        num_running: Requests in a batch (per replica).

        in_flight: Requests in the whole deployment, the waiting ones too: the workload's concurrency, or what
            its request rate comes to.

        limit: What binds: ``memory bandwidth (weights)``, ``memory bandwidth (KV cache)``,
            ``compute (prefill)``, ``compute (decode)``, ``KV cache``, ``link``, ``host link``,
            ``launch overhead``, ``max_num_seqs``.

        overloaded: The request rate is more than the server can do: its queue grows without end, and the
            figures are of the full server.

        max_concurrency_at_target, max_request_rate_at_target: Highest load that keeps the workload's targets,
            with every request running; 0: none; None: there are no targets, or it
            is a candidate of a sweep.
    """

    ttft_ms: Estimate
    tpot_ms: Estimate
    itl_ms: Estimate
    e2el_ms: Estimate
    ttft_percentiles_ms: Percentiles
    tpot_percentiles_ms: Percentiles
    itl_percentiles_ms: Percentiles
    e2el_percentiles_ms: Percentiles
    burst_ttft_ms: Estimate
    output_tokens_per_s: Estimate
    total_tokens_per_s: Estimate
    requests_per_s: Estimate
    output_tokens_per_s_per_gpu: Estimate
    total_tokens_per_s_per_gpu: Estimate
    prefill_tokens_per_s: Estimate
    num_running: int
    in_flight: float
    limit: str
    overloaded: bool = False
    max_concurrency_at_target: int | None = None
    max_request_rate_at_target: float | None = None


@attrs.frozen(eq=False, repr=False)
class LoadPoint(Value):
    """
    One point of the load curve: so many requests in flight, and what the server does with them.
    """

    concurrency: int
    performance: Performance


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Decision(Value):
    """
    One flag and why it has its value.

    Attributes:
        flag: vLLM's argument name.

        value: As it goes on the command line.

        reason: In numbers.

        source: ``user``, ``vLLM default``, or what the choice rests on.
    """

    flag: str
    value: object
    reason: str
    source: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Alternative(Value):
    """
    A change that makes the plan fit, verified by planning it.

    Attributes:
        change: For people: ``--tensor-parallel-size 2``.

        engine_args: What to pass instead.

        num_gpus, num_nodes, gpu_name, model_name: The hardware and checkpoint it was planned with.
    """

    change: str
    engine_args: EngineArgs
    num_gpus: int
    num_nodes: int
    gpu_name: str
    model_name: str
    kv_cache_bytes: int
    max_concurrency_at_workload: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Plan(Value):
    """
    The answer.

    Attributes:
        fits: vLLM starts and holds at least one request of max_model_len.

        oom_risk: ``low``, ``medium`` or ``high``: from the intervals of the modelled parts.

        shortfall_bytes: Missing per GPU; negative: spare.

        engine_args: Completed, ready to run.
    """

    model: ModelSpec
    cluster: Cluster
    workload: Workload
    policy: Policy
    vllm_version: str
    requested: EngineArgs
    engine_args: EngineArgs
    fits: bool
    oom_risk: str
    shortfall_bytes: int
    memory: MemoryBudget
    kv_cache: KvCache
    performance: Performance | None
    decisions: tuple[Decision, ...] = ()
    findings: tuple[Finding, ...] = ()
    alternatives: tuple[Alternative, ...] = ()

    @property
    def gpu(self) -> GpuSpec:
        """
        The kind of GPU that was planned for.
        """
        return self.cluster.gpu

    @property
    def num_gpus(self) -> int:
        """
        GPUs that the plan uses over all nodes: one rank each.
        """
        args = self.engine_args
        return (args.tensor_parallel_size or 1) * (args.pipeline_parallel_size or 1) * (args.data_parallel_size or 1)

    def _repr_html_(self) -> str:
        from vllm_sizing.render.html import fragment

        return fragment(self)
