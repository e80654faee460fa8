"""
Keys that Kubernetes and Compose do not know, most of them misspelt.

Sources: core/v1 Container, PodSpec and Probe of Kubernetes 1.37; the service of the Compose specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.catalog.check_rules import finding
from vllm_sizing.catalog.names import quote, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm_sizing.sources.launch import Launch
    from vllm_sizing.sources.yaml_nodes import Node
    from vllm_sizing.specs.check import CheckFinding


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_CORE = frozenset({"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"})
_CONTAINER = _names(
    "args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe "
    "resizePolicy resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce "
    "terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts workingDir "
)
_POD = _names(
    "activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy "
    "enableServiceLinks ephemeralContainers evictionResponders hostAliases hostIPC hostNetwork hostPID hostUsers "
    "hostname hostnameOverride imagePullSecrets initContainers nodeName nodeSelector os overhead preemptionPolicy "
    "priority priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName "
    "schedulerName schedulingGates schedulingGroup securityContext serviceAccount serviceAccountName "
    "setHostnameAsFQDN shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations "
    "topologySpreadConstraints volumes "
)
_PROBE = _names(
    "exec failureThreshold grpc httpGet initialDelaySeconds periodSeconds successThreshold tcpSocket "
    "terminationGracePeriodSeconds timeoutSeconds "
)
_SERVICE = _names(
    "annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs container_name "
    "cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset "
    "credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname "
    "entrypoint env_file environment expose extends external_links extra_hosts gpus group_add healthcheck "
    "hostname image init ipc isolation label_file labels links logging mac_address mem_limit mem_reservation "
    "mem_swappiness memswap_limit models network_mode networks oom_kill_disable oom_score_adj pid pids_limit "
    "platform ports post_start pre_stop privileged profiles provider pull_policy pull_refresh_after read_only "
    "restart runtime scale secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt "
    "sysctls tmpfs tty ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir "
)


def about_keys(launch: Launch) -> Iterator[CheckFinding]:
    """
    The keys of a container and what it stands in, or of a service.
    """
    container, pod, document = launch.container, launch.pod, launch.document
    if container is None or document is None:
        return
    if pod is None:
        yield from _unknown(container, _SERVICE, "Compose")
        return
    yield from _unknown(container, _CONTAINER, "a container")
    for kind in _PROBES:
        if (probe := container.get(kind)) is not None:
            yield from _unknown(probe, _PROBE, f"a {kind}")
    if document.string("kind") in _CORE:
        yield from _unknown(pod, _POD, "a pod")


def _unknown(node: Node, known: frozenset[str], where: str) -> Iterator[CheckFinding]:
    for name in node.entries():
        if name not in known and not name.startswith("x-"):
            near = suggest(name, sorted(known), limit=1)
            hint = f"write {near[0]}" if near else "leave it out"
            message = f"{where} has no key {quote(name)}"
            yield finding("unknown-key", message, line=node.key_line(name), hint=hint)
