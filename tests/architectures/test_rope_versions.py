"""
Rotary tables of several axes by release: until 0.31 all had four times the rows, for videos.

Facts: published logs of Qwen3.5 under 0.19 ("Model loading took 17.66 GiB" and "4.52 GiB" on four ranks), and
the sources of the release wheels 0.19.0 to 0.33.0, ``layers/rotary_embedding/mrope.py``.
"""

import pytest

import vllm_sizing as vs
from tests.validation.memory import configs
from vllm_sizing.units import GIB

L40S = vs.find_gpu("l40s")


def loaded_gib(version, ranks=1):
    model = vs.model_from_config(configs()["memory/Qwen--Qwen3.5-9B"]["config"], name="Qwen3.5-9B")
    fixed = vs.EngineArgs(tensor_parallel_size=ranks, max_num_batched_tokens=2048)
    memory = vs.plan(model, L40S, num_gpus=ranks, engine_args=fixed, vllm_version=version).memory
    return (memory.weights_bytes_per_gpu + memory.loading_bytes_per_gpu) / GIB


@pytest.mark.parametrize(("ranks", "logged"), [(1, 17.66), (4, 4.52)])
def test_what_was_logged(ranks, logged):
    assert loaded_gib("0.19.0", ranks) == pytest.approx(logged, abs=0.011)


def test_room_for_videos_is_gone_where_positions_never_run_ahead():
    """
    262,144 positions of 64 elements, three times.
    """
    before, after = loaded_gib("0.31.0"), loaded_gib("0.32.0")

    assert before - after == pytest.approx(3 * 262_144 * 64 * 2 / GIB, abs=0.003)
