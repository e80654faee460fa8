"""
What encoders of images, video and audio change in a start.
"""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vllm_sizing as vs
from tests.architectures.recorded import DATA, json
from vllm_sizing.sizing.modalities import without_unserved
from vllm_sizing.specs.model import Encoder

SEES = json.loads((DATA / "qwen2_vl.json").read_text())["cases"][0]["config"]
MODEL = vs.model_from_config(SEES, name="sees")


def activation(max_model_len=32_768, **args):
    engine_args = vs.EngineArgs(max_model_len=max_model_len, **args)
    plan = vs.plan(MODEL, vs.find_gpu("h100-sxm"), engine_args=engine_args, vllm_version="0.33.0")
    return plan.memory.activation_peak_bytes


@given(step=st.integers(1, 50_000), steps=st.integers(1, 1000), length=st.integers(1, 2_000_000))
def test_a_shortened_video_is_the_longest_of_whole_steps_that_fits(step, steps, length):
    encoder = Encoder(modality="video", max_tokens_per_item=steps * step, hidden_size=64, step_tokens=step)
    tokens = encoder.tokens_within(length)
    assert tokens % step == 0
    assert step <= tokens <= steps * step
    assert tokens <= max(length, step)
    assert tokens + step > length or tokens == steps * step


def test_a_longer_context_profiles_a_longer_video():
    assert activation(16_384) < activation(32_768)


def test_a_modality_that_is_switched_off_is_not_profiled():
    without_video = activation(limit_mm_per_prompt={"video": 0})
    assert activation(language_model_only=True) < without_video < activation()


def test_a_model_whose_modalities_are_all_served_stays_itself():
    assert without_unserved(MODEL, vs.EngineArgs(limit_mm_per_prompt={"video": 1})) is MODEL
    assert without_unserved(MODEL, vs.EngineArgs(limit_mm_per_prompt={"audio": 0})) is MODEL


@pytest.mark.parametrize(("version", "profiled"), [("0.24.0", True), ("0.26.0", False), ("0.27.0", True)])
def test_the_second_runner_profiles_encoders_since_0_27(version, profiled):
    """
    Dense multimodal models are its since 0.25.
    """

    def peak(**args):
        engine_args = vs.EngineArgs(max_model_len=32_768, **args)
        plan = vs.plan(MODEL, vs.find_gpu("h100-sxm"), engine_args=engine_args, vllm_version=version)
        return plan.memory.activation_peak_bytes

    assert (peak() > peak(language_model_only=True)) is profiled


def test_a_model_that_no_image_reaches_looks_one_way():
    prefixed = attrs.evolve(MODEL, traits=MODEL.traits | {"prefix_lm"})
    partly = without_unserved(prefixed, vs.EngineArgs(limit_mm_per_prompt={"video": 0}))
    assert "prefix_lm" in partly.traits
    assert [encoder.modality for encoder in partly.encoders] == ["image"]
    text = without_unserved(prefixed, vs.EngineArgs(language_model_only=True))
    assert "prefix_lm" not in text.traits
    assert not text.encoders


def test_a_context_is_shortened_to_where_a_shorter_video_leaves_room():
    """
    Not to what the cache holds beside the video of the longest context.
    """
    gpu = attrs.evolve(vs.find_gpu("l4"), memory_bytes=7 * 2**30)
    whole = vs.EngineArgs(max_model_len=MODEL.max_model_len)
    assert vs.plan(MODEL, gpu, engine_args=whole, vllm_version="0.33.0").oom_risk != "low"
    plan = vs.plan(MODEL, gpu, vllm_version="0.33.0")
    assert (plan.oom_risk, plan.engine_args.max_model_len) == ("low", MODEL.max_model_len - 1024)


def test_a_context_is_not_shortened_below_what_is_wanted():
    gpu = attrs.evolve(vs.find_gpu("l4"), memory_bytes=3 * 2**30)
    plan = vs.plan(MODEL, gpu, vs.Workload(20_000, 1000), vllm_version="0.33.0")
    assert (plan.fits, plan.engine_args.max_model_len) == (False, 21_000)
