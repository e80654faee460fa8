#!/usr/bin/env bash
#
# Written by vllm-sizing VERSION for vLLM 0.33.0; plan HASH.
# Qwen/Qwen3-32B: 32.8B, bfloat16; 2 x h100-sxm, TP 2; vLLM 0.33.0
# Planned for 32 requests at once; 1,024 tokens in, 256 out; goal balanced; TPOT at most 50 ms.
# FITS with 35.01 GiB per GPU to spare; risk of running out of memory: low
# Per GPU: weights 30.52 GiB, KV cache 40.01 GiB of 79.18 GiB.
#
# Secrets come from the environment: HF_TOKEN for gated models, VLLM_API_KEY for clients.
# shellcheck disable=SC2016

set -euo pipefail

export VLLM_NO_USAGE_STATS=1

args=(
  Qwen/Qwen3-32B
  # the model's own limit; 7.7 such requests fit
  --max-model-len 40960
  # 61.0 GiB of weights leave 9 GiB for the KV cache on one GPU, 38 GiB on each of two; 64 heads and 8 KV heads divide by 2
  --tensor-parallel-size 2
  # vLLM's default since 0.20
  --gpu-memory-utilization 0.92
  # as many requests of the workload as the KV cache holds
  --max-num-seqs 244
  --compilation-config '{"cudagraph_capture_sizes":[1,2,4],"pass_config":{}}'
  --revision 9216db5781bf21249d130ec9da846c4624c16137
  --shutdown-timeout 30
)

# Without a key for clients, only this machine can connect.
if [ -z "${VLLM_API_KEY:-}" ]; then args+=(--host 127.0.0.1); fi

exec vllm serve "${args[@]}"
