"""
The engine arguments as options for people: vLLM's spellings, what they read, one line of help.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple


class EngineOption(NamedTuple):
    """
    One field of `EngineArgs` as a command-line option.

    Attributes:
        name: The field.

        spellings: Long form first, then vLLM's short ones.

        kind: As in the flag table; ``switch`` has `opposite`.

        metavar: What stands for the value in a help text; empty for a switch.

        help: One line.
    """

    name: str
    spellings: tuple[str, ...]
    kind: str
    metavar: str
    help: str

    @property
    def opposite(self) -> str:
        """
        The spelling that switches off; empty if there is a value instead.
        """
        return f"--no-{self.spellings[0][2:]}" if self.kind == "switch" else ""


def engine_options() -> tuple[EngineOption, ...]:
    """
    One option per field of `EngineArgs` but ``extra_args``, in its order.

    >>> option = engine_options()[0]
    >>> option.name, option.spellings, option.metavar
    ('served_model_name', ('--served-model-name',), 'TEXT')
    """
    return tuple(_option(*line.split(maxsplit=2)) for line in _TABLE.strip().splitlines())


def read_option(name: str, text: str) -> Any:
    """
    The text behind an option as the value of the field.

    ``32k`` and ``32K`` as vLLM reads them; lists with commas or spaces between the items.

    Raises:
        InvalidValueError: vLLM would refuse the text.

    >>> read_option("max_model_len", "32K"), read_option("cudagraph_capture_sizes", "1,2,4")
    (32768, [1, 2, 4])
    """
    from vllm_sizing.catalog.flag_values import MANY, read_value
    from vllm_sizing.catalog.flags import check_flag

    flag = check_flag(name, "0.33.0")
    if flag.kind in MANY and name != "served_model_name":
        return [read_value(flag, word) for word in re.split(r"[,\s]+", text.strip())]
    return read_value(flag, text)


def _option(name: str, kind: str, rest: str) -> EngineOption:
    short, _, text = rest.rpartition("| ")
    return EngineOption(
        name=name,
        spellings=("--" + name.replace("_", "-"), *short.split()),
        kind=kind,
        metavar=_METAVARS[kind],
        help=text,
    )


_METAVARS = {
    "config": "JSON",
    "float": "NUMBER",
    "int": "N",
    "ints": "N,N,...",
    "json": "JSON",
    "name": "NAME",
    "object_or_text": "JSON",
    "switch": "",
    "text": "TEXT",
    "texts": "TEXT",
    "tokens": "N",
    "tokens_or_auto": "TOKENS",
}

# Field, kind, vLLM's short spellings, | and the help.
_TABLE = """
served_model_name texts | Name under which clients ask for the model.
revision text | Branch, tag or commit of the model on the Hub.
trust_remote_code switch | Let vLLM run code of the model's repository.
runner text | What the model is run for: auto, generate or pooling.
convert text | Adapt a generative model for pooling: auto, none, embed, classify.
dtype text | Type of weights and activations that are not quantized: auto, bfloat16, ...
quantization text -q | Method of the checkpoint, or one that vLLM applies while loading.
max_model_len tokens_or_auto | Longest request, prompt and answer: 32768, 32k, 32K, or auto.
enforce_eager switch | Run without CUDA graphs: less memory, slower.
language_model_only switch | Leave out the encoders of a multimodal model.
limit_mm_per_prompt json | Items per prompt by modality, such as {"image": 2}; 0 leaves one out.
mm_processor_kwargs json | Settings of the processor of images, audio or video.
skip_mm_profiling switch | Do not measure the memory of the encoders at the start.
mm_encoder_only switch | Serve the encoders without the language model.
mm_encoder_tp_mode text | Divide the encoders by their weights or by the data.
hf_overrides object_or_text | Values that replace those of config.json.
tensor_parallel_size int -tp | GPUs that share each layer.
pipeline_parallel_size int -pp | Stages that the layers are divided into.
data_parallel_size int -dp | Replicas behind one address.
data_parallel_size_local int -dpl | Replicas on this node.
prefill_context_parallel_size int -pcp | GPUs that share a prompt.
decode_context_parallel_size int -dcp | GPUs that share the KV cache of a request.
enable_expert_parallel switch -ep | Divide experts among the GPUs as wholes.
all2all_backend text | How tokens travel between experts.
nnodes int -n | Nodes that run the model together.
distributed_executor_backend text | What starts the workers: mp, ray, uni.
gpu_memory_utilization float | Share of the GPU's memory that vLLM may take.
kv_cache_memory_bytes tokens | Size of the KV cache per GPU, instead of what measuring leaves: 40G, 40g.
kv_cache_dtype text | Type of the KV cache: auto, fp8, bfloat16, ...
kv_cache_dtype_skip_layers texts | Layers whose KV cache keeps the model's type.
block_size int | Tokens in a block of the KV cache.
num_gpu_blocks_override int | Blocks of the KV cache, instead of what fits.
enable_prefix_caching switch | Keep the KV cache of shared prompt beginnings.
disable_hybrid_kv_cache_manager switch | Give every layer the KV cache of full attention.
mamba_cache_mode text | States that prefix caching keeps of recurrent layers.
mamba_cache_dtype text | Type of the states of recurrent layers.
mamba_ssm_cache_dtype text | Type of their state-space part.
mamba_block_size int | Tokens between two states that are kept.
cpu_offload_gb float | GiB of weights per GPU to keep in host memory.
kv_offloading_size float | GiB of host memory, over all GPUs, behind the KV cache.
max_num_seqs int | Most requests in one step.
max_num_batched_tokens tokens | Most tokens in one step: 8192, 8k, 8K.
enable_chunked_prefill switch | Divide long prompts over several steps.
async_scheduling switch | Prepare a step while the one before it runs.
performance_mode text | balanced, interactivity or throughput.
attention_backend text | Kernels for attention.
moe_backend name | Kernels for experts.
optimization_level int | How much is compiled, 0 to 3; vLLM also reads -O3.
compilation_config config -cc | Settings of compilation and CUDA graphs.
cudagraph_capture_sizes ints | Batch sizes that get a CUDA graph.
max_cudagraph_capture_size int | Largest batch that gets a CUDA graph.
enable_lora switch | Keep slots for LoRA adapters.
max_loras int | Adapters in one batch.
max_lora_rank int | Largest rank of an adapter.
lora_dtype text | Type of the adapters.
fully_sharded_loras switch | Divide the adapters over all GPUs.
speculative_config json -sc | Speculative decoding, such as {"method": "ngram", ...}.
"""
