"""Stability of grading: the reference solutions, run repeatedly, on an idle machine and on a busy one.

    HUMANEVAL_OVERRIDE_PATH=FILE MBPP_OVERRIDE_PATH=FILE python -m benchmarks.references

Expected outputs and time limits are determined once at the start, followed by `--runs` runs on the machine as it is and
as many with one endless loop per core. Prints one row per run, and fails if any run is not perfect.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.scoring import reference_rows
from src.evaluation.grading.forms.problems import OVERRIDES, benchmark_path, load_problems
from src.evaluation.grading.grade import score_programs
from src.evaluation.grading.results import flaky_tasks
from src.evaluation.sandbox.pool import Sandbox


@contextlib.contextmanager
def burners(count: int) -> Iterator[None]:
    """Keep this many cores busy with one process each."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def measure(dataset: str, runs: int, loops: int, cache: Path) -> bool:
    """Print one row per run; true if all programs passed in all of them."""
    problems, perfect = load_problems(benchmark_path(dataset)), True
    rows = reference_rows(problems)
    for run in range(1, runs + 1):
        with burners(loops), Sandbox() as sandbox:
            start = time.perf_counter()
            verdicts = score_programs(problems, rows, sandbox, cache)
            seconds = time.perf_counter() - start
        base, plus = (sum(getattr(v, suite) == "pass" for v in verdicts) for suite in ("base", "plus"))
        perfect = perfect and base == plus == len(problems)
        cells = (dataset, "busy" if loops else "idle", run, base, plus, len(problems), f"{seconds:.1f}")
        print("| " + " | ".join(map(str, (*cells, ", ".join(flaky_tasks(verdicts)) or "none"))) + " |", flush=True)
    return perfect


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", choices=sorted(OVERRIDES), default=sorted(OVERRIDES))
    parser.add_argument("--runs", type=int, default=10)
    given = parser.parse_args()
    print("| problems | machine | run | base | plus | of | s | run again alone, with another verdict |")
    print("|" + "---|" * 8)
    with tempfile.TemporaryDirectory() as folder:
        for dataset in given.datasets:
            with Sandbox() as sandbox:  # expected outputs
                problems = load_problems(benchmark_path(dataset))
                score_programs(problems, reference_rows(problems), sandbox, Path(folder))
            perfect = [measure(dataset, given.runs, loops, Path(folder)) for loops in (0, os.cpu_count() or 1)]
            if not all(perfect):
                sys.exit(f"{dataset}: a reference solution failed")


if __name__ == "__main__":
    main()
