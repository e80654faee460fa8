"""
What `check` can find: one rule a line, with how bad it is and what it means.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from vllm_sizing.specs.check import CheckFinding


class Rule(NamedTuple):
    """
    One kind of finding.

    Attributes:
        severity: Unless a finding says otherwise.

        about: One sentence that holds for every finding of the kind.
    """

    code: str
    severity: str
    about: str


@cache
def check_rules() -> dict[str, Rule]:
    """
    Every rule by its code.

    >>> check_rules()["removed-flag"].severity
    'error'
    """
    rules = (Rule(*line.split(maxsplit=2)) for line in _TABLE.strip().splitlines() if line)
    return {rule.code: rule for rule in rules}


def finding(code: str, message: str, *, line: int = 0, hint: str = "", severity: str = "") -> CheckFinding:
    """
    A finding of a rule.

    >>> finding("image-latest", "the image has no tag", line=3).severity
    'warning'
    """
    rule = check_rules()[code]
    return CheckFinding(code=code, severity=severity or rule.severity, message=message, hint=hint, line=line)


_TABLE = """
no-server error Nothing in the file starts a vLLM server.
not-analysable error What is started is only known to a shell or another program.
model-not-known error The model is not named, or cannot be loaded, so that nothing can be planned.
revision-not-read warning The pinned revision could not be read, and the default one was planned with.
gpu-not-known error The file does not say which GPU the server gets.
version-not-known warning The image's tag is no release of vLLM.
version-differs warning The image holds another release than the one that was asked for.
refused error vLLM would refuse the command as it stands.
default-model error No model is named, so that vLLM serves its own default one.

unknown-flag error vLLM of this version has no such flag.
removed-flag error The flag was removed before this version.
flag-too-new error The flag came after this version.
renamed-flag error The flag has another name in this version.
ambiguous-flag error The beginning of a flag could mean several.
deprecated-flag warning The flag is on the way out.
ignored-flag warning The flag has no effect here.
flag-not-modelled warning The flag changes memory in a way that no plan takes into account.
flag-given-twice warning Of two uses of a flag vLLM takes the last.
stray-word error A word belongs to no flag.
value-refused error vLLM would refuse the value.
words-swallowed error A flag that takes several words takes the words behind it, too.
args-in-one-string error A flag and its value stand in one argument.
unknown-word warning A part of the command is only known when it runs.
sometimes warning The command stands in a branch or a loop.
program-repeated error The image's entrypoint is already vllm serve.
model-flag error This image's entrypoint wants the model as its first word, or with --model.
config-file-not-read warning The command reads a file that was not given.
config-file-ignored error --config=FILE with an equals sign is ignored by vLLM.

secret-in-plain-text error A secret stands in the file.
unsafe-flag warning The flag loads code, or lets clients read files.
unpinned-code warning Code of a repository runs at whatever revision is there that day.
unpinned-revision info The model's revision is not pinned.
wide-open warning Everybody who can reach the port can use the server.
dead-variable warning The environment variable means nothing to this version.
old-variable info The environment variable has a newer name.
risky-variable warning The environment variable opens what should be closed.

image-latest warning The image has no tag or latest, so that the release changes by itself.
image-invalid error The image's name is not one that can be pulled.
shell-wrapper warning A shell between container and server keeps the signal to stop from it.
number-in-args error Kubernetes takes arguments as text only.
gpu-differs warning The file chooses other nodes than the GPU that was asked for.
gpu-missing error The container gets no GPU.
gpu-count error The container gets fewer GPUs than the command uses, or none that the command can divide by.
gpus-idle warning The container gets more GPUs than the command uses.
gpu-shared warning Two servers take more of one GPU than it has.
gpu-request-differs error Kubernetes wants requests and limits of GPUs to be equal.
shared-memory error Shared memory is smaller than the processes of the server need to start.
shared-memory-tight warning Shared memory is enough to start, and not for NCCL.
host-ipc info The container shares the host's memory namespace.
memory-limit error The memory limit is below what the request or the start needs.
memory-limit-tight warning The memory limit is below what the start is expected to need.
cpu-limit warning A CPU limit slows the engine, whose loop spins.
probe-kills-start error A probe restarts the container before the server can be up.
probe-short warning A probe may restart the container while the model loads.
probe-impatient warning A probe's deadline is shorter than a saturated server needs.
probe-path error A probe asks for a path that vLLM does not answer.
probe-port error A probe asks a port that the server does not listen on.
probe-on-worker error A node without a server of its own has a probe.
readiness-missing warning Clients are sent to the server before it answers.
liveness-missing info A dead engine is not restarted.
no-drain warning Running requests are aborted when the server is told to stop.
grace-short warning The server is killed before its requests are finished.
rollout-stuck warning A second server waits for the GPUs that the first one holds.
rollout-deadline warning The rollout is called failed before the server can be up.
selector-differs error The selector does not match the labels of its own pods.
volume-missing error A mount names a volume that is not declared.
service-variable error A service with this name sets VLLM_PORT, which vLLM reads as its own.
service-port warning The service sends requests to a port that the server does not listen on.
evaluated-twice error A shell reads the argument once more and changes it.
cache-lost info Every new container downloads the weights again.
privileged warning The container has rights that a server does not need.
dead-metric warning The metric does not exist in vLLM any more.
unknown-key error The key does not exist there.
obsolete-key info The key means nothing any more.
conflicting-keys error Of these keys only one may be given.

eager warning CUDA graphs are off: decoding is slower.
speed-switched-off info A default that makes the server faster is switched off.
unbounded-queue info Nothing limits how many requests wait.
kv-cache-below-seqs info More requests are admitted than the cache holds at their longest.
log-differs warning The start-up log differs from the plan by more than its interval.
log-not-understood warning The log has no line that could be compared.
log-failed error The log ends in a failed start.
log-version warning The log is of another release.
log-arguments warning The log names other arguments than the file.
"""
