vllm serve Qwen/Qwen3-32B \
  --max-model-len 40960 \
  --tensor-parallel-size 2 \
  --gpu-memory-utilization 0.92 \
  --max-num-seqs 244 \
  --compilation-config '{"cudagraph_capture_sizes":[1,2,4],"pass_config":{}}' \
  --revision 9216db5781bf21249d130ec9da846c4624c16137 \
  --shutdown-timeout 30
