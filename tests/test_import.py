"""
Import time is a feature: what `import vllm_sizing` may load and cost, and what it offers.
"""

import inspect
import json
import pickle
import subprocess
import sys
import time
from importlib.resources import files

import pytest

import vllm_sizing
from vllm_sizing import errors

HEAVY = [
    "asyncio",
    "cattrs",
    "click",
    "huggingface_hub",
    "importlib.metadata",
    "numpy",
    "pynvml",
    "rich",
    "subprocess",
    "yaml",
]


def python(code, env):
    """
    Runs code in a fresh interpreter that coverage does not follow.
    """
    quiet = {name: value for name, value in env.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", code], env=quiet, capture_output=True, text=True, check=True)
    return done.stdout


def seconds(code, env):
    start = time.perf_counter()
    python(code, env)
    return time.perf_counter() - start


def loaded_by(code, env):
    return set(json.loads(python(f"{code}\nimport json, sys; print(json.dumps(list(sys.modules)))", env)))


def test_import_loads_nothing_heavy(python_env):
    before = loaded_by("pass", python_env)
    loaded = loaded_by("import vllm_sizing", python_env)

    assert "vllm_sizing" in loaded
    assert not loaded & set(HEAVY) - before


def test_planning_values_load_nothing_heavy(python_env):
    before = loaded_by("pass", python_env)
    loaded = loaded_by(
        "import vllm_sizing as vs; vs.render, vs.plan, vs.Workload, vs.EngineArgs, vs.find_gpu", python_env
    )

    assert "vllm_sizing.sizing.planner" in loaded
    assert not loaded & set(HEAVY) - before


def test_import_costs_no_more_than_twice_attrs(python_env):
    """
    Over a bare interpreter.  The best of interleaved runs; `nox -s bench` holds the strict figure.
    """
    codes = ["pass", "import attrs", "import vllm_sizing"]
    runs = [[seconds(code, python_env) for code in codes] for _ in range(7)]
    bare, attrs, ours = (min(column) for column in zip(*runs, strict=True))

    slack = 0.010
    assert ours - bare <= 2.0 * (attrs - bare) + slack


def test_every_public_name_resolves():
    for name in vllm_sizing.__all__:
        assert getattr(vllm_sizing, name) is not None

    assert set(vllm_sizing.__all__) <= set(dir(vllm_sizing))


def test_every_name_that_is_loaded_lazily_is_public():
    assert set(vllm_sizing._HOMES) | {"__version__", "render"} == set(vllm_sizing.__all__)


def test_every_error_is_public():
    classes = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }

    assert classes <= set(vllm_sizing.__all__)


def test_the_renderers_are_loaded_when_they_are_asked_for(monkeypatch):
    monkeypatch.delattr(vllm_sizing, "render", raising=False)

    assert vllm_sizing.render.__name__ == "vllm_sizing.render"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'plann'"):
        vllm_sizing.plann  # noqa: B018


@pytest.mark.parametrize("cls", [errors.SizingError, *errors.SizingError.__subclasses__()])
def test_every_error_survives_a_process_boundary(cls):
    """
    `search` sends refusals back from its workers: type, message and facts arrive.
    """
    names = [name for name in inspect.signature(cls).parameters if name not in {"message", "facts"}]
    error = cls("what is wrong", **dict.fromkeys(names, ("x",)))
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), vars(copy)) == (cls, "what is wrong", vars(error))
    assert set(vars(copy)) == {"message", *names}


def test_public_values_pickle_by_their_public_class():
    workload = vllm_sizing.Workload(input_tokens=7)

    assert pickle.loads(pickle.dumps(workload)) == workload


def test_the_package_says_that_it_is_typed():
    assert files(vllm_sizing).joinpath("py.typed").is_file()
