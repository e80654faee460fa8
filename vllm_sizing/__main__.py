"""
``python -m vllm_sizing`` is ``vllm-sizing``.
"""

from __future__ import annotations

from vllm_sizing.cli import main

if __name__ == "__main__":
    main(prog_name="vllm-sizing")
