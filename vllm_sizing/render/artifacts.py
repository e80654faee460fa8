"""
The files that a plan can be written as: one entry each, which is all that a new output needs here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vllm_sizing.specs.plan import Plan


class Artifact(NamedTuple):
    """
    One file.

    Attributes:
        file: Its name.

        renderer: Module of `vllm_sizing.render` and the function in it, ``Plan -> str``.

        about: What it is, for people.

        executable: A program that can be started.
    """

    file: str
    renderer: str
    about: str
    executable: bool = False

    def render(self, plan: Plan) -> str:
        """
        The text of the file.
        """
        module, _, function = self.renderer.partition(".")
        text: str = getattr(import_module(f"vllm_sizing.render.{module}"), function)(plan)
        return text


ARTIFACTS = {
    "command": Artifact("command.txt", "command.command", "the vllm serve command, to paste"),
    "script": Artifact("serve.sh", "script.script", "a script that starts the server", executable=True),
    "json": Artifact("plan.json", "json.json", "the plan for programs"),
    "report": Artifact("report.txt", "console.to_text", "the report that plan prints"),
}
