"""
Frozen values: what goes into a plan and what comes out.  No arithmetic on memory, no I/O.
"""
