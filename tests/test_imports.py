"""Imports go one way, and each heavy library stays in its own room."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEVELS = {
    "utils": 0, "config": 1, "runs": 2, "checkpoints": 3, "models": 4, "data": 5, "pocket": 6, "merging": 7,
    "diagnostics": 8, "evaluation": 9, "lit_modules": 10, "reporting": 11, "stages": 12,
}  # fmt: skip
ROOMS = {
    "lightning": {"lit_modules"},
    "wandb": {"reporting"},
    "evalplus": {"evaluation"},
    "mergekit": {"merging"},
    "hydra": {"config", "stages"},
    "omegaconf": {"config", "stages"},
}
NOTEBOOK_PARTS = {"merging", "diagnostics"}  # work with torch and nothing else of the heavy libraries
HEAVY = {"transformers", "lightning", "hydra", "omegaconf", "datasets", "peft", "wandb", "evalplus"}


def modules() -> list[Path]:
    return sorted((ROOT / "src").rglob("*.py"))


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names.append(node.module or "")
    return names


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "src").with_suffix("").parts[0]


def cases() -> list[tuple[Path, str]]:
    return [(path, name) for path in modules() for name in imported(path)]


def test_there_is_something_to_check():
    assert len(cases()) > 50


def test_every_part_has_a_level():
    assert {part_of(path) for path in modules()} - {"__init__"} <= set(LEVELS)


def test_imports_go_downwards():
    wrong = []
    for path, name in cases():
        if name.startswith("src."):
            here, there = part_of(path), name.split(".")[1]
            if here != there and LEVELS[there] >= LEVELS[here]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("library", sorted(ROOMS))
def test_a_library_stays_in_its_room(library):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, name in cases()
        if name.split(".")[0] == library and part_of(path) not in ROOMS[library]
    ]
    assert wrong == []


def test_merging_and_diagnostics_work_in_a_notebook():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, name in cases()
        if part_of(path) in NOTEBOOK_PARTS and name.split(".")[0] in HEAVY
    ]
    assert wrong == []
