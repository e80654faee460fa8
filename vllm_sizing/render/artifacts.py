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
    One output.

    Attributes:
        file: Its name.

        renderer: Module of `vllm_sizing.render` and the function in it, ``Plan -> str``, or ``Plan -> dict``
            of several files by name.

        about: What it is, for people.

        executable: A program that can be started.

        beside: The names of further files that it comes with.
    """

    file: str
    renderer: str
    about: str
    executable: bool = False
    beside: tuple[str, ...] = ()

    def render(self, plan: Plan) -> dict[str, str]:
        """
        The text of each file, by name.

        Raises:
            UnsupportedError: It cannot express the plan (the field is ``emit``), or vLLM would refuse an argument.
        """
        module, _, function = self.renderer.partition(".")
        text: str | dict[str, str] = getattr(import_module(f"vllm_sizing.render.{module}"), function)(plan)
        return {self.file: text} if isinstance(text, str) else text


ARTIFACTS = {
    "command": Artifact("command.txt", "command.command", "the vllm serve command, to paste"),
    "script": Artifact("serve.sh", "script.script", "a script that starts the server", executable=True),
    "config": Artifact(
        "config.yaml",
        "config.config",
        "settings for vllm serve --config",
        beside=("vllm.env", "secrets.env.example", ".gitignore"),
    ),
    "docker": Artifact("docker.sh", "docker.docker", "docker run", executable=True),
    "compose": Artifact("compose.yaml", "compose.compose", "Docker Compose"),
    "kubernetes": Artifact("kubernetes.yaml", "kubernetes.kubernetes", "Deployment, Service and what belongs to them"),
    "kustomize": Artifact("kustomization.yaml", "kustomize.kustomize", "a Kustomize base", beside=("kubernetes.yaml",)),
    "keda": Artifact("scaledobject.yaml", "keda.keda", "KEDA adds and removes servers"),
    "podmonitor": Artifact("podmonitor.yaml", "prometheus.podmonitor", "Prometheus reads the servers"),
    "alerts": Artifact("prometheusrule.yaml", "prometheus.alerts", "Prometheus warns"),
    "download": Artifact("download-job.yaml", "download.download", "a Job that fetches the weights first"),
    "helm": Artifact("production-stack.yaml", "helm.helm", "values of vLLM's production-stack"),
    "llm-d": Artifact("llm-d.yaml", "llm_d.llm_d", "values of llm-d's modelservice"),
    "kserve": Artifact("inferenceservice.yaml", "kserve.kserve", "KServe", beside=("llminferenceservice.yaml",)),
    "lws": Artifact("leaderworkerset.yaml", "lws.lws", "a LeaderWorkerSet, several nodes without Ray"),
    "kuberay": Artifact("rayservice.yaml", "kuberay.kuberay", "a RayService, several nodes on Ray"),
    "systemd": Artifact("vllm.service", "systemd.systemd", "a systemd service"),
    "quadlet": Artifact("vllm.container", "quadlet.quadlet", "a Podman quadlet"),
    "slurm": Artifact("slurm.sh", "slurm.slurm", "a batch script for Slurm", executable=True),
    "skypilot": Artifact("skypilot.yaml", "skypilot.skypilot", "a SkyPilot task"),
    "smoke-test": Artifact("smoke-test.sh", "smoke_test.smoke_test", "tries the running server", executable=True),
    "bench": Artifact("bench.sh", "bench.bench", "measures the running server", executable=True),
    "json": Artifact("plan.json", "json.json", "the plan for programs"),
    "report": Artifact("report.md", "markdown.markdown", "the report in Markdown"),
    "html": Artifact("report.html", "page.html_report", "the report as a page to look at"),
}
