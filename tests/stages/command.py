"""The real command in this process: `train.py` with its arguments, its exit code and what it prints."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

# setting logging up anew closes all handlers, and absl's closes the stream that pytest captures
UNTOUCHED_LOGGING = ("hydra/job_logging=none", "hydra/hydra_logging=none")
TRAIN = Path(__file__).resolve().parents[2] / "train.py"


def run_train(monkeypatch, capsys, *overrides):
    """Exit code, and the lines of stderr that begin with "error:"."""
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, overrides), *UNTOUCHED_LOGGING])
    for name in ("HYDRA_FULL_ERROR", "OMP_WAIT_POLICY"):  # the script sets them for good
        monkeypatch.setenv(name, "1" if name == "HYDRA_FULL_ERROR" else "passive")
    code = 0
    try:
        runpy.run_path(str(TRAIN), run_name="__main__")
    except SystemExit as stopped:
        code = stopped.code
    printed = capsys.readouterr().err.splitlines()
    return code, [line for line in printed if line.startswith("error:")]


def refused(monkeypatch, capsys, *overrides):
    """Return the single line printed by a command that ends with exit code 2."""
    code, lines = run_train(monkeypatch, capsys, *overrides)
    assert code == 2
    assert len(lines) == 1, lines
    return lines[0]
