vllm serve Qwen/Qwen3-32B \
  --max-model-len 40960 \
  --tensor-parallel-size 2 \
  --gpu-memory-utilization 0.92 \
  --max-num-seqs 244 \
  --compilation-config '{"cudagraph_capture_sizes":[1,2,4],"pass_config":{}}'
