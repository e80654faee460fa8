"""
The catalog of models: its facts against published totals, its names, its cost.
"""

import json
import subprocess
import sys
from importlib.resources import files

import pytest

from vllm_sizing.architectures import model_from_config
from vllm_sizing.catalog.models import find_model, look_up, model_names, near_names, siblings
from vllm_sizing.errors import UnknownNameError

# Parameter totals as the model cards and papers of these models give them.
PUBLISHED = {
    "01-ai/Yi-1.5-34B-Chat": 34_388_917_248,
    "01-ai/Yi-1.5-9B-Chat": 8_829_407_232,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361_821_120,
    "Qwen/Qwen2-Audio-7B-Instruct": 8_397_094_912,
    "Qwen/Qwen2-VL-2B-Instruct": 2_208_985_600,
    "Qwen/Qwen2-VL-72B-Instruct": 73_405_560_320,
    "Qwen/Qwen2-VL-7B-Instruct": 8_291_375_616,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-14B-Instruct": 14_770_033_664,
    "Qwen/Qwen2.5-32B-Instruct": 32_763_876_352,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-72B-Instruct": 72_706_203_648,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-VL-32B-Instruct": 33_452_718_336,
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-72B-Instruct": 73_410_777_344,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-235B-A22B": 235_093_634_560,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": 480_154_875_392,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "deepseek-ai/DeepSeek-R1": 671_026_419_200,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
    "deepseek-ai/DeepSeek-V2-Lite": 15_706_484_224,
    "deepseek-ai/DeepSeek-V2.5": 235_741_434_880,
    "google/gemma-2-27b-it": 27_227_128_320,
    "google/gemma-2-2b-it": 2_614_341_888,
    "google/gemma-2-9b-it": 9_241_705_984,
    "google/gemma-3-12b-it": 12_187_325_040,
    "google/gemma-3-1b-it": 999_885_952,
    "google/gemma-3-27b-it": 27_432_406_640,
    "google/gemma-3-4b-it": 4_300_079_472,
    "meta-llama/Llama-2-13b-chat-hf": 13_015_864_320,
    "meta-llama/Llama-2-70b-chat-hf": 68_976_648_192,
    "meta-llama/Llama-2-7b-chat-hf": 6_738_415_616,
    "meta-llama/Llama-3.1-405B": 405_853_388_800,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "microsoft/Phi-3-medium-4k-instruct": 13_960_238_080,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "microsoft/phi-4": 14_659_507_200,
    "mistralai/Codestral-22B-v0.1": 22_247_282_688,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "mistralai/Mistral-Large-Instruct-2407": 122_610_069_504,
    "mistralai/Mistral-Nemo-Instruct-2407": 12_247_782_400,
    "mistralai/Mistral-Small-24B-Instruct-2501": 23_572_403_200,
    "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704,
    "openai/gpt-oss-120b": 116_829_156_672,
    "openai/gpt-oss-20b": 20_914_757_184,
    "tiiuae/Falcon3-7B-Instruct": 7_455_550_464,
}
CATALOG = [find_model(name) for name in model_names()]
COUNTED = [model for model in CATALOG if model.num_parameters is not None]


def matrices(config):
    """
    An independent count for plain decoders: embeddings, attention, feed-forward, norms.
    """
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    kv_heads, head = config["num_key_value_heads"], config.get("head_dim") or hidden // heads
    family = config["architectures"][0]
    attention = 2 * hidden * head * (heads + kv_heads)
    attention += head * (heads + 2 * kv_heads) if family.startswith("Qwen2") else 0
    attention += 2 * head if family.startswith("Qwen3") else 0
    feed_forward = 3 * hidden * config["intermediate_size"]
    experts = config.get("num_experts") or config.get("num_local_experts")
    if experts:
        width = config.get("moe_intermediate_size") or config["intermediate_size"]
        feed_forward = experts * (3 * hidden * width + hidden)
    layer = attention + feed_forward + 2 * hidden
    embeddings = config["vocab_size"] * hidden * (1 if config["tie_word_embeddings"] else 2)
    return embeddings + config["num_hidden_layers"] * layer + hidden


def test_size_of_the_catalog():
    assert len(CATALOG) >= 200
    assert sum(model.quantized_from is not None for model in CATALOG) >= 60


@pytest.mark.parametrize("name", PUBLISHED)
def test_total_is_the_published_one(name):
    assert find_model(name).num_parameters == PUBLISHED[name]


@pytest.mark.parametrize("model", COUNTED, ids=lambda model: model.id)
def test_total_follows_from_the_config(model):
    plain = ("Llama", "Qwen2For", "Qwen3For", "Qwen3Moe", "MistralFor", "Mixtral")
    if model.config["architectures"][0].startswith(plain):
        assert model.num_parameters == matrices(model.config)
    if model.checkpoint_bytes is not None:
        assert model.checkpoint_bytes >= 2 * model.num_parameters
        assert model.checkpoint_bytes < 2.6 * model.num_parameters  # Qwen3-0.6B stores its embeddings twice.


@pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.id)
def test_model_is_one_that_can_be_planned(model):
    spec = model_from_config(model.config, name=model.id, hf_quant_config=model.hf_quant_config)

    if model.num_parameters is not None:
        assert spec.num_parameters == model.num_parameters
    if model.quantized_from is None and model.checkpoint_bytes is not None:
        assert spec.quantization is None


@pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.id)
def test_entry_is_complete(model):
    assert model.source
    assert model.id.count("/") == 1
    assert len(model.config["architectures"]) == 1
    quantized = model.config.get("quantization_config") or model.hf_quant_config
    assert model.quantized_from is None or quantized


def test_lines_are_sorted_unique_and_compact():
    text = (files("vllm_sizing.catalog") / "models.jsonl").read_text("ascii")
    lines = text.splitlines()
    names = [json.loads(line)["id"] for line in lines]

    assert names == sorted(set(names), key=str.lower)
    assert tuple(names) == model_names()
    assert all(line == json.dumps(json.loads(line), separators=(",", ":"), allow_nan=False) for line in lines)


def test_gated_models_are_marked():
    assert find_model("meta-llama/Llama-3.1-8B-Instruct").gated
    assert find_model("google/gemma-2-9b-it").gated
    assert not find_model("Qwen/Qwen3-8B").gated


@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B", "qwen/qwen3-8b", "qwen3-8b", "Qwen3 8B", " qwen3-8b "])
def test_spellings_of_one_name(name):
    assert find_model(name).id == "Qwen/Qwen3-8B"


def test_renamed_repository_is_found_by_its_old_name():
    assert find_model("meta-llama/Meta-Llama-3.1-8B").id == "meta-llama/Llama-3.1-8B"
    assert find_model("meta-llama-3.1-8b").id == "meta-llama/Llama-3.1-8B"


def test_hyphens_matter_in_a_full_id():
    assert look_up("Qwen/Qwen38B") is None


@pytest.mark.parametrize(
    "name", ["", "qwen", "8b", "llama-3", "Qwen/Qwen3", "other/Qwen3-8B", "\x1b[31m", "x" * 10_000]
)
def test_part_of_a_name_is_no_name(name):
    with pytest.raises(UnknownNameError) as caught:
        find_model(name)
    assert caught.value.message.isprintable()


def test_ambiguous_name_is_refused_with_candidates(monkeypatch):
    monkeypatch.setattr(
        "vllm_sizing.catalog.models._cache",
        {"a/same": '{"id":"a/same","config":{}}', "b/same": '{"id":"b/same","config":{}}'},
    )
    with pytest.raises(UnknownNameError) as caught:
        find_model("same")

    assert caught.value.candidates == ("a/same", "b/same")
    assert "could be a/same or b/same" in caught.value.message


def test_near_names():
    assert near_names("meta-llama/Llama-3.1-8B-Instrct")[0] == "meta-llama/Llama-3.1-8B-Instruct"
    assert near_names("0") == ()


def test_siblings_are_mutual():
    for name in model_names():
        for other in siblings(name):
            assert name in siblings(other)
            assert other != name


def test_siblings_of_quantizations():
    assert "Qwen/Qwen3-32B" in siblings("Qwen/Qwen3-32B-AWQ")
    assert "zai-org/GLM-5-FP8" in siblings("nvidia/GLM-5-NVFP4")
    assert siblings("TinyLlama/TinyLlama-1.1B-Chat-v1.0") == ()
    assert siblings("nobody/nothing") == ()


def test_entries_built_on_others_are_whole():
    model = find_model("Qwen/Qwen2.5-72B-Instruct-AWQ")

    assert model.config["hidden_size"] == 8192
    assert model.config["intermediate_size"] == 29_696
    assert model.config["torch_dtype"] == "float16"
    assert "rope_scaling" not in find_model("meta-llama/Meta-Llama-3-8B-Instruct").config


def test_finding_a_model_is_cheap(python_env):
    """
    Reading the catalog and one model takes milliseconds, even in a fresh process.
    """
    code = (
        "import json, time; import vllm_sizing.catalog.models as models\n"
        "start = time.perf_counter(); models.find_model('qwen3-32b'); print(time.perf_counter() - start)"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    ]

    assert min(runs) < 0.015  # 0.002 s on an idle machine


def test_a_null_of_the_entry_below_stays_a_null():
    """
    DeepSeek-V2-Lite has no low-rank queries, which is not the default of its class.
    """
    for name in ("deepseek-ai/DeepSeek-V2-Lite-Chat", "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"):
        assert find_model(name).config["q_lora_rank"] is None
