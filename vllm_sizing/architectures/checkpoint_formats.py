"""
Which quantization method a checkpoint declares.
"""

from __future__ import annotations

from vllm_sizing.architectures.config import Config
from vllm_sizing.architectures.quantization import CheckpointQuantization


def parse_quantization(config: Config, companion: Config | None, *, architecture: str) -> CheckpointQuantization:
    """
    The checkpoint's quantization, from config.json or the file beside it.
    """
    return CheckpointQuantization()
