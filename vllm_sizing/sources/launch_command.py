"""
The servers that shell text starts: ``vllm serve``, the API server's module, ``docker run``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from vllm_sizing.sources.gpu_labels import one_gpu
from vllm_sizing.sources.launch import Launch, Variable, Word, finding
from vllm_sizing.sources.quantities import parse_gpus, parse_seconds, parse_size
from vllm_sizing.sources.shell_text import Command, parse_script
from vllm_sizing.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from vllm_sizing.specs.check import CheckFinding

MODULE = "vllm.entrypoints.openai.api_server"
DEFAULT_SHM_BYTES = 64 * MIB  # of Docker and of Kubernetes
_CONTAINERS = frozenset({"docker", "podman", "nerdctl"})
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ash"})
_TALK = frozenset({"echo", "printf", "trap", "alias", "grep", "pkill", "pgrep", "#"})
# Options of `docker run` without a value; every other one takes the next word.
_ALONE = frozenset(
    [
        "-d",
        "--detach",
        "-i",
        "--interactive",
        "-t",
        "--tty",
        "--rm",
        "--init",
        "--privileged",
        "--read-only",
        "--no-healthcheck",
        "-P",
        "--publish-all",
        "--oom-kill-disable",
        "--sig-proxy",
        "-q",
        "--quiet",
        "--disable-content-trust",
        "--use-api-socket",
    ]
)
_MOST_SHELLS = 3
_NODES = re.compile(r"\s(?:--nodes[= ]|-N ?)([0-9]{1,5})(?:\s|$)")
_GPUS = re.compile(r"\s--(?:gpus-per-node[= ]|gres[= ]gpu:)(?:([A-Za-z][A-Za-z0-9_-]*):)?([0-9]{1,4})(?:\s|$)")


def parse_commands(text: str, *, first_line: int = 1, name: str = "command") -> list[Launch]:
    r"""
    Every server that a script or a single command starts.

    Raises:
        InvalidValueError: A quote is not closed, or the text is too long.

    >>> launch = parse_commands("docker run --gpus 2 vllm/vllm-openai:v0.33.0 \\\n  Qwen/Qwen3-8B -tp 2")[0]
    >>> launch.kind, launch.num_gpus, launch.image, [word.text for word in launch.words]
    ('docker', 2, 'vllm/vllm-openai:v0.33.0', ['Qwen/Qwen3-8B', '-tp', '2'])
    """
    nodes, gpus, kind, line = _slurm(text, first_line)
    known = dict.fromkeys(("SLURM_JOB_NUM_NODES", "SLURM_NNODES"), str(nodes)) if nodes else {}
    launches = list(_launches(parse_script(text, first_line=first_line, known=known), name, 0, known))
    if nodes is None and gpus is None:
        return launches
    return [
        launch._replace(num_nodes=nodes or 1, num_gpus=gpus, gpu=one_gpu({kind} if kind else set()), gpu_line=line)
        if launch.kind == "command"
        else launch
        for launch in launches
    ]


def _slurm(text: str, first_line: int) -> tuple[int | None, int | None, str, int]:
    """
    Nodes, GPUs of each and their kind, and the line, from the head of a batch script.
    """
    nodes: int | None = None
    gpus: int | None = None
    kind, line = "", 0
    for number, found in enumerate(text.splitlines(), start=first_line):
        if not found.startswith("#SBATCH"):
            continue
        if match := _NODES.search(found):
            nodes = int(match[1])
        if match := _GPUS.search(found):
            kind, gpus, line = match[1] or "", int(match[2]), number
    return nodes, gpus, kind, line


def _launches(commands: Sequence[Command], name: str, shells: int, values: Mapping[str, str]) -> Iterator[Launch]:
    for command in commands:
        for launch in _of_command(command, name, shells, values):
            found = list(launch.findings)
            if command.sometimes:
                message = "the command stands in a branch or a loop: whether and how often it runs is not known"
                found.append(finding("sometimes", message, line=command.line))
            yield launch._replace(findings=tuple(found))


def _of_command(command: Command, name: str, shells: int, values: Mapping[str, str]) -> Iterator[Launch]:
    texts = [word.text for word in command.words]
    program = texts[0].rpartition("/")[2]
    if program in _TALK:
        return
    environment = tuple(
        Variable(key, None if word.unknown else word.text, word.line) for key, word in command.environment
    )
    container = next((at for at, text in enumerate(texts[:-1]) if text.rpartition("/")[2] in _CONTAINERS), None)
    if container is not None and "run" in texts[container + 1 : container + 3]:
        launch = _container(command.words[texts.index("run", container) + 1 :], environment, name)
        if launch is not None:
            yield launch
        return
    served = find_program(texts)
    if served is not None:
        first, kind = served
        before = tuple(
            Variable(text.partition("=")[0], text.partition("=")[2], word.line)
            for text, word in zip(texts[:first], command.words, strict=False)
            if re.match(r"[A-Za-z_][A-Za-z0-9_]*=", text)
        )
        yield Launch("command", name, command.line, command.words[first:], kind, environment=environment + before)
        return
    script = _script_of(command.words)
    if script is not None and shells < _MOST_SHELLS and not script.unknown:
        behind = command.words[command.words.index(script) + 1 :]
        inner = parse_script(script.text, first_line=script.line, known=values, arguments=behind[1:])
        yield from (launch._replace(wrapped=True) for launch in _launches(inner, name, shells + 1, values))


def find_program(texts: Sequence[str]) -> tuple[int, str] | None:
    """
    Where the arguments of a server begin, and which program it is; None: these words start none.

    >>> find_program(["numactl", "-N", "0", "vllm", "serve", "m"])
    (5, 'serve')
    """
    for at, text in enumerate(texts[:-1]):
        following = texts[at + 1]
        if text.rpartition("/")[2] == "vllm" and following == "serve":
            return at + 2, "serve"
        if text == "-m" and following == MODULE:
            return at + 2, "module"
        if text == "-m" and following.startswith("vllm.entrypoints.cli") and texts[at + 2 : at + 3] == ["serve"]:
            return at + 3, "serve"
    return None


def _script_of(words: Sequence[Word]) -> Word | None:
    """
    The text behind ``bash -c``.
    """
    for at, word in enumerate(words[:-1]):
        if word.text.rpartition("/")[2] in _SHELLS:
            for option, text in zip(words[at + 1 :], words[at + 2 :], strict=False):
                if not option.text.startswith("-"):
                    break
                if re.fullmatch(r"-[a-z]*c", option.text):
                    return text
    return None


def _container(words: Sequence[Word], environment: tuple[Variable, ...], name: str) -> Launch | None:
    options: dict[str, list[Word]] = {}
    at = 0
    while at < len(words) and words[at].text.startswith("-"):
        word = words[at]
        key, equals, value = word.text.partition("=")
        alone = key in _ALONE or re.fullmatch(r"-[dit]{2,3}", key)
        if equals or alone:
            options.setdefault(key, []).append(Word(value, word.line, word.unknown))
            at += 1
        else:
            options.setdefault(key, []).extend(words[at + 1 : at + 2])
            at += 2
    if at >= len(words):
        return None
    image, args = words[at], tuple(words[at + 1 :])
    entrypoint = _last(options, "--entrypoint")
    called = [*([entrypoint] if entrypoint else []), *args]
    served = find_program([word.text for word in called])
    wrapped = False
    if served is None and (script := _script_of(called)) is not None and not script.unknown:
        inner = parse_commands(script.text, first_line=script.line)
        if not inner:
            return None
        served, called, wrapped = (0, inner[0].program), list(inner[0].words), True
    if served is None and (entrypoint is not None or "vllm" not in image.text.lower()):
        return None
    first, program = served or (0, "image")
    given = _environment(options, {variable.name: variable for variable in environment})
    gpus = _last(options, "--gpus") or _last(options, "--device")
    count, said = parse_gpus(gpus.text) if gpus else (None, False)
    shm = _last(options, "--shm-size")
    hosted = _last(options, "--ipc")
    stop = _last(options, "--stop-timeout")
    found = [] if gpus and said else _no_gpus(options, image)
    if hosted is not None and hosted.text == "host":
        found.append(host_ipc(hosted.line))
    return Launch(
        "docker",
        (_last(options, "--name") or Word(name, 0)).text,
        words[0].line,
        tuple(called[first:]),
        program,
        image=image.text,
        image_line=image.line,
        environment=given,
        num_gpus=count,
        gpu_line=gpus.line if gpus else image.line,
        shm_bytes=None if hosted and hosted.text == "host" else parse_size(shm.text) if shm else DEFAULT_SHM_BYTES,
        shm_line=shm.line if shm else image.line,
        grace_s=(parse_seconds(stop.text) if stop else 10.0),
        grace_line=stop.line if stop else image.line,
        wrapped=wrapped,
        entrypoint=entrypoint is None,
        findings=(*found, *_published(options)),
    )


def _last(options: dict[str, list[Word]], *names: str) -> Word | None:
    given = [word for name in names for word in options.get(name, ())]
    return given[-1] if given else None


def _environment(options: dict[str, list[Word]], caller: dict[str, Variable]) -> tuple[Variable, ...]:
    found = []
    for word in (*options.get("-e", ()), *options.get("--env", ())):
        name, equals, value = word.text.partition("=")
        from_caller = caller[name].value if not equals and name in caller else None
        found.append(Variable(name, value if equals and not word.unknown else from_caller, word.line))
    return tuple(found)


def _no_gpus(options: dict[str, list[Word]], image: Word) -> list[CheckFinding]:
    if any(word.text == "nvidia" for word in options.get("--runtime", ())) or "--device" in options:
        return []
    message = "docker run has no --gpus: the container gets no GPU"
    return [finding("gpu-missing", message, line=image.line, hint="add --gpus with the number that the server uses")]


def host_ipc(line: int) -> CheckFinding:
    """
    The remark about ``--ipc=host``.
    """
    message = "ipc=host shares the host's memory namespace with the container"
    return finding("host-ipc", message, line=line, hint="a shared memory of its own size is enough: --shm-size")


def _published(options: dict[str, list[Word]]) -> Iterator[CheckFinding]:
    for word in (*options.get("-p", ()), *options.get("--publish", ())):
        if published_widely(word.text):
            yield wide_open(word.text, word.line)
    for word in options.get("--privileged", ()):
        yield finding("privileged", "--privileged gives the container every right of the host", line=word.line)


def published_widely(text: str) -> bool:
    """
    Whether a port is published on every interface.

    >>> published_widely("8000:8000"), published_widely("127.0.0.1:8000:8000")
    (True, False)
    """
    host = text.rpartition("/")[0] or text
    parts = re.split(r":(?![^\[]*\])", host)
    return len(parts) < 3 or parts[0] in ("0.0.0.0", "[::]", "")  # noqa: S104


def wide_open(text: str, line: int) -> CheckFinding:
    """
    The remark about a published port; taken back where an API key is set.
    """
    message = f"port {text} is published on every interface of the host"
    return finding("wide-open", message, line=line, hint=f"publish 127.0.0.1:{text}, or set VLLM_API_KEY as a secret")
