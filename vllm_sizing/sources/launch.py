"""
A server as a file starts it: its words with their lines, its environment, and the place it is given.
"""

from __future__ import annotations

from typing import NamedTuple

from vllm_sizing.catalog.check_rules import finding
from vllm_sizing.sources.yaml_nodes import Node
from vllm_sizing.specs.check import CheckFinding


class Word(NamedTuple):
    """
    One argument.

    Attributes:
        text: As the program gets it.

        line: Where it stands.

        unknown: The part that only a shell or a cluster knows, such as ``$MODEL``; empty: all is known.
    """

    text: str
    line: int
    unknown: str = ""


class Variable(NamedTuple):
    """
    One variable of the environment.

    Attributes:
        value: None: it comes from elsewhere (a secret, the caller's environment).
    """

    name: str
    value: str | None
    line: int


class Launch(NamedTuple):
    """
    What a file says about one server.

    Attributes:
        words: What follows the program.

        program: ``serve`` (``vllm serve``), ``module`` (the API server's module, with ``--model``), or
            ``image``: whatever the image's entrypoint is.

        num_gpus: Of one node; None: not said.

        gpu: As the file names it; empty: not said.

        shm_bytes: Size of /dev/shm; None: not limited here (no container, or the host's).

        grace_s: From the wish to stop until the kill; None: not said or not limited.

        pod, container, document: Of Kubernetes and Compose, for the rules that look closer.

        wrapped: A shell stands between the container and vLLM.

        devices: The GPUs by name, where they are named.

        entrypoint: The image's own entrypoint runs before the words that the file gives.
    """

    kind: str
    name: str
    line: int
    words: tuple[Word, ...]
    program: str = "serve"
    image: str = ""
    image_line: int = 0
    environment: tuple[Variable, ...] = ()
    num_gpus: int | None = None
    gpu_line: int = 0
    gpu: str = ""
    num_nodes: int = 1
    shm_bytes: int | None = None
    shm_line: int = 0
    grace_s: float | None = None
    grace_line: int = 0
    pod: Node | None = None
    container: Node | None = None
    document: Node | None = None
    wrapped: bool = False
    entrypoint: bool = False
    devices: tuple[str, ...] = ()
    findings: tuple[CheckFinding, ...] = ()


class Sheet(NamedTuple):
    """
    A file that was read.

    Attributes:
        documents: Of YAML.
    """

    kind: str
    launches: tuple[Launch, ...]
    findings: tuple[CheckFinding, ...] = ()
    documents: tuple[Node, ...] = ()


__all__ = ["Launch", "Sheet", "Variable", "Word", "finding"]
