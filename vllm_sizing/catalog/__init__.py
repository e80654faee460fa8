"""
Facts we ship, so that the main job runs with no network: GPUs and models.  Pure; no I/O.
"""
