"""
The quantization configs of checkpoints: one module per family of methods, all pure.

Each turns a ``quantization_config`` into schemes for vLLM's module names; nothing here computes bytes.
"""
