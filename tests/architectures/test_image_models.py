"""
Models that see or hear, against what vLLM allocates.
"""

import pytest

from tests.architectures.recorded import cases, check, check_start

FAMILIES = (
    "aria", "audio_flamingo", "blip2", "cohere2_vision", "deepseek_vision", "eagle", "gemma3n", "granite4_vision", "granite_speech",
    "idefics3",
    "inkling", "internvl", "minicpmv", "minicpmv4", "molmo", "molmo2", "muse_glimmer", "nemotron_vl", "ovis", "paligemma",
    "phi3_vision", "phi4mm", "siglip2_models", "speech", "ultravox", "voxtral",
)  # fmt: skip


@pytest.mark.parametrize(("config", "fact"), [case for family in FAMILIES for case in cases(family)])
def test_bytes_and_cache_are_those_of_vllm(config, fact):
    check(config, fact)


@pytest.mark.parametrize(("config", "fact"), cases("encoders_off"))
def test_encoders_are_left_out_or_whole_as_the_flags_say(config, fact):
    """
    ``limit_mm_per_prompt`` of 0 leaves them out, ``mm_encoder_tp_mode=data`` keeps them whole where the class can.
    """
    check_start(config, fact)
