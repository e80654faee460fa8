"""
What a check of an existing deployment says: per server the plan, what is wrong where, what is wasted.
"""

from __future__ import annotations

import attrs

from vllm_sizing.specs.checks import one_of
from vllm_sizing.specs.engine import EngineArgs
from vllm_sizing.specs.plan import Estimate, Plan
from vllm_sizing.specs.value import Value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CheckFinding(Value):
    """
    One thing that is wrong or worth knowing, and where.

    Attributes:
        code: Stable, for programs: ``removed-flag``.

        severity: ``error``: it would not start or not work; ``warning``: it works worse, or until
            something happens; ``info``.

        message: One sentence with the values.

        hint: What to write instead; empty if nothing.

        line: In the file, counted from 1; 0: the file as a whole, or what it does not say.
    """

    code: str
    severity: str = attrs.field(validator=one_of("info", "warning", "error"))
    message: str
    hint: str = ""
    line: int = 0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Waste(Value):
    """
    Memory that is paid for and serves nothing.

    Attributes:
        name: ``idle-gpus``, ``unused-gpu-memory``, ``unreachable-kv-cache``, ``replicated-kv-cache``, ``encoders``.

        num_bytes: Over all GPUs of the server.

        message: Why.
    """

    name: str
    num_bytes: int
    message: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Measured(Value):
    """
    One number of a start-up log beside the plan's.

    Attributes:
        name: ``weights``, ``kv_cache_memory``, ``kv_cache_tokens``, ``max_concurrency``, ``cuda_graphs``...

        unit: ``bytes``, ``tokens`` or ``requests``.

        predicted: With its interval; exact numbers have low = mid = high.

        printed: As vLLM printed it, in the unit.

        inside: The printed number is in the interval, as far as its digits tell.

        remark: Why it differs, where that is known.
    """

    name: str
    unit: str
    predicted: Estimate
    printed: float
    inside: bool
    remark: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ServerCheck(Value):
    """
    One server that the file starts.

    Attributes:
        name: Of the service, the object and container; ``command`` in a script.

        kind: ``command``, ``docker``, ``compose``, ``kubernetes``, ``config``, ``helm``...

        line: Where it begins.

        model: As the command names it; None if that cannot be known.

        vllm_version, version_source: The release whose rules hold, and who says so.

        gpu, gpu_source: Name of the catalog, and who says so; None if nobody does.

        num_gpus: Per node, that the file gives it; None if it does not say.

        engine_args: What vLLM would read, its own defaults not filled in; None if it refuses the command.

        plan: With these arguments and vLLM's defaults; None if the findings say why there is none.

        findings: By line.

        corrected: The command as it should be, one word each; empty if it cannot be known.

        corrected_text: The same for a shell; variables that only the shell knows stay variables.
    """

    name: str
    kind: str
    line: int
    model: str | None = None
    vllm_version: str
    version_source: str
    gpu: str | None = None
    gpu_source: str = ""
    num_gpus: int | None = None
    num_nodes: int = 1
    engine_args: EngineArgs | None = None
    plan: Plan | None = None
    findings: tuple[CheckFinding, ...] = ()
    waste: tuple[Waste, ...] = ()
    measured: tuple[Measured, ...] = ()
    corrected: tuple[str, ...] = ()
    corrected_text: str = ""

    @property
    def fits(self) -> bool | None:
        """
        Whether it starts and holds one longest request; None if that cannot be known.
        """
        return None if self.plan is None else self.plan.fits


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CheckReport(Value):
    """
    Everything that was found in one file.

    Attributes:
        source: The file, ``-`` for standard input.

        kind: ``shell``, ``compose``, ``kubernetes``, ``config``, ``helm``.

        findings: About the file, beside those of its servers.
    """

    source: str
    kind: str
    servers: tuple[ServerCheck, ...]
    findings: tuple[CheckFinding, ...] = ()

    @property
    def fits(self) -> bool | None:
        """
        False if one server does not fit; None if none does not, and one cannot be known.
        """
        verdicts = [server.fits for server in self.servers]
        if False in verdicts:
            return False
        return None if not verdicts or None in verdicts else True

    @property
    def all_findings(self) -> tuple[CheckFinding, ...]:
        """
        Of the file and of every server, by line, each once.
        """
        found = [*self.findings, *(finding for server in self.servers for finding in server.findings)]
        return tuple(sorted(dict.fromkeys(found), key=lambda finding: finding.line))

    @property
    def worst(self) -> str:
        """
        The highest severity of a finding; ``none`` if there is none.
        """
        given = {finding.severity for finding in self.all_findings}
        return next((severity for severity in ("error", "warning", "info") if severity in given), "none")
