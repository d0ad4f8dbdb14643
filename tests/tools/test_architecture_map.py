"""docs/architecture.md: its list of files is that of the tree, and the layers are those that imports obey."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import test_imports
from tools import architecture_map

ROOT = Path(__file__).resolve().parents[2]


def test_the_list_of_files_is_current() -> None:
    page = architecture_map.PAGE.read_text(encoding="utf-8")
    assert page == architecture_map.updated(page), "run `make docs` (python -m tools.architecture_map) and commit"


def test_every_file_of_src_with_code_has_one_line() -> None:
    lines = list(architecture_map.file_list())
    files = [path for path in (ROOT / "src").rglob("*.py") if path.name != "__init__.py"]
    assert len([line for line in lines if line.startswith("- `")]) == len(files)


def test_rooms_are_in_the_order_of_the_import_test() -> None:
    assert architecture_map.ROOMS == test_imports.ROOMS
    page = architecture_map.PAGE.read_text(encoding="utf-8")
    layers = page.partition("```\n")[2].partition("```")[0].splitlines()
    named = [name for line in layers for name in line[:15].replace(",", " ").split()]
    assert [name for name in reversed(named) if name in architecture_map.ROOMS] == list(architecture_map.ROOMS)


def test_a_page_without_the_markers_is_an_error() -> None:
    with pytest.raises(ValueError, match=re.escape(architecture_map.END)):
        architecture_map.updated(f"{architecture_map.BEGIN}\n")


def test_a_file_without_a_docstring_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architecture_map, "ROOT", tmp_path)
    for name, text, expected in (("a.py", '"""One line.\n\nMore."""\nx = 1\n', "One line."), ("__init__.py", "", "")):
        (tmp_path / name).write_text(text)
        assert architecture_map.summary(tmp_path / name) == expected
    (tmp_path / "bad.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"bad\.py: expected a docstring"):
        architecture_map.summary(tmp_path / "bad.py")
