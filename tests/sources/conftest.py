import json

import pytest

from tests.hub_server import HubServer

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


@pytest.fixture
def config():
    return dict(CONFIG)


@pytest.fixture
def config_bytes():
    return json.dumps(CONFIG).encode()


@pytest.fixture
def hub(tmp_path, monkeypatch, config_bytes):
    """
    A Hub with the repository ``org/model``; huggingface_hub asks it, with a cache of its own.
    """
    import huggingface_hub.constants
    from huggingface_hub.utils import close_session

    server = HubServer()
    server.repositories["org/model"] = {"config.json": config_bytes}
    server.cache = tmp_path / "hub-cache"

    # What the client reads from HF_ENDPOINT, HF_HOME and so on when it is imported.
    for name, value in {
        "ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(server.cache),
        "HF_TOKEN_PATH": str(tmp_path / "no-token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_ETAG_TIMEOUT": 0.5,
        "HF_HUB_DOWNLOAD_TIMEOUT": 0.5,
    }.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", server.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("time.sleep", lambda _: None)  # The client waits between its retries.
    yield server
    close_session()
    server.close()
