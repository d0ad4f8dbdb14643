"""The notebook: it runs from the first cell to the last, and its merges trade one task for the other."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tools.strip_notebooks import stripped

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "merge_in_a_notebook.ipynb"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel client's event loop
def test_the_notebook_runs_and_the_merges_trade_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("print(scores)"))
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert any("sign_conflict" in output.get("data", {}).get("text/plain", "") for output in outputs)
    scores = ast.literal_eval(outputs[-1]["text"])
    assert [len(values) for values in scores.values()] == [9, 9]
    for task, nearest, farthest in (("count", -1, 0), ("skip", 0, -1)):
        assert scores[task][nearest] > 0.95  # nearly the specialist
        assert scores[task][farthest] < 0.2  # nearly the other one
    assert min(scores["count"][4], scores["skip"][4]) > 0.3  # half of each keeps some of both


def test_git_holds_no_outputs() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert text == stripped(text), "run: python -m tools.strip_notebooks examples/*.ipynb"
