"""
Asks vLLM itself about the commands that are written for the matrix of ``tests/render/matrix.py``.

    python -m tests.validation.commands PROGRAM CONFIGS [PYTHON]

PROGRAM checks command lines with vLLM's parser and engine configuration (``PROGRAM check --file LINES
[--engine --as CONFIG --gpu NAME]``, one JSON object a line: ``ok``, ``error``); it runs in PYTHON, an
environment with vLLM 0.33.0.  CONFIGS is a folder of ``owner--name.json``.  What it says is recorded in
``tests/data/artifacts``, and ``tests/render/test_matrix.py`` holds our own tables against it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.render import matrix
from vllm_sizing.render.argv import plan_argv, to_shell
from vllm_sizing.render.nodes import node_words

RECORD = Path(__file__).parents[1] / "data" / "artifacts" / "commands-0.33.0.json"
GPUS = {"h100-sxm": "h100", "a100-sxm-80gb": "a100", "l4": "l4"}
# Same file under another name.
CONFIGS = {"meta-llama/Llama-3.1-8B": "meta-llama--Meta-Llama-3.1-8B"}


def lines():
    """
    {line: (model, GPU)} of every command for 0.33.0, as the first node runs it.
    """
    found = {}
    for plan in (*matrix.newest().values(), *matrix.hostile().values()):
        nodes = (word for pair in node_words(plan, "2", "0", "10.0.0.1") for word in pair)
        found[to_shell((*plan_argv(plan), *nodes))] = (plan.model.name, plan.gpu.name)
    return found


def ask(python, program, questions, *options):
    """
    {line: None if it is accepted, else vLLM's words}.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{line}\n" for line in questions))
        file.flush()
        done = subprocess.run(
            [python, program, "check", "--file", file.name, *options], stdout=subprocess.PIPE, check=False, text=True
        )
    answers = map(json.loads, done.stdout.splitlines())
    return {answer["line"]: None if answer["ok"] else answer["error"] for answer in answers}


def main(program, configs, python=sys.executable):
    asked = lines()
    parsed = ask(python, program, asked)
    built = {}
    for model in matrix.MODELS:
        config = Path(configs) / f"{CONFIGS.get(model, model.replace('/', '--'))}.json"
        for gpu, name in GPUS.items():
            questions = [line for line, about in asked.items() if about == (model, gpu)]
            if questions and (gpu == "h100-sxm" or model == matrix.MODELS[0]):
                built |= ask(python, program, questions, "--engine", "--as", str(config), "--gpu", name)
                print(model, gpu, len(questions), sum(built[line] is not None for line in questions), flush=True)
    rows = []
    for line in asked:
        row = {"line": line, "parser": parsed[line] or "accepted"}
        if line in built:
            row["engine"] = built[line] or "accepted"
        rows.append(json.dumps(row, ensure_ascii=True))
    about = "What vLLM 0.33.0 said of these commands: its parser with its validators, and the engine configuration."
    head = f'{{"vllm": "0.33.0", "about": {json.dumps(about)}, "commands": [\n'
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(head + ",\n".join(rows) + "\n]}\n")
    refused = [line for line in asked if parsed[line] or built.get(line)]
    print(f"{len(asked)} commands, {len(built)} with an engine configuration, {len(refused)} refused")
    return bool(refused)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
