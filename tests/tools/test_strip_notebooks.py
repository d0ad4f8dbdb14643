from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tools import strip_notebooks

RUN = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Title"]},
        {
            "cell_type": "code",
            "execution_count": 3,
            "metadata": {"collapsed": True},
            "outputs": [{"output_type": "stream", "text": ["1"]}],
            "source": ["print(1)"],
        },
    ],
    "metadata": {"language_info": {"version": "3.11.4"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def test_only_what_was_written_stays() -> None:
    kept = json.loads(strip_notebooks.stripped(json.dumps(RUN)))
    assert kept["cells"][1] == {**RUN["cells"][1], "execution_count": None, "metadata": {}, "outputs": []}
    assert kept["cells"][0] == RUN["cells"][0]
    assert "language_info" not in kept["metadata"]


def test_a_hook_fails_once_and_passes_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(RUN))
    monkeypatch.setattr(sys, "argv", ["strip_notebooks", str(path)])
    with pytest.raises(SystemExit, match=r"x\.ipynb"):
        strip_notebooks.main()
    with pytest.raises(SystemExit) as ended:
        strip_notebooks.main()
    assert ended.value.code == 0
