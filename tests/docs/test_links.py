"""Documents: every link and every path in backquotes leads to a file of the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)\)")
PATH = re.compile(r"`((?:src|conf|docs|tests|benchmarks|examples|tools|hydra_plugins)/[\w./-]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_exist(page: Path) -> None:
    text = _without_diffs(page.read_text(encoding="utf-8"))
    links = [page.parent / target for target in LINK.findall(text) if not target.startswith(("http:", "https:"))]
    paths = [ROOT / path for path in PATH.findall(text)]
    missing = [str(path) for path in (*links, *paths) if not path.exists()]
    assert not missing, f"{page.name} names files that do not exist: {missing}"


def _without_diffs(text: str) -> str:
    """The page without its diffs, which create files."""
    return re.sub(r"```diff\n.*?```", "", text, flags=re.DOTALL)
