"""docs/extending.md: every diff applies to the tree as it is, and its command shows the extension at work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "extending.md"
BUILT = {".git", ".venv", "runs", "data", "wandb"}  # in the root, but not part of the tree


@dataclass(frozen=True)
class Section:
    """One extension of the page."""

    title: str
    diff: str
    commands: tuple[str, ...]


def sections() -> list[Section]:
    parts = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        diffs = re.findall(r"^```diff\n(.*?)^```", part, re.DOTALL | re.MULTILINE)
        commands = re.findall(r"^```sh\n(.*?)^```", part, re.DOTALL | re.MULTILINE)
        if diffs:
            lines = "".join(commands).replace("\\\n", " ").splitlines()
            found.append(Section(part.partition("\n")[0], "".join(diffs), tuple(line for line in lines if line)))
    return found


def apply(section: Section, folder: Path, *options: str) -> None:
    done = subprocess.run(
        ["git", "apply", *options, "-"], cwd=folder, input=section.diff, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"the diff of '{section.title}' no longer applies:\n{done.stderr}"


def run(command: str, folder: Path) -> None:
    line = re.sub(r"(^|=\. )python ", rf"\1{sys.executable} ", command)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line], cwd=folder, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def _built(folder: str, names: list[str]) -> set[str]:
    caches = {name for name in names if name == "__pycache__" or name.endswith(("_cache", ".egg-info"))}
    return caches | (BUILT if Path(folder) == ROOT else set())


def test_each_promised_extension_has_a_section() -> None:
    titles = [section.title.lower() for section in sections()]
    promised = ("merge method", "metric", "benchmark", "task", "callback", "plot", "model family")
    assert [name for name in promised if not any(name in title for title in titles)] == []
    assert all(section.commands for section in sections())


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.title)
def test_the_diff_applies(section: Section) -> None:
    apply(section, ROOT, "--check")


@pytest.mark.slow
@pytest.mark.parametrize("section", sections(), ids=lambda section: section.title)
def test_the_extension_works(section: Section, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=_built)
    apply(section, tree)
    ruff = f"{sys.executable} -m ruff"
    run(f"{ruff} format --check . && {ruff} check .", tree)
    for command in section.commands:
        run(command, tree)
