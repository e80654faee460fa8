"""
``--hf-overrides``: the model is read with them, or the plan is refused.
"""

import json

import pytest

import vllm_sizing as vs

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
    "num_hidden_layers": 2, "vocab_size": 1000, "max_position_embeddings": 2048,
    "rope_scaling": {"rope_type": "linear", "factor": 2.0}, "other_config": {"a": 1, "b": 2},
}  # fmt: skip
RERANKER = {
    "architectures": ["LlamaForSequenceClassification"], "classifier_from_token": ["no", "yes"],
    "method": "from_2_way_softmax",
}  # fmt: skip


def test_a_request_reads_the_model_with_them(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    args = vs.EngineArgs(hf_overrides=RERANKER)
    plan = vs.plan_request(vs.PlanRequest(model=str(tmp_path), gpu="l4", engine_args=args))
    assert plan.model.architecture == "LlamaForSequenceClassification"
    assert [part.name for part in plan.memory.weight_parts].count("classifier") == 1


def test_objects_are_replaced_and_sections_merged():
    overrides = {"rope_scaling": {"rope_type": "linear", "factor": 4.0}, "other_config": {"a": 3}}
    model = vs.model_from_config(CONFIG, hf_overrides=overrides)
    assert model.max_model_len == 8192
    assert vs.plan(model, vs.find_gpu("l4"), engine_args=vs.EngineArgs(hf_overrides=overrides)).fits


@pytest.mark.parametrize("read_with", [None, {"vocab_size": 2000}])
def test_a_model_that_was_read_otherwise_is_refused(read_with):
    model = vs.model_from_config(CONFIG, hf_overrides=read_with)
    with pytest.raises(vs.UnsupportedError, match="hf_overrides"):
        vs.plan(model, vs.find_gpu("l4"), engine_args=vs.EngineArgs(hf_overrides={"vocab_size": 3000}))
