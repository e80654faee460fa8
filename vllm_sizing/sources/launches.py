"""
Any file that starts vLLM: read it, see what it is, and list the servers in it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_sizing.errors import SourceError
from vllm_sizing.sources.launch import Launch, Sheet

if TYPE_CHECKING:
    from vllm_sizing.sources.yaml_nodes import Node

MAX_FILE_BYTES = 4_000_000
# A start is printed at the head of a log, which may go on for weeks.
_LOG_BYTES = 16_000_000
_KEY = re.compile(r"""(?:"[^"\n]+"|'[^'\n]+'|[A-Za-z_][\w./-]*)\s*:(?:\s|$)|[{%]|---""")
_UNIT = re.compile(r"\A(?:[ \t]*(?:[#;].*)?\n)*\[[A-Z][A-Za-z]+\][ \t]*\n")
_HIDDEN = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def read_text(path: str) -> str:
    """
    The text of a file, ``-`` for standard input.

    Raises:
        SourceError: It cannot be read, is larger than any such file, or is no text.
    """
    where = "standard input" if path == "-" else repr(path)
    data = _read(path, where, MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        message = f"{where} is larger than {MAX_FILE_BYTES:,} bytes; give the part that matters"
        raise SourceError(message, source=path)
    return decode(data, where)


def read_log(path: str) -> str:
    """
    The head of a log, ``-`` for standard input; what is no text in it becomes question marks.

    Raises:
        SourceError: It cannot be read.
    """
    where = "standard input" if path == "-" else repr(path)
    return _read(path, where, _LOG_BYTES).decode("utf-8", "replace")


def _read(path: str, where: str, most: int) -> bytes:
    try:
        if path == "-":
            return sys.stdin.buffer.read(most)
        with Path(path).open("rb") as file:
            return file.read(most)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"{where} cannot be read: {reason}; give the path of a text file, or - for standard input"
        raise SourceError(message, source=path) from None


def decode(data: bytes, where: str) -> str:
    """
    Bytes as text.

    Raises:
        SourceError: They are none.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{where} is not UTF-8 text (byte {error.start:,}); give a text file"
        raise SourceError(message, source=where) from None
    return text.replace("\r\n", "\n")


def parse_launches(text: str, *, where: str = "the text") -> Sheet:
    """
    What a text starts, whatever its format.

    Raises:
        SizingError: It is none of the formats, or too large.

    >>> sheet = parse_launches("vllm serve Qwen/Qwen3-8B -tp 2")
    >>> sheet.kind, [word.text for word in sheet.launches[0].words]
    ('shell', ['Qwen/Qwen3-8B', '-tp', '2'])
    """
    if found := _HIDDEN.search(text):
        line = text.count("\n", 0, found.start()) + 1
        message = f"{where} has a control character in line {line}; give a text file"
        raise SourceError(message, source=where)
    if not text.strip():
        message = f"{where} is empty; give a command, a script or a manifest"
        raise SourceError(message, source=where)
    if _UNIT.search(text):
        from vllm_sizing.sources.launch_unit import parse_unit

        return Sheet("unit", tuple(parse_unit(text)))
    if not _looks_like_yaml(text):
        from vllm_sizing.sources.launch_command import parse_commands

        return Sheet("shell", tuple(parse_commands(text)))

    from vllm_sizing.sources.yaml_nodes import parse_nodes

    try:
        documents = tuple(parse_nodes(text, where=where))
    except SourceError:
        if "{{" not in text:
            raise
        message = f"{where} is a template of Helm; render it first (helm template) and check what comes out"
        raise SourceError(message, source=where) from None
    launches: list[Launch] = []
    kinds: list[str] = []
    for document in documents:
        kind, found_here = _of_document(document)
        kinds.append(kind)
        launches += found_here
    named = [kind for kind in kinds if kind]
    return Sheet(named[0] if named else "yaml", tuple(launches), documents=documents)


def _looks_like_yaml(text: str) -> bool:
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            return bool(_KEY.match(line))
    return False


def _of_document(document: Node) -> tuple[str, list[Launch]]:
    from vllm_sizing.sources import launch_charts, launch_compose, launch_config, launch_kubernetes

    keys = document.entries()
    if "services" in keys and "kind" not in keys:
        return "compose", launch_compose.parse_compose(document)
    if "kind" in keys:
        own = {
            "InferenceService": launch_charts.parse_inference_service,
            "LLMInferenceService": launch_charts.parse_llm_inference_service,
            "RayService": launch_charts.parse_ray_service,
        }.get(document.string("kind"))
        launches = own(document) if own else []
        return "kubernetes", launches or launch_kubernetes.parse_kubernetes(document)
    if "servingEngineSpec" in keys:
        return "helm", launch_charts.parse_production_stack(document)
    if "modelArtifacts" in keys:
        return "helm", launch_charts.parse_llm_d(document)
    if "image" in keys and document.words("image", "command"):
        return "helm", launch_charts.parse_chart(document)
    if "run" in keys and "resources" in keys:
        return "skypilot", launch_charts.parse_skypilot(document)
    from vllm_sizing.catalog.flags import flag_history

    flags = [name for name in keys if flag_history("--" + name.removeprefix("no-").replace("_", "-"))]
    if 2 * len(flags) > len(keys):
        return "config", [launch_config.parse_config(document)]
    return "", []
