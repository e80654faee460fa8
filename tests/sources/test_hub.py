"""
The real huggingface_hub client against a Hub on this machine.
"""

import errno
import json
import os
import subprocess
import sys

import pytest

from tests.hub_server import COMMIT, HubServer, safetensors_bytes
from vllm_sizing.errors import ConfigError, SourceError
from vllm_sizing.sources.hub import fetch_hub_facts

WEIGHTS = {"a.weight": ("BF16", (4, 8), 64), "b.scale": ("F32", (), 4)}
OTHER = {"c.weight": ("F8_E4M3", (16, 2), 32)}


def index_of(**weight_map):
    return json.dumps({"metadata": {}, "weight_map": weight_map}).encode()


def message_of(repo_id="org/model", error=SourceError, **options):
    with pytest.raises(error) as caught:
        fetch_hub_facts(repo_id, **options)
    assert "\n" not in caught.value.message
    assert caught.value.__cause__ is None
    return caught.value.message


def move(monkeypatch, endpoint):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


# What is read


def test_config_comes_with_its_commit(hub, config):
    facts = fetch_hub_facts("org/model")

    assert facts.config == config
    assert facts.name == "org/model"
    assert facts.revision == COMMIT
    assert facts.provenance == (
        "config.json: org/model at 0123456789ab",
        "safetensors headers: not read, there is neither model.safetensors nor model.safetensors.index.json",
    )


def test_second_file_of_modelopt_is_read(hub):
    hub.repositories["org/model"]["hf_quant_config.json"] = b'{"quantization": {"quant_algo": "FP8"}}'

    facts = fetch_hub_facts("org/model")

    assert facts.hf_quant_config == {"quantization": {"quant_algo": "FP8"}}
    assert "hf_quant_config.json: org/model at 0123456789ab" in facts.provenance


def test_headers_of_a_single_file_come_first_in_provenance(hub):
    hub.repositories["org/model"]["model.safetensors"] = safetensors_bytes(WEIGHTS)

    facts = fetch_hub_facts("org/model")

    assert facts.checkpoint_bytes == facts.headers.total_bytes == 68
    assert facts.headers.num_elements == 33
    assert facts.headers.bytes_by_dtype == (("BF16", 64), ("F32", 4))
    assert facts.provenance[0] == "safetensors headers: 2 tensors, 68 bytes in 1 file"
    assert len(facts.provenance) == 2


def test_headers_of_shards_are_merged(hub):
    hub.repositories["org/model"] |= {
        "model.safetensors.index.json": index_of(a="1.safetensors", b="1.safetensors", c="2.safetensors"),
        "1.safetensors": safetensors_bytes(WEIGHTS),
        "2.safetensors": safetensors_bytes(OTHER),
    }

    headers = fetch_hub_facts("org/model").headers

    assert [tensor.name for tensor in headers.tensors] == ["a.weight", "b.scale", "c.weight"]
    assert headers.num_files == 2
    assert headers.total_bytes == 100


def test_weights_are_never_fetched(hub):
    hub.repositories["org/model"]["model.safetensors"] = safetensors_bytes({"w": ("U8", (50_000_000,), 50_000_000)})

    facts = fetch_hub_facts("org/model")

    assert facts.checkpoint_bytes == 50_000_000
    assert hub.sent_bytes < 200_000
    assert [headers["Range"] for headers in hub.asked("model.safetensors")] == ["bytes=0-99999"]


def test_weights_are_not_fetched_from_a_server_that_ignores_ranges(hub):
    hub.repositories["org/model"]["model.safetensors"] = safetensors_bytes({"w": ("U8", (50_000_000,), 50_000_000)})
    hub.faults["model.safetensors"] = "ignore-range"

    assert fetch_hub_facts("org/model").checkpoint_bytes == 50_000_000
    assert hub.sent_bytes < 20_000_000  # What the sockets hold, not the file.


def test_long_header_is_asked_for_again(hub):
    hub.repositories["org/model"]["model.safetensors"] = safetensors_bytes(WEIGHTS, padding=150_000)

    assert fetch_hub_facts("org/model").checkpoint_bytes == 68
    assert len(hub.asked("model.safetensors")) == 2


def test_revision_is_pinned_to_one_commit(hub):
    hub.repositories["org/model"]["model.safetensors"] = safetensors_bytes(WEIGHTS)

    facts = fetch_hub_facts("org/model", revision="v1.0")

    assert facts.revision == COMMIT
    assert "/resolve/v1.0/" in next(path for _, path, _ in hub.requests if path.endswith("config.json"))
    assert all(COMMIT in path for _, path, _ in hub.requests if path.endswith("model.safetensors"))


def test_token_goes_to_the_hub_and_not_where_it_redirects(hub, monkeypatch):
    elsewhere = HubServer()
    elsewhere.repositories = hub.repositories
    hub.repositories["org/model"]["model.safetensors"] = safetensors_bytes(WEIGHTS)
    hub.faults["model.safetensors"] = elsewhere.url.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    try:
        facts = fetch_hub_facts("org/model")
    finally:
        elsewhere.close()

    assert facts.checkpoint_bytes == 68
    assert hub.asked("config.json")[0]["authorization"] == "Bearer hf_secret"
    assert elsewhere.requests
    assert not any("authorization" in map(str.lower, headers) for *_, headers in elsewhere.requests)


def test_token_argument_wins_over_the_environment(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    fetch_hub_facts("org/model", token="hf_other")

    assert hub.asked("config.json")[0]["authorization"] == "Bearer hf_other"


def test_weights_in_the_cache_are_read_there(hub):
    fetch_hub_facts("org/model")
    snapshot = next(hub.cache.rglob("config.json")).parent
    (snapshot / "model.safetensors").write_bytes(safetensors_bytes(WEIGHTS))
    hub.requests.clear()

    facts = fetch_hub_facts("org/model")

    assert facts.checkpoint_bytes == 68
    assert not hub.asked("model.safetensors")


@pytest.mark.parametrize("fault", ["hang", 416, 503, "cut", "gated", "ftp://127.0.0.1"])
def test_config_suffices_when_headers_cannot_be_had(hub, fault):
    hub.repositories["org/model"]["model.safetensors"] = safetensors_bytes(WEIGHTS)
    hub.faults["model.safetensors"] = fault

    facts = fetch_hub_facts("org/model")

    assert facts.headers is None
    assert facts.checkpoint_bytes is None
    assert facts.provenance[-1].startswith("safetensors headers: not read, ")
    assert len(facts.provenance) == 2


# Offline


def test_offline_reads_the_cache(hub, monkeypatch, config):
    hub.repositories["org/model"]["model.safetensors"] = safetensors_bytes(WEIGHTS)
    fetch_hub_facts("org/model")
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    facts = fetch_hub_facts("org/model")

    assert not hub.requests
    assert facts.config == config
    assert facts.revision == COMMIT
    assert any(line.startswith("Hub: not asked, ") for line in facts.provenance)


def test_unreachable_hub_reads_the_cache(hub, monkeypatch, config):
    fetch_hub_facts("org/model")
    move(monkeypatch, "http://127.0.0.1:1")

    facts = fetch_hub_facts("org/model")

    assert facts.config == config
    assert "cannot be reached" in facts.provenance[-1]


def test_offline_says_when_the_second_file_was_never_asked_for(hub, monkeypatch):
    fetch_hub_facts("org/model")
    for file in hub.cache.rglob(".no_exist/*/hf_quant_config.json"):
        file.unlink()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    assert fetch_hub_facts("org/model").provenance[-1] == ("hf_quant_config.json: not known whether there is one")


def test_offline_without_cache_names_the_switch(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    message = message_of()

    assert "HF_HUB_OFFLINE" in message
    assert "catalog" in message


# What goes wrong


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("gated", "is gated: accept its licence at"),
        ("private", "does not exist on the Hub or is private"),
        ("no-revision", "has no such revision"),
        ("bad-token", "does not accept the token"),
        (403, "the token may not read"),
        ("disabled", "is disabled on the Hub"),
        (418, "refuses org/model (HTTP 418)"),
        (429, "limits how often"),
        (500, "fault of its own about org/model (HTTP 500)"),
        ("hang", "timed out"),
        ("no-commit", "does not answer as a Hub"),
        ("web-page", "does not answer as a Hub"),
        ("cut", "broke off in the middle"),
        ("less", "broke off in the middle"),
        ("ftp://127.0.0.1", "leads to none"),
    ],
)
def test_fault_of_the_server_is_one_line(hub, fault, said):
    hub.faults["config.json"] = fault

    assert said in message_of()


def test_redirects_in_a_circle(hub):
    hub.faults["config.json"] = hub.url

    assert "leads to none" in message_of()


def test_gated_names_the_token(hub):
    hub.faults["config.json"] = "gated"

    assert "HF_TOKEN" in message_of()


def test_missing_repository_suggests_catalog_neighbours(hub):
    assert "did you mean Qwen/Qwen3-8B" in message_of("Qwen/Qwen3-8b1")


def test_missing_repository_without_neighbours(hub):
    assert "check the spelling" in message_of("zzzz/yyyyyyyyyyyy")


def test_id_that_the_hub_cannot_have(hub):
    assert "is not a Hub id" in message_of("a--b/..c")


def test_no_network(hub, monkeypatch):
    move(monkeypatch, "http://127.0.0.1:1")

    assert "cannot be reached; check the network" in message_of()


def test_no_network_and_a_name_that_is_nearly_in_the_catalog(hub, monkeypatch):
    move(monkeypatch, "http://127.0.0.1:1")

    assert "built-in catalog (Qwen/Qwen3-8B" in message_of("Qwen/Qwen3-8b1")
    assert "give a model of the built-in catalog, a local folder" in message_of("zzzz/yyyyyyyyyyyy")


@pytest.mark.parametrize("endpoint", ["hub.example", "ftp://127.0.0.1"])
def test_endpoint_that_is_no_address(hub, monkeypatch, endpoint):
    move(monkeypatch, endpoint)

    assert "HF_ENDPOINT" in message_of()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"adapter_config.json": b"{}"}, "LoRA adapter"),
        ({"model-Q4_K_M.gguf": b""}, "GGUF files"),
        ({"model_index.json": b"{}"}, "diffusion pipeline"),
        ({"README.md": b""}, "has no config.json; give"),
    ],
)
def test_repository_without_config(hub, files, said):
    hub.repositories["org/model"] = files

    assert said in message_of()


def test_repository_without_config_and_without_list(hub, monkeypatch):
    hub.repositories["org/model"] = {}
    monkeypatch.setattr("tests.hub_server.TREE", hub_path_that_never_matches())

    assert "has no config.json; give" in message_of()


def hub_path_that_never_matches():
    import re

    return re.compile("(?!)")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"hidden_size": 40', "ends in the middle"),
        (b"[1, 2]", "it must hold a JSON object"),
        (b"7", "it must hold a JSON object"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"[" * 10_000 + b"]" * 10_000, "nests deeper than 64 levels"),
        (b"\xff\xfe{\x00}\x00", "is UTF-16"),
    ],
)
def test_config_of_the_wrong_kind(hub, data, said):
    hub.repositories["org/model"]["config.json"] = data

    assert said in message_of(error=ConfigError)


def test_huge_config_is_not_downloaded(hub):
    hub.repositories["org/model"]["config.json"] = b'{"a": "' + bytes(60_000_000) + b'"}'

    assert "larger than 8,000,000 bytes" in message_of()
    assert hub.sent_bytes < 45_000_000
    assert not list(hub.cache.rglob("config.json"))


def test_answer_shorter_than_asked(hub):
    hub.repositories["org/model"]["model.safetensors"] = safetensors_bytes(WEIGHTS)
    hub.faults["model.safetensors"] = "short"

    assert "was answered with 12 of" in message_of()


def test_hostile_header_length(hub):
    hub.repositories["org/model"]["model.safetensors"] = (2**62).to_bytes(8, "little") + b"{}"

    assert "claims a header of 4,611,686,018,427,387,904 bytes" in message_of()


def test_shard_outside_the_repository_is_not_asked_for(hub):
    hub.repositories["org/model"]["model.safetensors.index.json"] = index_of(a="../../../etc/passwd")

    assert "names the file '../../../etc/passwd'" in message_of(error=ConfigError)
    assert not any("passwd" in path for _, path, _ in hub.requests)


def test_one_missing_shard_leaves_the_config(hub):
    hub.repositories["org/model"] |= {
        "model.safetensors.index.json": index_of(a="1.safetensors", c="2.safetensors"),
        "1.safetensors": safetensors_bytes(WEIGHTS),
    }

    facts = fetch_hub_facts("org/model")

    assert facts.headers is None
    assert facts.provenance[-1] == (
        "safetensors headers: not read, a file that the index of org/model names is missing; "
        "its upload may be unfinished"
    )


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_cache_that_cannot_be_written(hub, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)

    message = message_of()

    assert "HF_HOME" in message
    assert str(hub.cache) in message


def test_cache_that_is_a_file(hub):
    hub.cache.write_text("")

    assert "the Hub cache" in message_of()


@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_unknown_fault_of_the_client_is_one_line(hub, monkeypatch, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)

    assert f"cannot be used ({error.__name__})" in message_of()


# As a process, with huggingface_hub's own variables

LOAD = (
    "import sys; from vllm_sizing.errors import SizingError\n"
    "from vllm_sizing.sources.hub import fetch_hub_facts\n"
    "try: print(fetch_hub_facts(sys.argv[1]).revision)\n"
    "except SizingError as error: print(error)"
)


@pytest.fixture
def run(hub, python_env, monkeypatch, tmp_path):
    def answer(repo_id="org/model", **variables):
        for name, value in {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_OFFLINE": "0",
            **variables,
        }.items():
            monkeypatch.setenv(name, value)
        command = [sys.executable, "-c", LOAD, repo_id]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done.stdout.strip()

    return answer


def test_variables_of_the_client_are_honoured(run, hub, tmp_path):
    assert run() == COMMIT
    assert list((tmp_path / "home").rglob("config.json"))
    hub.requests.clear()
    assert run(HF_HUB_OFFLINE="1") == COMMIT
    assert not hub.requests
    assert "HF_HUB_OFFLINE forbids asking" in run("org/other", HF_HUB_OFFLINE="1")


def test_variable_that_is_no_number(run):
    assert "huggingface_hub does not start" in run(HF_HUB_ETAG_TIMEOUT="soon")


def test_params_json_stands_in_for_a_config(hub):
    params = {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128, "vocab_size": 1000}
    hub.repositories["org/mistral"] = {"params.json": json.dumps(params).encode()}
    facts = fetch_hub_facts("org/mistral")
    assert facts.config["architectures"] == ["MistralForCausalLM"]
    assert facts.provenance[0].startswith("params.json: org/mistral")
