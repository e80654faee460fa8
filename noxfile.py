"""
Every check of this project: ``nox`` runs the usual ones, ``nox -s NAME`` one of them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

nox.options.sessions = ["lint", "typing", "imports", f"tests-{THIS_PYTHON}", "coverage", "docs"]


def _group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PYPROJECT, name))


def _install_wheel(session: nox.Session) -> None:
    (wheel,) = DIST.glob("*.whl")
    session.install(str(wheel))
    # Again without its dependencies: in a reused environment pip would keep the old one of this version.
    session.install("--force-reinstall", "--no-deps", str(wheel))


@nox.session
def lint(session: nox.Session) -> None:
    """
    Ruff (all rules, format) and spelling.
    """
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")


@nox.session
def typing(session: nox.Session) -> None:
    """
    Mypy, strict, on the package and on a program that uses its public API.
    """
    session.install(*PYPROJECT["project"]["dependencies"], *_group("typing"))
    session.run("mypy")


@nox.session(requires=["build"])
def pyright(session: nox.Session) -> None:
    """
    Pyright's opinion of the same program, against the installed wheel.
    """
    _install_wheel(session)
    session.install(*_group("pyright"))
    session.run("pyright", "--pythonpath", f"{session.bin}/python")


@nox.session
def imports(session: nox.Session) -> None:
    """
    The layers of the architecture, as import-linter contracts.
    """
    session.install(*_group("imports"))
    session.run("lint-imports", "--no-cache")


@nox.session
def build(session: nox.Session) -> None:
    """
    The sdist, and the wheel from that sdist, into dist/.
    """
    session.install("build")
    shutil.rmtree(DIST, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(DIST))


@nox.session(python=PYTHONS, requires=["build"])
def tests(session: nox.Session) -> None:
    """
    The test suite on the built wheel, with branch coverage.
    """
    _install_wheel(session)
    session.install(*_group("tests"))
    # Safe path: the working directory stays off sys.path, so that the wheel is what is tested.
    session.env["PYTHONSAFEPATH"] = "1"
    session.env["COVERAGE_FILE"] = str(ROOT / f".coverage.{session.python}")
    session.env["VLLM_SIZING_TEST_INSTALLED"] = "1"
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """
    Joins what the test sessions measured and fails below the floor in pyproject.toml.
    """
    session.install("coverage")
    session.run("coverage", "combine", silent=True)
    session.run("coverage", "report")


@nox.session(requires=["build"])
def docs(session: nox.Session) -> None:
    """
    The site; a warning or a dead reference is an error.  Its examples are run by the tests.
    """
    _install_wheel(session)
    session.install(*_group("docs"))
    session.run("sphinx-build", "-W", "-n", "--keep-going", "-q", "docs", "docs/_build/html")


@nox.session(requires=["build"])
def bench(session: nox.Session) -> None:
    """
    Times plan(), the import and the command line against their targets.
    """
    _install_wheel(session)
    session.run("python", "tests/bench.py", *session.posargs)


@nox.session(requires=["build"])
def validate(session: nox.Session) -> None:
    """
    Prints the errors of speed and memory against published measurements; "fit" fits the constants anew.
    """
    _install_wheel(session)
    if "fit" in session.posargs:
        session.install("scipy")
    session.run("python", "-m", "tests.validation", *session.posargs)
