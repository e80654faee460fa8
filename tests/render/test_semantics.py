"""
What schemas let through: names, quantities, ports, mounts, selectors, probes and times that must agree.

Shape is checked by the programs that docs/how-to/deploy.md lists; this is sense, and needs nothing but PyYAML.
"""

import re
from functools import cache

import pytest
import yaml

from tests.render import matrix, samples, views
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.artifacts import ARTIFACTS
from vllm_sizing.render.deployment import deployment
from vllm_sizing.render.nodes import count_nodes

QUANTITY = re.compile(r"[1-9][0-9]*(Mi|Gi)?")
DNS = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSWORD")
KUBERNETES = ("kubernetes", "kustomize", "lws", "kuberay", "kserve", "keda", "podmonitor", "alerts", "download")
PLANS = {
    **{name: plan for number, (name, plan) in enumerate(matrix.newest().items()) if number % 73 == 0},
    **{name: plan for number, (name, plan) in enumerate(matrix.older().items()) if number % 73 == 0},
    "pooling": samples.encoder_only(),
    "hybrid": samples.hybrid(),
}


def documents(plan):
    return _documents(next(name for name, found in PLANS.items() if found is plan))


@cache
def _documents(name):
    """
    Every object that the Kubernetes targets write, with the target.
    """
    return list(_written(PLANS[name]))


def _written(plan):
    for target in KUBERNETES:
        try:
            texts = views.files(plan, target)
        except UnsupportedError:
            continue
        for text in texts.values():
            for document in yaml.load_all(text, LOADER):
                if document["kind"] != "Kustomization":
                    yield target, document


def walk(value, path=()):
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from walk(item, (*path, key))


def pods(document):
    """
    Every pod specification in an object.
    """
    for path, value in walk(document):
        if isinstance(value, dict) and isinstance(value.get("containers"), list):
            yield path, value


@pytest.fixture(params=PLANS)
def plan(request):
    return PLANS[request.param]


def test_every_plan_has_something_to_check(plan):
    assert {target for target, _ in documents(plan)} >= {"keda", "podmonitor", "alerts"}


def test_names_and_labels_are_those_of_kubernetes(plan):
    for _, document in documents(plan):
        for path, value in walk(document):
            if path[-1:] == ("name",) and path[:1] == ("metadata",):
                assert DNS.fullmatch(value)
                assert value != "vllm"
            if path[-1:] in {("labels",), ("matchLabels",)} and isinstance(value, dict):
                assert all(isinstance(text, str) and LABEL.fullmatch(text) for text in value.values())


def test_counts_ports_and_quantities_are_possible(plan):
    for _, document in documents(plan):
        for path, value in walk(document):
            key = path[-1] if path else ""
            if key in {"replicas", "minReplicas", "maxReplicas", "size", "maxReplicaCount"} and "spec" in path:
                assert value >= 1
            if key in {"containerPort", "port"} and isinstance(value, int):
                assert 1 <= value <= 65_535
            if key in {"periodSeconds", "failureThreshold", "timeoutSeconds", "terminationGracePeriodSeconds"}:
                assert value >= 1
            if key in {"memory", "storage", "cpu", "ephemeral-storage", "nvidia.com/gpu", "sizeLimit"}:
                assert isinstance(value, str)
                assert QUANTITY.fullmatch(value)


def test_gpus_memory_and_shared_memory_agree(plan):
    wanted = deployment(plan, "test", container=False)
    for target, document in documents(plan):
        for _, pod in pods(document):
            (container,) = pod["containers"]
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            if target == "download" or container["name"] == "ray-head":
                assert "nvidia.com/gpu" not in limits
                continue
            assert requests["nvidia.com/gpu"] == limits["nvidia.com/gpu"] == str(wanted.gpus)
            assert wanted.gpus * wanted.num_nodes == plan.num_gpus
            assert "cpu" not in limits
            (shm,) = (volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)
            gib = int(shm["sizeLimit"].removesuffix("Gi"))
            request = int(requests["memory"].removesuffix("Mi"))
            assert shm["medium"] == "Memory"
            assert gib * 1024 <= request <= int(limits["memory"].removesuffix("Mi"))


def test_mounts_have_volumes_and_claims_exist(plan):
    for target in ("kubernetes", "lws", "download"):
        found = [document for name, document in documents(plan) if name == target]
        claims = {document["metadata"]["name"] for document in found if document["kind"] == "PersistentVolumeClaim"}
        accounts = {document["metadata"]["name"] for document in found if document["kind"] == "ServiceAccount"}
        for document in found:
            for _, pod in pods(document):
                volumes = {volume["name"]: volume for volume in pod["volumes"]}
                mounts = [mount["name"] for item in pod["containers"] for mount in item["volumeMounts"]]
                assert set(mounts) == set(volumes)
                used = [
                    item["persistentVolumeClaim"]["claimName"]
                    for item in volumes.values()
                    if len(item) > 1 and "emptyDir" not in item
                ]
                assert set(used) <= claims
                assert pod.get("serviceAccountName") in {None, *accounts}


def test_selectors_mean_the_pods(plan):
    for target in ("kubernetes", "lws"):
        found = [document for name, document in documents(plan) if name == target]
        labels = [
            value["metadata"]["labels"]
            for document in found
            for _, value in walk(document)
            if isinstance(value, dict) and {"metadata", "spec"} <= value.keys() and "containers" in value["spec"]
        ]
        for document in found:
            spec = document.get("spec", {})
            selector = spec.get("selector") or spec.get("podSelector") or {}
            wanted = selector.get("matchLabels", selector).items()
            assert not labels or not wanted or any(wanted <= one.items() for one in labels)
        servers = [one for one in labels if one.get("vllm-sizing/role") != "worker"]
        if servers:
            (monitor,) = (document for name, document in documents(plan) if name == "podmonitor")
            assert monitor["spec"]["selector"]["matchLabels"].items() <= servers[0].items()


def test_port_names_are_the_same_everywhere(plan):
    for target in ("kubernetes", "lws"):
        for name, document in documents(plan):
            if name != target:
                continue
            for path, value in walk(document):
                if path[-1:] == ("targetPort",) or (path[-2:] == ("httpGet", "port")):
                    assert value == "http"
    if any(name == "podmonitor" for name, _ in documents(plan)):
        (monitor,) = (document for name, document in documents(plan) if name == "podmonitor")
        assert [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]] == ["http"]


def test_times_are_long_enough(plan):
    wanted = deployment(plan, "test", container=False)
    assert wanted.grace_s > wanted.drain_s + 15 - 1
    for target, document in documents(plan):
        for _, pod in pods(document):
            (container,) = pod["containers"]
            start = container.get("startupProbe")
            if start:
                assert start["periodSeconds"] * start["failureThreshold"] >= wanted.start_s
            if target in {"kubernetes", "lws", "kserve"}:
                assert pod["terminationGracePeriodSeconds"] >= wanted.grace_s
            if target == "lws" and "--headless" in container["args"]:
                assert not {"startupProbe", "livenessProbe", "readinessProbe", "ports"} & container.keys()
    if count_nodes(plan) == 1:
        (deployed,) = (one for name, one in documents(plan) if name == "kubernetes" and one["kind"] == "Deployment")
        assert deployed["spec"]["progressDeadlineSeconds"] > wanted.start_s
        assert deployed["spec"]["strategy"] == {"type": "Recreate"}
    (scaled,) = (one for name, one in documents(plan) if name == "keda")
    assert scaled["spec"]["cooldownPeriod"] >= wanted.start_s


def test_secrets_are_references_and_images_are_pinned(plan):
    for target, document in documents(plan):
        assert document["kind"] not in {"Secret", "Ingress"}
        for path, value in walk(document):
            if isinstance(value, dict) and SECRET.search(str(value.get("name", ""))):
                assert "value" not in value
                assert value["valueFrom"]["secretKeyRef"]["optional"] is True
            if path[-1:] == ("image",):
                assert re.fullmatch(r"[a-z][a-z0-9./-]+:[A-Za-z0-9._-]+", value)
                assert not value.endswith("latest")
                assert target == "kuberay" or value.endswith(f":v{plan.vllm_version}")


def test_nothing_is_privileged_and_nothing_faces_the_world(plan):
    for _, document in documents(plan):
        for path, value in walk(document):
            key = path[-1] if path else ""
            assert key not in {"privileged", "hostNetwork", "hostIPC", "hostPID", "hostPath", "hostPort"}
            assert value not in ("LoadBalancer", "NodePort")
            assert not isinstance(value, str) or "docker.sock" not in value
        for _, pod in pods(document):
            assert pod["enableServiceLinks"] is False


def test_compose_agrees_with_the_plan(plan):
    if count_nodes(plan) > 1:
        return
    wanted = deployment(plan, "test", container=False)
    server = yaml.safe_load(views.files(plan, "compose")["compose.yaml"])["services"]["server"]
    (device,) = server["deploy"]["resources"]["reservations"]["devices"]
    assert device["count"] == wanted.gpus
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    assert int(server["stop_grace_period"].removesuffix("s")) >= wanted.grace_s
    assert int(server["healthcheck"]["start_period"].removesuffix("s")) >= wanted.start_s
    assert not {"privileged", "network_mode", "ipc", "pid"} & server.keys()
    assert [server["environment"][name] for name in ("HF_TOKEN", "VLLM_API_KEY")] == [None, None]


@pytest.mark.parametrize("target", ARTIFACTS)
def test_every_number_comes_with_its_formula(target):
    plan = PLANS[next(iter(PLANS))]
    quantities = ("Start: ", "Drain: ", "Grace: ", "Shared memory: ", "Memory: ", "CPU: ", "Disk: ")
    if target in {
        "command",
        "config",
        "json",
        "report",
        "smoke-test",
        "bench",
        "script",
        "html",
        "keda",
        "podmonitor",
        "alerts",
        "download",
    }:
        return
    for name, text in ARTIFACTS[target].render(plan).items():
        if name != "kustomization.yaml":
            assert all(f"# {quantity}" in text for quantity in quantities), name
