"""The table of real rows, `benchmarks/real_rows.py`."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tests.data.shared import needs_shared, shared

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "real_rows.py"))


@pytest.mark.parametrize(
    ("code", "kinds"),
    [
        ("def f():\n    return 1\n", []),
        ('def f():\n    """Doc."""\n    return 1\n', [2]),
        ('def f():\n    """Doc."""\n', [2, 4]),
        ('def f(): """Doc."""; x = 1\n', [2, 5]),
        ('def f():\n    def g():\n        """Doc."""\n        return 1\n    return g\n', [3]),
        ("def f():\n    print 1\n", [1]),
        ("def f():\n\f    return '<|im_end|>'\n", [6, 7]),
    ],
)
def test_kinds_by_hand(code: str, kinds: list[int]) -> None:
    assert list(SCRIPT["kinds"](code)) == ["rows", *(SCRIPT["KINDS"][kind] for kind in kinds)]


@needs_shared
@pytest.mark.slow
def test_the_table_in_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    SCRIPT["main"]([str(shared("data", "codexglue") / "python_*.jsonl.gz")])
    printed = capsys.readouterr().out
    rows = [line.strip("│").split("│") for line in printed.splitlines() if line.startswith("│")]
    found = {row[0].strip(): tuple(cell.strip() for cell in row[1:]) for row in rows}
    assert found["rows"] == ("2,551", "2,548")
    assert found["with docstrings of inner functions or classes"] == ("63", "0")
    assert found["with the function's docstring"] == ("2,538", "0")
