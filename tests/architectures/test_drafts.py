"""
Drafts with a checkpoint of their own: bytes, cache, and what is refused.
"""

import json

import pytest

import vllm_sizing as vs
from tests.architectures.recorded import DATA
from vllm_sizing.architectures.drafts import with_draft
from vllm_sizing.units import round_up

CASES = json.loads((DATA / "drafts.json").read_text())["cases"]
SIZES = {
    "hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
    "num_hidden_layers": 4, "vocab_size": 1000, "max_position_embeddings": 256,
}  # fmt: skip
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **SIZES}
HEAD = {**LLAMA, "architectures": ["LlamaForCausalLMEagle3"], "num_hidden_layers": 1, "draft_vocab_size": 320}


def target():
    return vs.model_from_config(LLAMA, name="target")


def plan_of(model, **args):
    return vs.plan(model, vs.find_gpu("h100-sxm"), num_gpus=8, engine_args=vs.EngineArgs(**args))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['method']}-tp{case['tensor']}-pp{case['pipeline']}")
def test_bytes_and_cache_are_those_of_vllm(case):
    """
    vLLM drops a head that it finds in no checkpoint; an EAGLE-3 checkpoint brings its own.
    """
    model = with_draft(vs.model_from_config(case["target"]), case["draft"], name="draft", method=case["method"])
    rows = case["draft"].get("draft_vocab_size", 0)
    head = 2 * round_up(rows, 64) * case["draft"]["hidden_size"] // case["tensor"]
    for available, length, *wanted in case["capacity"]:
        plan = plan_of(
            model,
            tensor_parallel_size=case["tensor"],
            pipeline_parallel_size=case["pipeline"],
            speculative_config={"model": "draft", "method": case["method"], "num_speculative_tokens": 3},
            kv_cache_memory_bytes=available,
            max_model_len=length,
        )
        assert plan.memory.draft_bytes - head == case["draft_bytes"]
        cache = plan.kv_cache
        assert [cache.num_gpu_blocks, cache.size_tokens, round(cache.max_concurrency, 2)] == wanted


def test_a_head_may_call_itself_by_its_layers():
    """
    vLLM puts ``Eagle3`` before a name that says nothing of EAGLE.
    """
    plain = with_draft(target(), {**HEAD, "architectures": ["LlamaForCausalLM"]}, name="draft", method="eagle3")
    assert plain.draft == with_draft(target(), HEAD, name="draft", method="eagle3").draft


def test_speculators_write_the_same_head_in_their_own_way():
    layer = {**HEAD, "vocab_size": 1000}
    del layer["architectures"], layer["draft_vocab_size"]
    folded = {"speculators_model_type": "eagle3", "transformer_layer_config": layer, "draft_vocab_size": 320}
    ours = with_draft(target(), folded, name="draft", method="eagle3")
    assert ours.draft == with_draft(target(), HEAD, name="draft", method="eagle3").draft


@pytest.mark.parametrize(
    ("name", "method"),
    [("org/EAGLE3-Llama", "eagle3"), ("org/EAGLE-Llama", "eagle"), ("org/small", "draft_model")],
)
def test_the_name_tells_the_method_as_in_vllm(name, method):
    config = HEAD if method == "eagle3" else {**LLAMA, "num_hidden_layers": 1}
    assert with_draft(target(), config, name=name).draft.method == method


@pytest.mark.parametrize(
    ("config", "name", "method", "words"),
    [
        (HEAD, "org/head", None, "give its method"),
        (HEAD, "org/dflash-head", None, "dflash"),
        (LLAMA, "org/medusa", "medusa", "medusa"),
        ({**LLAMA, "vocab_size": 2000}, "org/other", None, "2,000 tokens"),
        ({**LLAMA, "architectures": ["MambaForCausalLM"]}, "org/x", "eagle", "EagleMambaForCausalLM"),
        ({"speculators_model_type": "peagle", "transformer_layer_config": {}}, "org/x", None, "peagle"),
    ],
)
def test_what_is_not_modelled_is_refused(config, name, method, words):
    with pytest.raises(vs.SizingError, match=words):
        with_draft(target(), config, name=name, method=method)


def test_what_a_head_may_leave_out():
    """
    Its own vocabulary, the projection of several hidden states, a rotation whose table may grow.
    """
    yarn = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 128}
    plain = {**HEAD, "eagle_config": {"use_aux_hidden_state": False}, "rope_scaling": yarn}
    del plain["draft_vocab_size"]
    names = [tensor.name for tensor in with_draft(target(), plain, name="d", method="eagle3").draft.tensors]
    assert not {"model.fc.weight", "draft_id_to_target_id"} & set(names)
    assert "lm_head.weight" in names


def test_an_eagle_head_is_as_wide_as_its_target():
    with pytest.raises(vs.ConfigError, match="hidden_size"):
        with_draft(target(), {**LLAMA, "hidden_size": 64}, name="d", method="eagle")


@pytest.mark.parametrize(
    ("speculation", "more", "words"),
    [
        ({"model": "other"}, {}, "was not read"),
        ({"method": "eagle3"}, {}, "names no draft"),
        (
            {"model": "draft", "draft_tensor_parallel_size": 1},
            {"tensor_parallel_size": 2},
            "draft_tensor_parallel_size",
        ),
        ({"model": "draft", "quantization": "fp8"}, {}, "quantization"),
        ({"model": "draft"}, {"pipeline_parallel_size": 2}, "pipeline_parallel_size"),
    ],
)
def test_settings_that_are_not_modelled_are_refused(speculation, more, words):
    model = with_draft(target(), {**LLAMA, "num_hidden_layers": 1}, name="draft")
    with pytest.raises(vs.UnsupportedError, match=words):
        plan_of(model, speculative_config={"num_speculative_tokens": 2, **speculation}, **more)


@pytest.mark.parametrize("speculation", [{"method": "suffix"}, {"model": "ngram"}, {"method": "ngram"}])
def test_a_search_in_the_prompt_needs_no_draft(speculation):
    plan = plan_of(target(), speculative_config={"num_speculative_tokens": 2, **speculation})
    assert plan.memory.draft_bytes == 0


def test_a_request_reads_the_draft_that_it_names(tmp_path):
    for name, config in (("target", LLAMA), ("eagle3", HEAD)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    speculation = {"model": str(tmp_path / "eagle3"), "num_speculative_tokens": 2}
    request = vs.PlanRequest(
        model=str(tmp_path / "target"), gpu="l4", engine_args=vs.EngineArgs(speculative_config=speculation)
    )
    plan = vs.plan_request(request)
    assert plan.memory.draft_bytes > 0
    assert plan.model.draft.source == speculation["model"]
