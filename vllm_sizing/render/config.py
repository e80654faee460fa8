"""
A plan as a file for ``vllm serve --config``, with the environment beside it.

Source: vLLM 0.33 ``utils/argparse_utils.py:load_config_file`` (what a value of each type becomes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_sizing.catalog.flag_values import MANY
from vllm_sizing.catalog.flag_words import read_words
from vllm_sizing.catalog.flags import flag_table
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.argv import model_word, plan_argv
from vllm_sizing.render.container import SECRETS
from vllm_sizing.render.deployment import ANY_NODES, check_code, plan_notes
from vllm_sizing.render.nodes import count_nodes
from vllm_sizing.render.start import server_environment
from vllm_sizing.render.yaml import comment_block, to_yaml

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan

_USAGE = "Start: vllm serve --config config.yaml (two words: with = vLLM ignores the file)"


def config(plan: Plan) -> dict[str, str]:
    """
    The files by name: settings, environment, and the names of the secrets.

    Raises:
        UnsupportedError: A file cannot say which node it is for, or an argument cannot stand in one.

        InvalidValueError: The model's name cannot stand on a command line.
    """
    if count_nodes(plan) > 1:
        able = ", ".join(name for name in ANY_NODES if name != "config")
        message = f"config is for one node and the plan needs {count_nodes(plan)}; {able} can"
        raise UnsupportedError(message, field="emit", value="config")
    check_code(plan, "config")
    model, entries = model_word(plan.model.name), _entries(plan)
    usage = [_USAGE, ""]
    if not {"host", "uds"} & entries.keys():
        usage.insert(1, "It listens on this machine only; to serve others take host out and set VLLM_API_KEY.")
        entries["host"] = "127.0.0.1"
    environment = "".join(f"{name}={value}\n" for name, value in server_environment(plan))
    head = "Settings without secrets: set -a; . ./vllm.env; set +a"
    secrets = "Copy to secrets.env (mode 600, not into version control) and fill in; an empty one is not set."
    return {
        "config.yaml": to_yaml({"model": model, **entries}, comments=(*usage, *plan_notes(plan))),
        "vllm.env": comment_block([head]) + environment,
        ".gitignore": "secrets.env\n",
        "secrets.env.example": comment_block([secrets]) + "".join(f"{name}=\n" for name in SECRETS),
    }


def _entries(plan: Plan) -> dict[str, Any]:
    table = flag_table(plan.vllm_version)
    _, uses = read_words(list(plan_argv(plan)[3:]), table, complete=False)
    entries: dict[str, Any] = {}
    for use in uses:
        name = use.flag.name[2:]
        if use.value is False:
            entries[f"no-{name}"] = True
        elif use.value is True:
            entries[name] = True
        elif use.flag.kind in (*MANY, "append_text"):
            entries[name] = list(use.value)
        elif isinstance(use.value, (dict, list)):
            # As text, which every version reads alike: what a map becomes differs between them.
            entries[name] = _json(use.value)
        elif use.value is None:
            entries[name] = "None"
        else:
            short = isinstance(use.value, int) or _short(use.value)
            entries[name] = use.value if short else use.words[-1].rpartition("=")[2]
    return entries


def _short(value: Any) -> bool:
    return isinstance(value, float) and "e" not in str(value)


def _json(value: Any) -> str:
    from json import dumps

    return dumps(value, separators=(",", ":"), sort_keys=True)
