"""
The command line: each command parses, makes one library call and prints.  No knowledge lives here.
"""

from __future__ import annotations

import gc

# Most of a plan's time are imports, which leave no garbage: looking for it takes a tenth of them.
gc.set_threshold(20_000, 20, 20)

from vllm_sizing.cli.app import main  # noqa: E402

__all__ = ["main"]
