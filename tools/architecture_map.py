"""Write the list of files in docs/architecture.md: one line per file of src, from the first line of its docstring.

python -m tools.architecture_map           # or: make docs
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- files: written by `make docs` -->", "<!-- end of files -->"
ROOMS = (
    "utils", "config", "runs", "checkpoints", "models", "data", "pocket", "merging", "search", "diagnostics",
    "predictor", "evaluation", "lit_modules", "reporting", "tracking", "stages",
)  # fmt: skip


def main() -> None:
    """Rewrite the page in place."""
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def updated(page: str) -> str:
    """The page with the current list of files.

    Raises:
        ValueError: The page lacks the two comments that enclose the list.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name}: expected the comments {BEGIN} and {END}")
    files = "\n".join(file_list())
    return f"{before}{begin}\n{files}\n{end}{after}"


def file_list() -> Iterator[str]:
    """Lines of Markdown: the rooms in the order of the layers, each file with its summary.

    Raises:
        ValueError: A package of src is not among the layers.
    """
    source = ROOT / "src"
    unknown = {path.name for path in source.iterdir() if (path / "__init__.py").is_file()} - set(ROOMS)
    if unknown:
        raise ValueError(f"add to ROOMS of tools/architecture_map.py: {', '.join(sorted(unknown))}")
    for room in ROOMS:
        for folder in sorted(path.parent for path in (source / room).rglob("__init__.py")):
            yield from _folder(folder)


def _folder(folder: Path) -> Iterator[str]:
    summaries = {path.name: summary(path) for path in sorted(folder.glob("*.py"))}
    about = summaries.pop("__init__.py")
    yield f"\n**`{folder.relative_to(ROOT)}/`**{f' {about}' if about else ''}\n"
    yield from (f"- `{name}`: {text}" for name, text in summaries.items())


def summary(path: Path) -> str:
    """First line of a module's docstring, or nothing for a file without code.

    Raises:
        ValueError: A module with code has no docstring.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree)
    if docstring is None and tree.body:
        raise ValueError(f"{path.relative_to(ROOT)}: expected a docstring that says in one line what the file holds")
    return "" if docstring is None else docstring.partition("\n")[0]


if __name__ == "__main__":
    main()
