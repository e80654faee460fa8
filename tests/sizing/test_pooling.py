"""
Models that pool: which runner runs, what is refused, and that no cache is asked for where none is kept.
"""

import pytest

import vllm_sizing as vs

SIZES = {
    "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
    "num_key_value_heads": 4, "num_hidden_layers": 2, "vocab_size": 1000,
}  # fmt: skip


def model_of(architecture, **more):
    return vs.model_from_config({"architectures": [architecture], "dtype": "bfloat16", **SIZES, **more}, name="small")


def plan_of(model, gpu="h100-sxm", **args):
    return vs.plan(model, vs.find_gpu(gpu), engine_args=vs.EngineArgs(**args))


@pytest.mark.parametrize(
    ("architecture", "runner", "convert"),
    [
        ("LlamaForCausalLM", "generate", "none"),
        ("LlamaModel", "generate", "none"),
        ("Qwen3Model", "pooling", "embed"),
        ("Qwen3ForSequenceClassification", "pooling", "classify"),
        ("LlamaForTokenClassification", "pooling", "classify"),
        ("BertModel", "pooling", "none"),
        ("HF_ColBERT", "pooling", "none"),
    ],
)
def test_what_vllm_runs_when_nothing_is_said(architecture, runner, convert):
    model = model_of(architecture)
    assert (model.runner, model.convert, model.architecture) == (runner, convert, architecture)


@pytest.mark.parametrize("architecture", ["LlamaForRewardModel", "NobodyForSequenceClassification", "Bert"])
def test_what_no_class_stands_behind_is_refused_by_name(architecture):
    with pytest.raises(vs.UnknownArchitectureError, match=architecture):
        model_of(architecture)


def test_an_encoder_keeps_no_cache_and_needs_none():
    plan = plan_of(model_of("BertModel"))
    assert plan.fits
    assert plan.memory.kv_cache_bytes == 0
    assert plan.kv_cache.groups == ()
    assert plan.engine_args.max_num_batched_tokens >= plan.engine_args.max_model_len


def test_an_encoder_too_large_for_the_gpu_does_not_fit():
    huge = {"hidden_size": 65536, "intermediate_size": 262144, "num_hidden_layers": 48}
    plan = plan_of(model_of("BertModel", **huge), gpu="l4", tensor_parallel_size=1)
    assert not plan.fits
    assert plan.oom_risk == "high"


def test_a_batch_is_never_shorter_than_what_an_encoder_takes_whole():
    plan = plan_of(model_of("ModernBertModel", max_position_embeddings=32768))
    assert plan.engine_args.max_num_batched_tokens == 32768


@pytest.mark.parametrize("dtype", ["float32", None])
def test_pooling_turns_float32_into_float16(dtype):
    model = model_of("LlamaForCausalLM", dtype=dtype)
    assert plan_of(model).engine_args.dtype == "bfloat16"
    assert plan_of(model, runner="pooling").engine_args.dtype == "float16"


def test_pooling_drops_the_head_and_labels_add_one():
    model = model_of("LlamaForCausalLM", id2label={"0": "a", "1": "b", "2": "c"})
    weights = [plan_of(model, **args).memory.weights_bytes_per_gpu for args in (
        {}, {"runner": "pooling"}, {"convert": "embed"}, {"convert": "classify"}, {"convert": "reward"},
    )]  # fmt: skip
    head = 1024 * 64 * 2
    assert [size - weights[0] for size in weights] == [0, -head, -head, 3 * 64 * 4 - head, -head]


@pytest.mark.parametrize(
    ("architecture", "args", "words"),
    [
        ("BertModel", {"runner": "generate"}, "runner is 'generate'"),
        ("LlamaForCausalLM", {"runner": "generate", "convert": "embed"}, "needs the pooling runner"),
        ("LlamaForCausalLM", {"runner": "pooling", "convert": "none"}, "does not pool by itself"),
        ("LlamaForCausalLM", {"convert": "score"}, "convert is 'score'"),
    ],
)
def test_what_vllm_refuses_is_refused(architecture, args, words):
    with pytest.raises(vs.UnsupportedError, match=words):
        plan_of(model_of(architecture), **args)


@pytest.mark.parametrize(
    ("architecture", "values", "field"),
    [
        ("BertForSequenceClassification", {"id2label": {}}, "id2label"),
        ("BertForSequenceClassification", {"head_dtype": "int8"}, "head_dtype"),
        ("BertModel", {"num_attention_heads": 3}, "num_attention_heads"),
        ("BertModel", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("GteModel", {"hidden_act": "relu"}, "hidden_act"),
        ("NomicBertModel", {"activation_function": "relu"}, "activation_function"),
        ("NomicBertModel", {"qkv_proj_bias": True, "mlp_fc1_bias": False}, "mlp_fc1_bias"),
        ("ModernBertModel", {"layer_types": ["chunked_attention"] * 2}, "layer_types"),
        ("Qwen3ForSequenceClassification", {"method": "from_2_way_softmax"}, "classifier_from_token"),
    ],
)
def test_bad_values_are_named(architecture, values, field):
    with pytest.raises(vs.ConfigError, match=field):
        model_of(architecture, **values)


def test_a_projection_that_only_the_weights_know_is_said():
    assert [finding.code for finding in model_of("HF_ColBERT").findings] == ["colbert-projection-not-counted"]


def test_the_reasons_speak_of_no_cache_where_there_is_none():
    reasons = {decision.flag: decision.reason for decision in plan_of(model_of("BertModel", dtype="float32")).decisions}
    assert "float32" in reasons["dtype"]
    assert "no KV cache" in reasons["max_num_seqs"]
    assert "no KV cache" in reasons["max_model_len"]
