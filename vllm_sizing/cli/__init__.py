"""
The command line: each command parses, makes one library call and prints.  No knowledge lives here.
"""

from __future__ import annotations

from vllm_sizing.cli.app import main

__all__ = ["main"]
