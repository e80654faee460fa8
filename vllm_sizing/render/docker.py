"""
A plan as a script that starts the server in a container.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.container import SECRETS, SECRETS_FROM_ENVIRONMENT, folder_mount
from vllm_sizing.render.deployment import UID, deployment
from vllm_sizing.render.shell import bash_array, bash_script, shell_word
from vllm_sizing.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.render.deployment import Deployment
    from vllm_sizing.specs.plan import Plan


def docker(plan: Plan) -> str:
    """
    The script; HF_TOKEN and VLLM_API_KEY are handed on from its environment.

    Raises:
        UnsupportedError: The plan needs several nodes, or something else that Docker cannot express.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "docker", nodes=("command", "script", "slurm", "lws", "kuberay"))
    return bash_script(
        (SECRETS_FROM_ENVIRONMENT, "", *wanted.notes),
        bash_array("run", _options(wanted)),
        bash_array("args", ((word,) for word in wanted.args)),
        f'exec docker run "${{run[@]}}" {shell_word(wanted.image)} "${{args[@]}}"\n',
    )


def _options(wanted: Deployment) -> Iterator[tuple[str, ...]]:
    yield "--detach", "--name", wanted.name
    yield "--gpus", str(wanted.gpus)
    yield "--shm-size", f"{wanted.shm_bytes // GIB}g"
    yield "--memory", f"{wanted.memory_limit_bytes // MIB}m"
    if wanted.user:
        yield "--user", f"{UID}:0"
    yield "--cap-drop", "ALL"
    yield "--security-opt", "no-new-privileges"
    yield "--publish", f"127.0.0.1:{wanted.port}:{wanted.port}"
    for name in SECRETS:
        yield "--env", name
    for name, value in wanted.environment:
        yield "--env", f"{name}={value}"
    yield "--mount", f"type=volume,source={wanted.name}-cache,target={wanted.cache}"
    mount = folder_mount(wanted, "docker")
    if mount:
        if set(mount.source) & set(',"'):
            message = "docker cannot mount a folder with a comma or a quotation mark in its name; rename it"
            raise UnsupportedError(message, field="emit", value="docker")
        yield "--mount", f"type=bind,source={mount.source},target={mount.target},readonly"
        if mount.work_folder:
            yield "--workdir", mount.work_folder
    yield "--health-cmd", f"curl -fsS http://127.0.0.1:{wanted.port}/health"
    yield "--health-interval", "15s", "--health-timeout", "10s", "--health-retries", "4"
    yield "--health-start-period", f"{wanted.start_s}s"
    yield "--stop-timeout", str(wanted.grace_s)
    yield "--restart", "unless-stopped"
    yield "--log-opt", "max-size=50m", "--log-opt", "max-file=3"
