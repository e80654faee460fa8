"""
What README, docs and docstrings show is run: commands, Python, YAML, JSON and TOML.

A ``console`` block is run line by line in a shell with ``vllm-sizing`` on the path.  A line may say
``# exit code 3``; output that the page shows must be what is printed (``...`` stands for any text).
Blocks that need what a test machine lacks are preceded by ``<!--- skip: next -->``.
"""

import doctest
import importlib
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from sybil import Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

import vllm_sizing

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = ("vllm-sizing ", "python -m vllm_sizing ", "cat ", "ls ", "printf ", "bash -n ")
NOT_RUN = (
    "pip install ",
    "python -m venv ",
    "python -m tests.",
    "git clone ",
    "nox",
    "vllm serve ",
    "docker ",
    "kubectl ",
)
NOT_CHECKED = {"text", "mermaid"}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def console(example):
    for command, shown in commands(example.parsed):
        wanted = re.search(r"# exit code (\d+)$", command)
        done = subprocess.run(
            ["bash", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        if done.returncode != int(wanted[1] if wanted else 0):
            return f"{command}\nexit code {done.returncode}\n{done.stdout}"
        if shown and not doctest.OutputChecker().check_output(shown, done.stdout, doctest.ELLIPSIS):
            return f"{command}\nthe page shows:\n{shown}\nit prints:\n{done.stdout}"
    return None


def commands(block):
    """
    Each command of a console block that a test can run, with the output shown below it.
    """
    for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, shown = re.match(r"((?:.*\\\n)*.*)\n?((?:.*\n?)*)", entry).groups()
        command = re.sub(r"^pip install \S+ && ", "", command)
        if command.startswith(RUN):
            yield command, shown
        elif not command.startswith(NOT_RUN):
            message = f"nobody said whether this can be run: {command}"
            raise ValueError(message)


def parses_with(read):
    def evaluate(example):
        read(example.parsed)

    return evaluate


def evaluators(language):
    return CodeBlockParser(language, CHECKS[language])


CHECKS = {
    "console": console,
    "json": parses_with(json.loads),
    "toml": parses_with(tomllib.loads),
    "yaml": parses_with(lambda text: list(yaml.safe_load_all(text))),
}
SYBIL = Sybil(
    parsers=[
        *(evaluators(language) for language in CHECKS),
        PythonCodeBlockParser(doctest_optionflags=FLAGS),
        SkipParser(),
    ]
)


@pytest.fixture
def shell(tmp_path, monkeypatch, python_env):
    """
    An empty working directory, and ``vllm-sizing`` and ``python`` that are the ones under test.
    """
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, words in (("vllm-sizing", "-m vllm_sizing "), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n', encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_is_true(page, shell):
    for example in SYBIL.parse(page).examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_says_what_it_is(page):
    fences = re.findall(r"^ *(```+|~~~+)(.*)\n", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    languages = {language for _, language in fences[::2] if not language.startswith("{")}

    assert languages <= {*CHECKS, *NOT_CHECKED, "python"}


MODULES = [module.name for module in pkgutil.walk_packages(vllm_sizing.__path__, "vllm_sizing.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    results = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)

    assert results.failed == 0
