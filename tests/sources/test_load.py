"""
What a reference to a model means.
"""

import json
import subprocess
import sys

import pytest

from tests.hub_server import COMMIT, safetensors_bytes
from vllm_sizing.errors import (
    ConfigError,
    InvalidValueError,
    SizingError,
    SourceError,
    UnknownArchitectureError,
    UnknownNameError,
)
from vllm_sizing.sources.load import fetch_model_facts, load_model


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder(here, config_bytes):
    folder = here / "org" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(config_bytes)
    return folder


def message_of(reference, error=SizingError, **options):
    with pytest.raises(error) as caught:
        fetch_model_facts(reference, **options)
    assert "\n" not in caught.value.message
    assert caught.value.message.isprintable()
    return caught.value.message


# The order: a path that exists, the catalog, the Hub


@pytest.mark.parametrize("reference", ["Qwen/Qwen3-32B", "qwen/qwen3-32b", "Qwen3-32B", "qwen3 32b"])
def test_catalog_needs_no_network(reference):
    model = load_model(reference)

    assert model.name == "Qwen/Qwen3-32B"
    assert model.num_parameters == 32_762_123_264
    assert model.checkpoint_bytes == 65_524_246_528
    assert model.revision is None
    assert model.provenance[0].startswith("built-in catalog: Qwen/Qwen3-32B, ")


def test_revision_makes_the_hub_the_source(hub, config_bytes):
    hub.repositories["Qwen/Qwen3-32B"] = {"config.json": config_bytes}

    model = load_model("qwen3-32b", revision="main")

    assert model.hidden_size == 64
    assert model.revision == COMMIT


def test_other_id_is_asked_of_the_hub(hub):
    hub.repositories["org/model"]["model.safetensors"] = safetensors_bytes({"w": ("BF16", (8,), 16)})

    model = load_model("org/model")

    assert model.name == "org/model"
    assert model.revision == COMMIT
    assert model.checkpoint_bytes == 16
    assert model.provenance[0].startswith("safetensors headers: ")


def test_what_is_not_modelled_is_refused_with_the_size_of_its_files(hub):
    """
    Enough for a rough plan by params_b.
    """
    files = hub.repositories["org/model"]
    files["config.json"] = b'{"architectures": ["BrandNewForCausalLM"], "hidden_size": 64}'
    files["model.safetensors"] = safetensors_bytes({"w": ("BF16", (3_000_000, 4), 24_000_000)})

    with pytest.raises(UnknownArchitectureError) as caught:
        load_model("org/model")
    message = caught.value.message

    assert "'BrandNewForCausalLM' is not modelled" in message
    assert "the safetensors files hold 0.01 billion elements" in message


def test_an_unknown_architecture_without_weights_is_refused_alike(here):
    (here / "config.json").write_text('{"architectures": ["BrandNewForCausalLM"], "hidden_size": 64}')

    with pytest.raises(UnknownArchitectureError, match="'BrandNewForCausalLM' is not modelled") as caught:
        load_model("./config.json")
    assert caught.value.architecture == "BrandNewForCausalLM"
    assert "safetensors" not in caught.value.message


def test_folder_wins_over_the_hub_and_says_so(hub, folder):
    facts = fetch_model_facts("org/model")

    assert not hub.requests
    assert facts.name == "org/model"
    assert facts.revision is None
    assert "org/model is taken as the local path" in facts.provenance[-1]


def test_folder_wins_over_the_catalog_and_says_so(here, config_bytes):
    (here / "qwen3-32b").mkdir()
    (here / "qwen3-32b" / "config.json").write_bytes(config_bytes)

    facts = fetch_model_facts("qwen3-32b")

    assert facts.config["hidden_size"] == 64
    assert "may be in the catalog" in facts.provenance[-1]


@pytest.mark.parametrize("reference", ["./org/model", "org/model/", "org/model/config.json"])
def test_explicit_path_needs_no_remark(folder, reference):
    facts = fetch_model_facts(reference)

    assert facts.name == reference
    assert not any("taken as" in line for line in facts.provenance)


def test_path_object(folder):
    assert load_model(folder).hidden_size == 64


def test_home_folder(folder, here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))

    assert load_model("~/org/model").hidden_size == 64


# What goes wrong


@pytest.mark.parametrize("reference", ["", "  ", None, 7, b"x", ["x"], "x" * 5000])
def test_reference_that_is_no_text(reference):
    assert "it must be a folder" in message_of(reference, InvalidValueError)


@pytest.mark.parametrize(
    "reference", ["a\nb", "\x1b[31mred", "a\x00b", "org/mod\u202eel", "org/model\r", "a\u200bb", "\ud800"]
)
def test_reference_with_control_characters(reference):
    assert "control characters" in message_of(reference, InvalidValueError)


@pytest.mark.parametrize("reference", ["--help", "-x", "--model=x"])
def test_reference_that_looks_like_an_option(reference):
    assert f"write ./{reference} for a folder" in message_of(reference, InvalidValueError)


@pytest.mark.parametrize("reference", ["./gone", "/gone/gone", "~/gone-gone", "gone.json", "a/b/c", "a\\b", ".."])
def test_path_that_does_not_exist(here, reference):
    if reference == "..":
        assert "has no config.json" in message_of(reference, SourceError)
    else:
        assert f"{reference} does not exist here" in message_of(reference, SourceError)


def test_path_that_is_too_long(here):
    assert "does not exist" in message_of("./" + "a" * 300, SourceError)


def test_web_address_of_the_hub_gives_the_id():
    message = message_of("https://huggingface.co/Qwen/Qwen3-8B/tree/main", SourceError)

    assert "give the Hub id Qwen/Qwen3-8B" in message


@pytest.mark.parametrize("reference", ["s3://bucket/model", "hf://a/b", "https://example.org/config"])
def test_other_addresses_are_not_read(reference):
    assert "is an address that is not read" in message_of(reference, SourceError)


def test_unknown_short_name_suggests():
    with pytest.raises(UnknownNameError) as caught:
        fetch_model_facts("qwen3-32")

    assert "Qwen/Qwen3-32B" in caught.value.candidates
    assert "did you mean Qwen/Qwen3-32B" in caught.value.message


@pytest.mark.parametrize("reference", ["zzzzzzzz", "a/b?c", "a b/c"])
def test_what_no_hub_id_can_be(reference):
    assert "is neither in the catalog nor a Hub id" in message_of(reference, UnknownNameError)


@pytest.mark.parametrize("revision", ["", "../../x", "a b", "a\nb", "-x", 7, "x" * 300, "a..b"])
def test_revision_that_cannot_be(revision):
    assert "revision is" in message_of("org/model", InvalidValueError, revision=revision)


def test_revision_of_a_folder(folder):
    assert "leave revision out" in message_of("./org/model", InvalidValueError, revision="main")


def test_config_that_is_a_list(folder):
    (folder / "config.json").write_text("[]")

    assert "it must hold a JSON object" in message_of("./org/model", ConfigError)


def test_config_that_is_no_model(folder):
    (folder / "config.json").write_text("{}")

    with pytest.raises(SizingError) as caught:
        load_model("./org/model")
    assert "\n" not in caught.value.message


# What it costs


def loaded_by(code, monkeypatch):
    monkeypatch.delenv("COVERAGE_PROCESS_START", raising=False)  # It loads modules of its own.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    code += "\nimport json, sys; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_catalog_model_loads_nothing_heavy(python_env, monkeypatch):
    loaded = loaded_by("from vllm_sizing.sources.load import load_model; load_model('qwen3-32b')", monkeypatch)

    heavy = {"huggingface_hub", "concurrent.futures", "socket", "subprocess", "asyncio", "cattrs", "yaml"}
    assert not (loaded - loaded_by("pass", monkeypatch)) & heavy
