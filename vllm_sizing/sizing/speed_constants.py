"""
The constants of the roofline: what is achieved of the datasheet, and fixed costs.

Fitted by ``python -m tests.validation fit`` on published measurements, with priors from physics and public
sources (``tests/validation/fit.py`` names them); none belongs to one model.
"""

from __future__ import annotations

import attrs

from vllm_sizing.specs.value import Value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Constants(Value):
    """
    Achieved fractions of the datasheet and fixed costs; microseconds where the name says so.

    Attributes:
        dense_memory, moe_memory, kv_memory: Of the memory bandwidth.

        dense_compute, bf16_compute, moe_compute, attention_compute: Of the dense peak: 8 and 4 bit linear
            layers, 16 bit ones, experts, attention.

        blackwell_compute, fp4_compute, packed_compute: Factors on top: from compute capability 10 on, for
            FP4, for kernels that unpack weights on the way.

        activation_passes: Times that what goes into and out of every matrix is moved through memory.

        dense_tokens: Linear layers lose as much as so many tokens more, in tiles that are not full.

        moe_tokens, moe_columns: Experts reach half their peak at so many tokens, columns.

        moe_routing: Exponent of the tokens in the number of distinct experts.

        layer_us: Of a layer with full CUDA graphs: starts and tails of its kernels.

        quantized_layer_us: More where linear layers quantize what comes in.

        moe_layer_us, moe_block_layer_us, moe_fused_layer_us: More where experts are routed: weight-only and
            16 bit kernels; FP8 with scales by block; the one fused kernel of Blackwell's FP4.

        step_us, sequence_us: Scheduler and sampler, per step and per request in it.

        piecewise_layer_us, lora_layer_us: More per layer with piecewise graphs only, with LoRA.

        draft_us: Of one pass of the draft layers.

        eager_launch, eager_step_us: The CPU launches a step without graph (prefill) no faster than so many
            times the layers' own launches, and per step.

        reduce_us, reduce_growth: A collective of two ranks, and its growth per doubling.

        bulk_us, pcie_reduce_us, network_us: More for a message too large for the custom all-reduce; a collective
            of two ranks without a direct link; more if it leaves the node.

        link, host_link: Of one direction of the link between GPUs, and to the host.

        front_us, front_token_us, front_slot_us: HTTP and tokenizing, per request, per prompt token, and per
            request in flight.

        mix: Share of passing prefills that a decode waits for.

        queue: Prefills waited for by chance, as a factor of M/D/1's rho / (1 - rho).
    """

    dense_memory: float = 0.848
    moe_memory: float = 0.834
    kv_memory: float = 0.651
    dense_compute: float = 0.553
    bf16_compute: float = 0.7
    moe_compute: float = 0.276
    attention_compute: float = 0.508
    blackwell_compute: float = 0.773
    fp4_compute: float = 0.971
    packed_compute: float = 0.972
    activation_passes: float = 3.26
    dense_tokens: float = 55.8
    moe_tokens: float = 25.9
    moe_columns: float = 120.0
    moe_routing: float = 0.819
    layer_us: float = 37.5
    quantized_layer_us: float = 10.6
    moe_layer_us: float = 13.4
    moe_block_layer_us: float = 31.8
    moe_fused_layer_us: float = 9.91
    step_us: float = 383.0
    sequence_us: float = 3.75
    piecewise_layer_us: float = 5.0
    eager_launch: float = 11.8
    eager_step_us: float = 4_070.0
    lora_layer_us: float = 20.0
    draft_us: float = 300.0
    reduce_us: float = 8.41
    reduce_growth: float = 1.16
    bulk_us: float = 33.7
    pcie_reduce_us: float = 25.0
    network_us: float = 20.0
    link: float = 0.434
    host_link: float = 0.8
    front_us: float = 9_090.0
    front_token_us: float = 5.15
    front_slot_us: float = 357.0
    mix: float = 0.847
    queue: float = 0.398
