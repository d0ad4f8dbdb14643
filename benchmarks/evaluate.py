"""Evaluation against EvalPlus, both halves: seconds to score programs, and tokens per second of generation.

    HUMANEVAL_OVERRIDE_PATH=FILE MBPP_OVERRIDE_PATH=FILE python -m benchmarks.evaluate

Each half is a separate benchmark with its own options: `python -m benchmarks.scoring -h`, `python -m
benchmarks.generation
-h`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    """The command."""
    for half in ("benchmarks.scoring", "benchmarks.generation"):
        print(f"\n## {half}", flush=True)
        subprocess.run([sys.executable, "-m", half], cwd=Path(__file__).resolve().parents[1], check=True)


if __name__ == "__main__":
    main()
