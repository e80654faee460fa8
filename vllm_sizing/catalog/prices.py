"""
What clouds ask for GPUs: list prices on demand, with the day and the source they were read from.

Prices age.  They are the catalog's only figures that may be wrong by the time they are read, so every
cost that rests on them says so; a price of the user's own replaces them.
"""

from __future__ import annotations

from functools import cache

from vllm_sizing.specs.price import Price

_SOURCES = {
    "gpuaudit": ("2026-Q1", "us-east-1", "gpuaudit/cli internal/pricing/gpu_specs.go, as of 2026-04-21"),
    "systalyze": ("2026", "", "systalyze/vllm-benchmarks README.md"),
    "nebius": ("undated", "eu-north1", "skypilot-org/skypilot-catalog v8, commit 0082b0435f39"),
    "nebius-us": ("undated", "us-central1", "skypilot-org/skypilot-catalog v8, commit 0082b0435f39"),
    "lambda": ("undated", "all", "skypilot-org/skypilot-catalog v8, commit 0f4070387edc"),
}

# Key of the GPU, GPUs of the instance, US dollars per hour for all of it, provider, instance, source; "stale" where
# the source is known to be older than a cut of the list price.
_TABLE = """
a100-sxm-40gb                 | 8 |  32.77 | AWS    | p4d.24xlarge                     | gpuaudit  | stale
a100-sxm-80gb                 | 8 |  40.97 | AWS    | p4de.24xlarge                    | gpuaudit  | stale
a10g                          | 1 |  1.006 | AWS    | g5.xlarge                        | gpuaudit  | -
a10g                          | 4 |  5.672 | AWS    | g5.12xlarge                      | gpuaudit  | -
a10g                          | 8 | 16.288 | AWS    | g5.48xlarge                      | gpuaudit  | -
b200                          | 8 |   44.0 | Nebius | gpu-b200-sxm_8gpu-160vcpu-1792gb | nebius-us | -
h100-sxm                      | 1 |   2.95 | Nebius | gpu-h100-sxm_1gpu-16vcpu-200gb   | nebius    | -
h100-sxm                      | 8 |   23.6 | Nebius | gpu-h100-sxm_8gpu-128vcpu-1600gb | nebius    | -
h100-sxm                      | 8 |  98.32 | AWS    | p5.48xlarge                      | gpuaudit  | stale
h200-sxm                      | 1 |    3.5 | Nebius | gpu-h200-sxm_1gpu-16vcpu-200gb   | nebius    | -
h200-sxm                      | 8 |   28.0 | Nebius | gpu-h200-sxm_8gpu-128vcpu-1600gb | nebius    | -
h200-sxm                      | 8 | 63.296 | AWS    | p5en.48xlarge                    | systalyze | -
l4                            | 1 | 0.8048 | AWS    | g6.xlarge                        | gpuaudit  | -
l4                            | 4 | 4.6016 | AWS    | g6.12xlarge                      | gpuaudit  | -
l4                            | 8 |  13.35 | AWS    | g6.48xlarge                      | gpuaudit  | -
l40s                          | 1 | 1.5484 | Nebius | gpu-l40s-a_1gpu-8vcpu-32gb       | nebius    | -
l40s                          | 1 |   1.86 | AWS    | g6e.xlarge                       | gpuaudit  | -
l40s                          | 4 | 9.1376 | Nebius | gpu-l40s-d_4gpu-128vcpu-768gb    | nebius    | -
l40s                          | 4 |   13.8 | AWS    | g6e.12xlarge                     | gpuaudit  | -
l40s                          | 8 |  36.72 | AWS    | g6e.48xlarge                     | gpuaudit  | -
rtx-a6000                     | 1 |   1.09 | Lambda | gpu_1x_a6000                     | lambda    | -
rtx-a6000                     | 2 |   2.18 | Lambda | gpu_2x_a6000                     | lambda    | -
rtx-a6000                     | 4 |   4.36 | Lambda | gpu_4x_a6000                     | lambda    | -
rtx-pro-4500-blackwell        | 8 | 28.512 | AWS    | g7.48xlarge                      | systalyze | -
rtx-pro-6000-blackwell-server | 4 |  16.57 | AWS    | g7e.24xlarge                     | systalyze | -
rtx-pro-6000-blackwell-server | 8 |  33.14 | AWS    | g7e.48xlarge                     | systalyze | -
t4                            | 1 |  0.526 | AWS    | g4dn.xlarge                      | gpuaudit  | -
t4                            | 4 |  3.912 | AWS    | g4dn.12xlarge                    | gpuaudit  | -
t4                            | 8 |  7.824 | AWS    | g4dn.metal                       | gpuaudit  | -
v100-16gb                     | 1 |   3.06 | AWS    | p3.2xlarge                       | gpuaudit  | -
v100-16gb                     | 4 |  12.24 | AWS    | p3.8xlarge                       | gpuaudit  | -
v100-16gb                     | 8 |   6.32 | Lambda | gpu_8x_v100                      | lambda    | -
v100-16gb                     | 8 |  24.48 | AWS    | p3.16xlarge                      | gpuaudit  | -
"""


@cache
def listed_prices() -> tuple[Price, ...]:
    """
    Every price of the list, by GPU and size of the instance.

    >>> [price.usd_per_gpu_hour for price in listed_prices() if price.gpu == "b200"]
    [5.5]
    """
    return tuple(_price(line) for line in _TABLE.strip().splitlines())


def _price(line: str) -> Price:
    gpu, count, usd, provider, instance, source, note = (cell.strip() for cell in line.split("|"))
    date, region, where = _SOURCES[source]
    return Price(
        gpu=gpu,
        usd_per_gpu_hour=float(usd) / int(count),
        num_gpus=int(count),
        provider=provider,
        instance=instance,
        region=region,
        date=date,
        source=where,
        stale=note == "stale",
    )
