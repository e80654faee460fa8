"""
What the server will do with a workload, from a roofline over the model's own two lists.
"""

from __future__ import annotations

from vllm_sizing.sizing.evaluate import Evaluation
from vllm_sizing.specs.gpu import Cluster
from vllm_sizing.specs.plan import Performance
from vllm_sizing.specs.workload import Workload


def estimate_performance(evaluation: Evaluation, cluster: Cluster, workload: Workload) -> Performance | None:
    """
    Latency and throughput of a start under a workload; None where the GPU's figures are unknown.
    """
    return None
