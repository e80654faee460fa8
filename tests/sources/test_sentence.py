"""
What files of sentence-transformers beside a config change, as in vLLM.
"""

import json

import pytest

import vllm_sizing as vs

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
    "num_hidden_layers": 2, "vocab_size": 1000, "max_position_embeddings": 2048,
}  # fmt: skip
BERT = {"architectures": ["BertModel"], "position_embedding_type": "absolute"}
POOLING = [{"idx": 0, "type": "sentence_transformers.models.Transformer"},
           {"idx": 1, "type": "sentence_transformers.models.Pooling"}]  # fmt: skip


def load(folder, config, **files):
    for name, content in {"config": config, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return vs.load_model(folder)


def test_a_decoder_with_a_pooling_module_pools_without_its_head(tmp_path):
    plain, sentence = tmp_path / "plain", tmp_path / "sentence"
    for folder in (plain, sentence):
        folder.mkdir()
    models = [load(plain, LLAMA), load(sentence, LLAMA, modules=POOLING)]
    assert [(model.runner, model.convert) for model in models] == [("generate", "none"), ("pooling", "embed")]
    plans = [vs.plan(model, vs.find_gpu("l4")).memory.weights_bytes_per_gpu for model in models]
    assert plans[0] - plans[1] == 1024 * 64 * 2


def test_the_sentence_length_replaces_the_context(tmp_path):
    model = load(tmp_path, LLAMA, modules=POOLING, sentence_bert_config={"max_seq_length": 512})
    assert model.max_model_len == 512
    assert f"sentence_bert_config.json: {tmp_path}" in model.provenance


@pytest.mark.parametrize(("written", "limit"), [(256, 256), (10**30, 512), (None, 512), ("512", 512)])
def test_absolute_positions_end_where_the_tokenizer_does(tmp_path, written, limit):
    assert load(tmp_path, BERT, tokenizer_config={"model_max_length": written}).max_model_len == limit


@pytest.mark.parametrize("modules", [{}, [], [1], [{"type": "sentence_transformers.models.Dense"}]])
def test_other_modules_do_not_pool(tmp_path, modules):
    assert load(tmp_path, LLAMA, modules=modules).runner == "generate"


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "modules.json").write_text("[")
    with pytest.raises(vs.ConfigError, match=r"modules\.json"):
        vs.load_model(tmp_path)
