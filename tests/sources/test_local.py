"""
Folders and config files on this machine.
"""

import json
import os

import pytest

from tests.hub_server import safetensors_bytes
from vllm_sizing.errors import ConfigError, SourceError
from vllm_sizing.sources.local import fetch_local_facts

WEIGHTS = {"a.weight": ("BF16", (4, 8), 64), "b.scale": ("F32", (), 4)}


@pytest.fixture
def folder(tmp_path, config_bytes):
    (tmp_path / "config.json").write_bytes(config_bytes)
    return tmp_path


def message_of(path, error=SourceError):
    with pytest.raises(error) as caught:
        fetch_local_facts(path, name="m")
    assert "\n" not in caught.value.message
    return caught.value.message


def write_index(folder, *names):
    weight_map = {f"tensor{number}": name for number, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


# What is read


def test_folder_with_config_only(folder, config):
    facts = fetch_local_facts(folder, name="m")

    assert facts.config == config
    assert facts.revision is None
    assert facts.provenance[0] == f"config.json: {folder}"
    assert facts.provenance[1].startswith("safetensors headers: not read, there is neither")


def test_config_file_of_a_folder_is_the_folder(folder):
    (folder / "model.safetensors").write_bytes(safetensors_bytes(WEIGHTS))

    assert fetch_local_facts(folder / "config.json", name="m").checkpoint_bytes == 68


def test_single_file_of_another_name(folder, config):
    (folder / "config.json").rename(folder / "qwen.json")

    facts = fetch_local_facts(folder / "qwen.json", name="m")

    assert facts.config == config
    assert facts.provenance == (f"config: {folder / 'qwen.json'}",)


def test_folder_with_everything(folder):
    write_index(folder, "1.safetensors", "2.safetensors")
    (folder / "1.safetensors").write_bytes(safetensors_bytes(WEIGHTS))
    (folder / "2.safetensors").write_bytes(safetensors_bytes({"c": ("F4", (32,), 16)}))
    (folder / "hf_quant_config.json").write_text('{"quantization": {}}')

    facts = fetch_local_facts(folder, name="m")

    assert facts.headers.bytes_by_dtype == (("BF16", 64), ("F32", 4), ("F4", 16))
    assert facts.hf_quant_config == {"quantization": {}}
    assert facts.provenance == (
        "safetensors headers: 3 tensors, 84 bytes in 2 files",
        f"config.json: {folder}",
        f"hf_quant_config.json: {folder}",
    )


def test_unfinished_download_leaves_the_config(folder):
    write_index(folder, "1.safetensors", "2.safetensors")
    (folder / "1.safetensors").write_bytes(safetensors_bytes(WEIGHTS))

    facts = fetch_local_facts(folder, name="m")

    assert facts.headers is None
    assert facts.provenance[-1] == ("safetensors headers: not read, 2.safetensors is missing (1 of 2 files)")


def test_weights_as_git_lfs_pointers_leave_the_config(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")

    facts = fetch_local_facts(folder, name="m")

    assert facts.provenance[-1] == "safetensors headers: not read, model.safetensors is a Git LFS pointer"


def test_links_are_followed(folder, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "link"
    link.symlink_to(folder)

    assert fetch_local_facts(link, name="m").config["hidden_size"] == 64


# What goes wrong


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("adapter_config.json", "LoRA adapter"),
        ("x.gguf", "GGUF files"),
        ("model_index.json", "diffusion pipeline"),
        ("notes.txt", "has no config.json; give"),
    ],
)
def test_folder_without_config(tmp_path, name, said):
    (tmp_path / name).write_text("{}")

    assert said in message_of(tmp_path)


def test_links_in_a_circle(tmp_path):
    (tmp_path / "config.json").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "config.json")

    assert "cannot be read: Too many levels of symbolic links" in message_of(tmp_path)
    assert "cannot be read: Too many levels of symbolic links" in message_of(tmp_path / "config.json")


def test_link_that_leads_nowhere(tmp_path):
    (tmp_path / "config.json").symlink_to(tmp_path / "gone")

    assert "a link may lead nowhere" in message_of(tmp_path)


def test_config_that_is_a_folder(tmp_path):
    (tmp_path / "config.json").mkdir()

    assert "is not a regular file" in message_of(tmp_path)


def test_config_that_is_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "config.json")

    assert "is not a regular file" in message_of(tmp_path)


def test_config_that_is_a_device():
    from pathlib import Path

    assert "is not a regular file" in message_of(Path("/dev/zero"))


def test_weights_that_are_a_pipe(folder):
    os.mkfifo(folder / "model.safetensors")

    assert "is not a regular file" in message_of(folder)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied"), "may not be read by this user"),
        (OSError(5, "Input/output error"), "cannot be read: Input/output error"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_file_that_cannot_be_read(folder, monkeypatch, error, said, name):
    from pathlib import Path

    (folder / "model.safetensors").write_bytes(safetensors_bytes(WEIGHTS))
    really_open = Path.open

    def refuse(self, *arguments):
        if self.name == name:
            raise error
        return really_open(self, *arguments)

    monkeypatch.setattr(Path, "open", refuse)

    assert said in message_of(folder)


def test_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    from pathlib import Path

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)

    assert "may not be read by this user" in message_of(tmp_path)


def test_name_that_is_too_long(tmp_path):
    assert "cannot be read: File name too long" in message_of(tmp_path / ("a" * 300))


def test_large_config(folder):
    (folder / "config.json").write_bytes(b'{"a": "' + b"x" * 8_000_000 + b'"}')

    assert "larger than 8,000,000 bytes" in message_of(folder, ConfigError)


def test_binary_config(folder):
    (folder / "config.json").write_bytes(bytes(range(128, 256)))

    assert "is not UTF-8 text" in message_of(folder, ConfigError)


def test_config_as_git_lfs_pointer(folder):
    (folder / "config.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")

    assert "git lfs pull" in message_of(folder, ConfigError)


def test_shard_outside_the_folder_is_not_opened(folder):
    write_index(folder, "../../../../../etc/passwd")

    assert "names the file '../../../../../etc/passwd'" in message_of(folder, ConfigError)


def test_weights_that_end_early(folder):
    (folder / "model.safetensors").write_bytes(safetensors_bytes(WEIGHTS)[:-10])

    assert "its download is unfinished" in message_of(folder)


def test_weights_that_end_inside_the_header(folder):
    (folder / "model.safetensors").write_bytes(safetensors_bytes(WEIGHTS)[:40])

    assert "ends inside its header" in message_of(folder)


def test_empty_weights(folder):
    (folder / "model.safetensors").write_bytes(b"")

    assert "ends after 0 bytes" in message_of(folder)
