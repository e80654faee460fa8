"""
A plan as a batch script for Slurm, on one node or several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.container import folder_mount
from vllm_sizing.render.deployment import deployment
from vllm_sizing.render.nodes import needs_ray, node_words
from vllm_sizing.render.shell import bash_array, bash_script, exports
from vllm_sizing.render.start import server_environment
from vllm_sizing.units import MIB, ceil_div

if TYPE_CHECKING:
    from vllm_sizing.render.deployment import Deployment
    from vllm_sizing.specs.plan import Plan

# The model and its arguments come as words, never as text of this program.
_NODE = (
    'extra=(); if [ "$SLURM_PROCID" != 0 ]; then extra=(--headless); fi; exec vllm serve "$@" {nodes} "${{extra[@]}}"'
)
_HEAD = """\
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export MASTER_ADDR="${hosts[0]}"
"""
_WAIT = """\
server=$!
# srun hands the signal on; wait returns at once when a signal comes, so it is asked again.
trap 'kill -TERM "$server"' TERM
wait "$server" || { status=$?; kill -0 "$server" 2>/dev/null || exit "$status"; wait "$server"; }
"""


def slurm(plan: Plan) -> str:
    """
    The script for ``sbatch``; VLLM_API_KEY must be set where it is submitted.

    Raises:
        UnsupportedError: This version of vLLM needs Ray for several nodes.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    wanted = deployment(plan, "slurm", container=False)
    folder_mount(wanted, "slurm", relative=False)
    if wanted.num_nodes > 1 and needs_ray(plan):
        message = "slurm starts several nodes without Ray, which this plan needs; kuberay can"
        raise UnsupportedError(message, field="emit", value="slurm")
    directives = "".join(f"#SBATCH {line}\n" for line in _directives(wanted))
    text = bash_script(
        (
            "Submit: VLLM_API_KEY=... in the environment, then sbatch slurm.sh; the server listens on every interface.",
            "",
            *wanted.notes,
        ),
        ': "${VLLM_API_KEY:?set it: every user of the cluster can reach the server}"\n'
        + exports(server_environment(plan)),
        bash_array("args", ((word,) for word in (wanted.model, *wanted.words))),
        _start(plan, wanted),
        _WAIT,
    )
    first, rest = text.split("\n", 1)
    return f"{first}\n{directives}{rest}"


def _directives(wanted: Deployment) -> tuple[str, ...]:
    return (
        f"--job-name={wanted.name}",
        f"--nodes={wanted.num_nodes}",
        "--ntasks-per-node=1",
        f"--gpus-per-node={wanted.gpus}",
        f"--cpus-per-task={wanted.cpus}",
        f"--mem={ceil_div(wanted.memory_limit_bytes, MIB)}M",
        f"--signal=B:TERM@{wanted.grace_s}",
        "--output=%x-%j.log",
    )


def _start(plan: Plan, wanted: Deployment) -> str:
    if wanted.num_nodes == 1:
        return 'srun --kill-on-bad-exit=1 vllm serve "${args[@]}" &'
    told = node_words(plan, '"$SLURM_JOB_NUM_NODES"', '"$SLURM_PROCID"', '"$MASTER_ADDR"')
    program = _NODE.format(nodes=" ".join(f"{flag} {value}" for flag, value in told))
    return f"{_HEAD}srun --kill-on-bad-exit=1 bash -c '{program}' bash \"${{args[@]}}\" &"
