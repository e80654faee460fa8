"""
Images, variables and secrets: what a file gives a server besides its arguments.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vllm_sizing.catalog.check_rules import finding
from vllm_sizing.catalog.names import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vllm_sizing.catalog.flags import Release
    from vllm_sizing.sources.launch import Launch
    from vllm_sizing.sources.yaml_nodes import Node
    from vllm_sizing.specs.check import CheckFinding

_REFERENCE = re.compile(
    r"(?:(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]{1,5})?|[A-Za-z0-9-]+:[0-9]{1,5}|localhost)/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_TAG = re.compile(r"v?([0-9]{1,2}\.[0-9]{1,3}(?:\.[0-9]{1,3})?)(?:\.[0-9]+)?(?:[-._+].*|(?:rc|post|dev)[0-9]*.*)?")
_SECRET_NAME = re.compile(r"TOKEN|API_?KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL|ACCESS_KEY|PRIVATE_KEY", re.IGNORECASE)
_NO_SECRET = re.compile(r"TOKENIZERS?_|_TOKENS|MAX_TOKEN|_PATH$|_FILE$|TOKENIZER", re.IGNORECASE)
_SECRET = re.compile(r"hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY")
_PLACEHOLDER = re.compile(
    r"|<.*>|(?:hf_|sk-)?(?:x+|\.+|\*+)|\$.*|(?:your|my|change|replace|insert|xxx|\.\.\.|todo|none|null|dummy|empty).*",
    re.IGNORECASE,
)
# A release that surely does not read it any more, and what took its place: vLLM's envs.py of 0.11.2, 0.16 and 0.33.
_DEAD: dict[str, tuple[Release, str]] = {
    "VLLM_ATTENTION_BACKEND": ((0, 16, 0), "write --attention-backend"),
    "VLLM_USE_V1": ((0, 11, 2), "leave it out"),
    "VLLM_ALL2ALL_BACKEND": ((0, 33, 0), "write --all2all-backend"),
    "VLLM_RPC_TIMEOUT": ((0, 33, 0), "leave it out"),
    "VLLM_ENGINE_ITERATION_TIMEOUT_S": ((0, 33, 0), "leave it out"),
    "VLLM_TORCH_PROFILER_DIR": ((0, 33, 0), "write --profiler-config"),
    "VLLM_SLEEP_WHEN_IDLE": ((0, 33, 0), "leave it out"),
    "VLLM_USE_TRITON_FLASH_ATTN": ((0, 33, 0), "write --attention-backend"),
    "VLLM_FLASH_ATTN_VERSION": ((0, 33, 0), "write --attention-config.flash_attn_version"),
}
_RISKY = {
    "VLLM_SERVER_DEV_MODE": "opens routes that reset and stop the server",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "lets clients load adapters from any path",
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "lets processes send each other code",
    "LD_PRELOAD": "loads foreign code into every process",
    "PYTHONPATH": "replaces modules of the image",
}
_DEAD_METRICS = (
    "vllm:gpu_cache_usage_perc",
    "vllm:cpu_cache_usage_perc",
    "vllm:num_requests_swapped",
    "vllm:time_per_output_token_seconds",
    "vllm:gpu_prefix_cache_",
)


def image_version(image: str) -> str | None:
    """
    The release in an image's tag; None if the tag does not say it.

    >>> image_version("vllm/vllm-openai:v0.11.2-cu129"), image_version("vllm/vllm-openai:latest")
    ('0.11.2', None)
    """
    match = _TAG.fullmatch(image_tag(image))
    return match[1] if match else None


def image_tag(image: str) -> str:
    """
    What stands behind the colon; empty without a tag, and with one that is a variable.

    >>> image_tag("localhost:5000/vllm:nightly"), image_tag("localhost:5000/vllm"), image_tag("vllm:${TAG}")
    ('nightly', '', '')
    """
    name = image.partition("@")[0]
    tag = name.rpartition(":")[2] if ":" in name.rpartition("/")[2] else ""
    return "" if "$" in tag or "{" in tag else tag


def about_image(launch: Launch, release: Release) -> Iterator[CheckFinding]:
    """
    Whether the image is named so that the same one comes tomorrow, and what it runs.
    """
    image, line = launch.image, launch.image_line
    if not image:
        return
    unknown = "$" in image or "{{" in image
    if not unknown and not _REFERENCE.fullmatch(image):
        message = f"{quote(image)} is no name of an image"
        yield finding("image-invalid", message, line=line, hint="lower case, and a tag behind a colon")
    tagged = ":" in image.rpartition("/")[2]
    if not unknown and (not tagged or re.search(r":latest(-|$|@)", image)) and "@sha256:" not in image:
        message = f"{quote(image)} is another release whenever one comes out"
        yield finding("image-latest", message, line=line, hint="write a release, such as vllm/vllm-openai:v0.33.0")
    official = re.search(r"(^|/)vllm/vllm-openai(-[a-z]+)?([:@]|$)", image)
    if official and launch.entrypoint and launch.program != "image" and (release >= (0, 11, 2) or launch.wrapped):
        message = "the image's entrypoint is vllm serve already, so that these words become its arguments"
        hint = "begin the arguments with the model, or set the entrypoint, too"
        yield finding("program-repeated", message, line=launch.words[0].line if launch.words else line, hint=hint)


def about_environment(launch: Launch, release: Release) -> Iterator[CheckFinding]:
    """
    What the variables do, or do not do any more.
    """
    for variable in launch.environment:
        name, line = variable.name, variable.line
        dead = _DEAD.get(name)
        if dead is not None and release >= dead[0]:
            message = f"{name} means nothing to this version of vLLM"
            yield finding("dead-variable", message, line=line, hint=dead[1])
        if name in _RISKY and variable.value not in (None, "", "0"):
            yield finding("risky-variable", f"{name} {_RISKY[name]}", line=line, hint="leave it out")
        if name in ("HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "HF_API_TOKEN"):
            read = "is read as a fallback only" if name == "HUGGING_FACE_HUB_TOKEN" else "is not read by vLLM"
            yield finding("old-variable", f"{name} {read}", line=line, hint="name it HF_TOKEN")
        if variable.value and is_secret(name, variable.value):
            message = f"{name} stands in the file in plain text"
            hint = "refer to a secret, or let the caller's environment hand it on"
            yield finding("secret-in-plain-text", message, line=line, hint=hint)


def is_secret(name: str, value: str) -> bool:
    """
    Whether a variable holds a secret and not a placeholder for one.

    >>> is_secret("HF_TOKEN", "hf_abcdefghijklmnopqrst"), is_secret("HF_TOKEN", "<your token>")
    (True, False)
    >>> is_secret("TOKENIZERS_PARALLELISM", "false")
    False
    """
    if _SECRET.search(value):
        return not re.fullmatch(r"(?:hf_|sk-)(.)\1*", value.strip())  # hf_xxxxxxxx
    named = _SECRET_NAME.search(name) and not _NO_SECRET.search(name)
    return bool(named) and not _PLACEHOLDER.fullmatch(value.strip())


def about_documents(documents: Sequence[Node]) -> Iterator[CheckFinding]:
    """
    Secrets and names of metrics, wherever they stand in a file.
    """
    for document in documents:
        if document.string("kind") == "Secret":
            for key in ("data", "stringData"):
                for name, node in document.entries(key).items():
                    if node.text and not _PLACEHOLDER.fullmatch(node.text.strip()):
                        message = f"the secret {quote(name)} stands in the file"
                        hint = "create it with kubectl from a file, and keep only its name here"
                        yield finding("secret-in-plain-text", message, line=node.line, hint=hint)
        for node in document.walk():
            if not isinstance(node.value, str):
                continue
            if is_secret("", node.text):
                message = "something that looks like a secret stands in the file"
                hint = "refer to a secret that is kept elsewhere"
                yield finding("secret-in-plain-text", message, line=node.line, hint=hint)
            for metric in _DEAD_METRICS:
                if metric in node.text:
                    message = f"{metric} does not exist any more"
                    hint = "there are vllm:kv_cache_usage_perc, vllm:num_requests_waiting, "
                    hint += "vllm:request_time_per_output_token_seconds and vllm:prefix_cache_hits"
                    yield finding("dead-metric", message, line=node.line, hint=hint)


def without_secrets(launch: Launch) -> Launch:
    """
    The launch with what looks like a secret in an argument blotted out, so that nothing shows it again.
    """
    words = tuple(word._replace(text=_SECRET.sub("***", word.text)) for word in launch.words)
    return launch._replace(words=words)


def about_words(launch: Launch) -> Iterator[CheckFinding]:
    """
    Secrets among the arguments.
    """
    for word in launch.words:
        if _SECRET.search(word.text):
            message = "a word of the command looks like a secret"
            hint = "take it from the environment: HF_TOKEN or VLLM_API_KEY, there from a secret"
            yield finding("secret-in-plain-text", message, line=word.line, hint=hint)
