"""Imports go one way, between rooms and inside them, and each heavy library stays in its own room."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (
    *("utils", "config", "runs", "checkpoints", "models", "data", "pocket", "merging", "search", "diagnostics"),
    "predictor",
    *("evaluation", "lit_modules", "reporting", "tracking", "stages"),
)  # lowest first; a file imports from its own room and from those before it
INNER_ROOMS = {  # the same inside a room; names are folders or files
    "merging": (
        *("tensors", "backend", "methods", "schedule", "recipe", "resolved", "registry", "mergekit_yaml", "engine"),
    ),
    "evaluation": (
        "statistics",
        "text",
        "sandbox",
        "generators",
        "grading",
        "benchmarks",
        "contamination",
        "preflight",
    ),
    "stages": (
        "job",
        "build",
        "benchmarks",
        "checkpoints",
        "trackers",
        "merge",
        "train",
        "evaluate",
        "search",
        "compare",
        "predict",
        "diagnose",
        "study",
    ),
}
LIBRARIES = {
    "lightning": {"lit_modules"},
    "wandb": {"tracking"},
    "wandb_workspaces": {"tracking"},
    "evalplus": {"evaluation"},
    "mergekit": {"merging"},
    "optuna": {"search"},
    "hydra": {"config", "stages"},
    "omegaconf": {"config", "stages"},
}
NOTEBOOK_PARTS = {"merging", "diagnostics"}  # work with torch and nothing else of the heavy libraries
HEAVY = {"transformers", "lightning", "hydra", "omegaconf", "datasets", "peft", "wandb", "evalplus"}


@cache
def modules() -> list[Path]:
    return sorted((ROOT / "src").rglob("*.py"))


def imported(path: Path) -> list[str]:
    """Every module that a file imports, at run time or for type checkers only: `src.a.b` or `src.a` with its name."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            module = node.module or ""
            inner = [f"{module}.{alias.name}" for alias in node.names]
            names += [name if is_module(name) else module for name in inner]
    return names


@cache
def is_module(name: str) -> bool:
    place = ROOT / name.replace(".", "/")
    return name.startswith("src.") and (place.is_dir() or place.with_suffix(".py").is_file())


@cache
def room_of(path: Path, depth: int = 0) -> str:
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return parts[depth] if depth < len(parts) else "__init__"


@cache
def cases() -> list[tuple[Path, str]]:
    return [(path, name) for path in modules() for name in imported(path)]


def arrows() -> dict[str, set[str]]:
    """file -> files that it imports."""
    found: dict[str, set[str]] = {}
    for path, name in cases():
        here = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name.startswith("src.") and name != here:
            found.setdefault(here, set()).add(name)
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A path that returns to its beginning, or nothing."""
    done: set[str] = set()

    def walk(node: str, way: list[str]) -> list[str]:
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        for following in sorted(graph.get(node, ())):
            if found := walk(following, [*way, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


def test_there_is_something_to_check():
    assert len(cases()) > 50


def test_every_room_has_a_place():
    assert {room_of(path) for path in modules()} - {"__init__"} == set(ROOMS)


@pytest.mark.parametrize("room", sorted(INNER_ROOMS))
def test_every_inner_room_has_a_place(room):
    inside = {room_of(path, 1) for path in modules() if room_of(path) == room}
    assert inside - {"__init__"} == set(INNER_ROOMS[room])


def test_imports_go_downwards():
    wrong = []
    for path, name in cases():
        if name.startswith("src."):
            here, there = room_of(path), name.split(".")[1]
            if here != there and ROOMS.index(there) >= ROOMS.index(here):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("room", sorted(INNER_ROOMS))
def test_imports_go_downwards_inside_a_room(room):
    order, wrong = INNER_ROOMS[room], []
    for path, name in cases():
        if name.startswith(f"src.{room}.") and room_of(path) == room:
            here, there = room_of(path, 1), name.split(".")[2]
            if here != there and here != "__init__" and order.index(there) >= order.index(here):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_forms_of_tests_know_nothing_of_answers():
    """`grading.forms` is the lower room of `grading`."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, name in cases()
        if path.parent.name == "forms" and name.startswith("src.evaluation.grading.")
        if not name.startswith("src.evaluation.grading.forms")
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle():
    assert circle(arrows()) == []


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_stays_in_its_room(library):
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, name in cases()
        if name.split(".")[0] == library and room_of(path) not in LIBRARIES[library]
    ]
    assert wrong == []


def test_merging_and_diagnostics_work_in_a_notebook():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, name in cases()
        if room_of(path) in NOTEBOOK_PARTS and name.split(".")[0] in HEAVY
    ]
    assert wrong == []
