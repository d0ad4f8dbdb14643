"""Remove outputs and counters from notebooks, so that git tracks only their source.

python -m tools.strip_notebooks examples/*.ipynb
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Rewrite the notebooks named on the command line; exit with 1 if one changed, as a git hook should."""
    changed = [path for path in map(Path, sys.argv[1:]) if _rewrite(path)]
    sys.exit(f"removed outputs: {', '.join(map(str, changed))}" if changed else 0)


def stripped(notebook: str) -> str:
    """The text of a notebook without outputs, execution counts and the versions of whoever ran it."""
    content = json.loads(notebook)
    for cell in content["cells"]:
        cell["metadata"] = {}
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    content["metadata"] = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _rewrite(path: Path) -> bool:
    before = path.read_text(encoding="utf-8")
    after = stripped(before)
    path.write_text(after, encoding="utf-8")
    return after != before


if __name__ == "__main__":
    main()
