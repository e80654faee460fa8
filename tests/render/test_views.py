"""
One truth, many views: every output says the same arguments, whatever the model is called.
"""

import re
import shutil

import attrs
import pytest

from tests.render import matrix, views
from vllm_sizing.errors import UnsupportedError
from vllm_sizing.render.argv import plan_argv
from vllm_sizing.render.artifacts import ARTIFACTS
from vllm_sizing.render.nodes import count_nodes
from vllm_sizing.specs.engine import EngineArgs

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash to run scripts")

# They show a plan, or ask a server that runs.
NO_ARGUMENTS = {"smoke-test", "bench", "json", "report", "html", "keda", "podmonitor", "alerts", "download"}
PLANS = {
    **matrix.hostile(),
    **{name: plan for number, (name, plan) in enumerate(matrix.newest().items()) if number % 31 == 0},
    **{name: plan for number, (name, plan) in enumerate(matrix.older().items()) if number % 29 == 0},
}


def expected(plan, target):
    words = views.meaning(plan_argv(plan)[2:], plan.vllm_version)
    if count_nodes(plan) > 1 and target != "kuberay":
        words |= {"nnodes": 2, "node_rank": 0, "master_addr": "first"}
    if target == "kuberay":
        words.pop("shutdown_timeout", None)
        words.pop("nnodes", None)
    return words


def test_every_target_that_starts_a_server_has_a_reader():
    assert {target for target, _ in views.VIEWS} == set(ARTIFACTS) - NO_ARGUMENTS


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize(("target", "file"), views.VIEWS)
def test_a_view_says_the_arguments_of_the_plan(target, file, name):
    plan = PLANS[name]
    read, additions = views.VIEWS[target, file]
    if reason_to_refuse(target, plan):
        with pytest.raises(UnsupportedError) as error:
            views.files(plan, target)
        assert (error.value.field, error.value.value) == ("emit", target)
        return

    found = views.meaning(read(views.files(plan, target)[file]), plan.vllm_version)

    named = {key: [plan.model.name] if value is ... else value for key, value in additions.items()}
    assert simple(found) == simple(named | expected(plan, target))


def simple(words):
    """
    Without sizes of 1, which some charts leave out.
    """
    return {name: value for name, value in words.items() if not (name.endswith("parallel_size") and value == 1)}


def reason_to_refuse(target, plan):
    """
    Containers mount folders or know ids, charts have templates, KServe a shell; shells take every name.
    """
    name, words = plan.model.name, plan_argv(plan)[2:]
    folder = name.startswith(("./", "~"))
    fetched = target in {"llm-d", "kserve"}
    return (
        (count_nodes(plan) > 1 and target not in {"command", "script", "slurm", "lws", "kuberay"})
        or (folder and target in {"kubernetes", "kustomize", "helm", "lws", "kuberay", "skypilot"})
        or (name.startswith("~") and target in {"docker", "compose"})
        or (folder and target in {"systemd", "quadlet", "slurm"})
        or (target in {"helm", "kserve", "llm-d", "kuberay"} and any("{{" in word for word in words))
        or (fetched and not re.fullmatch(r"[\w-][\w.-]{0,95}/[\w.-]{1,96}", name, re.ASCII))
        or (target == "kserve" and any(set(word) & set("$`\\;|&<>()'!*?#~") for word in words[1:]))
        or (target == "kserve" and set(plan.engine_args.served_model_name or "") & set(' "{'))
        or (target == "kuberay" and plan.engine_args.extra_args)
        # That flag is of 0.11.1, and the nearest image of Ray has 0.11.0.
        or (target == "kuberay" and plan.vllm_version == "0.11.2" and plan.engine_args.cudagraph_capture_sizes)
    )


@pytest.mark.parametrize("target", ["script", "lws", "slurm"])
def test_other_nodes_compute_and_serve_nothing(target):
    plan = next(plan for plan in matrix.newest().values() if count_nodes(plan) == 2)
    (text,) = views.files(plan, target).values()
    read = {
        "script": lambda text: views.run(text, MASTER_ADDR="first", NODE_RANK="1")[1:],
        "slurm": lambda text: views.read_slurm(text, SLURM_PROCID="1"),
        "lws": lambda text: views.read_lws(text, "worker"),
    }[target]

    found = views.meaning(read(text), "0.33.0")

    rank = 0 if target == "lws" else 1  # the controller fills it in
    assert found == expected(plan, target) | {"headless": True, "node_rank": rank}


def test_folders_keep_their_meaning_in_containers():
    plan = matrix.named(next(iter(matrix.newest().values())), "./models/my model")
    for target in ("docker", "compose"):
        (text,) = views.files(plan, target).values()
        assert "./models/my model" in text
        assert "/models/models/my model" in text
    absolute = matrix.named(plan, "/srv/models/m")
    for target in ("docker", "compose", "quadlet"):
        (text,) = views.files(absolute, target).values()
        assert text.count("/srv/models/m") >= 3


def test_a_host_that_is_asked_for_is_kept():
    base = next(iter(matrix.newest().values()))
    args = attrs.evolve(base.engine_args, extra_args=("--host", "::1"))
    plan = attrs.evolve(base, engine_args=args, requested=EngineArgs())
    for target in ("config", "systemd", "script"):
        file = ARTIFACTS[target].file
        read, _ = views.VIEWS[target, file]
        assert views.meaning(read(views.files(plan, target)[file]), "0.33.0")["host"] == "::1"
