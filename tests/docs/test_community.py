"""License, citation, workflow and hooks: they parse, and they agree with pyproject.toml and the Makefile."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LICENSE = ROOT / "LICENSE"


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_license_is_the_declared_one() -> None:
    text = LICENSE.read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0" == load("CITATION.cff")["license"]
    assert PROJECT["license-files"] == [LICENSE.name]
    assert "Apache License\n                           Version 2.0, January 2004" in text
    numbered = [int(number) for number in re.findall(r"^   (\d)\. [A-Z]", text, re.MULTILINE)]
    assert numbered == list(range(1, 10))
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_citation_has_what_the_format_requires() -> None:
    """CFF 1.2.0 requires cff-version, message, title and authors; a reference its type, title and authors."""
    citation = load("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROJECT["version"]
    for entry in (citation, *citation["references"]):
        assert entry["title"]
        assert entry["type"] in ("software", "article")
        assert all("name" in author or {"family-names", "given-names"} <= set(author) for author in entry["authors"])
    assert citation["message"]
    assert citation["references"][0]["url"].endswith("/2601.21115")


def test_the_workflow_runs_make_test_on_every_supported_python() -> None:
    workflow = load(".github/workflows/test.yml")
    assert set(workflow[True]) == {"push", "pull_request"}  # YAML 1.1 reads the key `on` as true
    job = workflow["jobs"]["test"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert [command.split()[:2] for command in commands][-1] == ["make", "test"]
    versions = job["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={versions[0]}"
    variables = set(re.findall(r"\b([A-Z_]+)=", commands[-1]))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"{name} ?=" in makefile for name in variables), variables


def test_hooks_run_tools_of_the_virtual_environment() -> None:
    hooks = [hook for repo in load(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert {"ruff-format", "ruff-check"} <= {hook["id"] for hook in hooks}
    for hook in hooks:
        program, *rest = hook["entry"].split()
        assert program.startswith(".venv/bin/")
        modules = [name for name in rest if name.startswith("tools.")]
        assert all((ROOT / f"{name.replace('.', '/')}.py").is_file() for name in modules)
        assert {"id", "name", "language"} <= set(hook)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "README.md"])
def test_commands_name_real_make_targets(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)\b", text, re.MULTILINE))
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets), targets
