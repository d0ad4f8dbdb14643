"""The real commands in this process: a script with its arguments, its exit code and what it prints."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

# setting logging up anew closes all handlers, and absl's closes the stream that pytest captures
UNTOUCHED_LOGGING = ("hydra/job_logging=none", "hydra/hydra_logging=none")
ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / "train.py"


def run_script(monkeypatch, capsys, script, *overrides):
    """Exit code, standard output and standard error of `python SCRIPT OVERRIDES...`."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, overrides), *UNTOUCHED_LOGGING])
    for name in ("HYDRA_FULL_ERROR", "OMP_WAIT_POLICY"):  # the script sets them for good
        monkeypatch.setenv(name, "1" if name == "HYDRA_FULL_ERROR" else "passive")
    code = 0
    capsys.readouterr()
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as stopped:
        code = stopped.code
    return code, *capsys.readouterr()


def run_train(monkeypatch, capsys, *overrides):
    """Exit code, and the lines of stderr that begin with "error:"."""
    code, _, printed = run_script(monkeypatch, capsys, "train.py", *overrides)
    return code, [line for line in printed.splitlines() if line.startswith("error:")]


def refused(monkeypatch, capsys, *overrides):
    """Return the single line printed by a command that ends with exit code 2."""
    code, lines = run_train(monkeypatch, capsys, *overrides)
    assert code == 2
    assert len(lines) == 1, lines
    return lines[0]
