"""Seconds to score programs: `evalplus.evaluate` against this project's judge, with the verdicts compared.

    HUMANEVAL_OVERRIDE_PATH=FILE MBPP_OVERRIDE_PATH=FILE python -m benchmarks.scoring
    python -m benchmarks.scoring --sandbox-only          # what isolation costs a program, in milliseconds

Both score the reference solutions of all problems, or `--samples`, from a fresh Python process; expected outputs are
already cached on both sides. The fastest of `--repeats` runs counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from src.evaluation.functional import score_programs
from src.evaluation.problems import OVERRIDES, Problem, benchmark_path, load_problems
from src.evaluation.sandbox.pool import Sandbox
from src.utils.jsonl import read_jsonl, write_jsonl

ROOT = Path(__file__).resolve().parents[1]
Verdicts = dict[str, tuple[bool, bool]]  # task: passes base, passes base and plus


@dataclass(frozen=True)
class Timed:
    """Verdicts, and the seconds of the fastest run."""

    verdicts: Verdicts
    seconds: float


def ours(dataset: str, samples: Path, scratch: Path, repeats: int) -> Timed:
    """`python -m benchmarks.scoring --score`, which is `score_programs` with its imports and its loading."""
    out = scratch / f"{dataset}-ours.json"
    command = [sys.executable, "-m", "benchmarks.scoring", "--score", dataset, str(samples), str(scratch), str(out)]
    seconds = _fastest(command, scratch, [out], repeats)
    return Timed({task: (base, plus) for task, base, plus in json.loads(out.read_text())}, seconds)


def evalplus(dataset: str, samples: Path, scratch: Path, repeats: int) -> Timed:
    """`evalplus.evaluate`, which uses half the cores and compares in the programs' own processes."""
    out = samples.with_name(samples.name.replace(".jsonl", "_eval_results.json"))
    command = [sys.executable, "-m", "evalplus.evaluate", "--dataset", dataset, "--samples", str(samples)]
    seconds = _fastest(command, scratch, [out], repeats)
    rows = {task: results[0] for task, results in json.loads(out.read_text())["eval"].items()}
    passed = {task: (row["base_status"] == "pass", row["plus_status"] == "pass") for task, row in rows.items()}
    return Timed({task: (base, base and plus) for task, (base, plus) in passed.items()}, seconds)


def _fastest(command: list[str], scratch: Path, stale: list[Path], repeats: int) -> float:
    """One run that fills the caches, then `repeats` that count."""
    environment = os.environ | {"XDG_CACHE_HOME": str(scratch / "cache"), "PYTHONPATH": str(ROOT)}
    seconds = []
    for _ in range(1 + repeats):
        for path in stale:
            path.unlink(missing_ok=True)
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def score(dataset: str, samples: Path, scratch: Path, out: Path) -> None:
    """One run of ours, in a process of its own."""
    with Sandbox() as sandbox:
        problems = load_problems(benchmark_path(dataset))
        verdicts = score_programs(problems, read_jsonl(samples), sandbox, scratch / "truth")
    out.write_text(json.dumps([(v.task_id, v.base == "pass", v.plus == "pass") for v in verdicts]))


def reference_samples(dataset: str, path: Path) -> None:
    """The reference solutions as a file of samples."""
    rows = load_problems(benchmark_path(dataset))
    write_jsonl(path, ({"task_id": row.task_id, "solution": row.prompt + row.canonical_solution} for row in rows))


def sandbox_cost(programs: int = 300) -> dict[str, float]:
    """Milliseconds a trivial program, one after the other: in the sandbox, without isolation, and as `python -c`."""
    problem = Problem("T/0", "def f(x):\n", "f", "    return x\n", [[1]], [[2]])
    rows = [{"task_id": "T/0", "completion": f"    return x  # {number}\n"} for number in range(programs)]
    cost = {}
    for isolation in ("auto", "unsafe"):
        with tempfile.TemporaryDirectory() as cache, Sandbox(isolation, workers=1) as sandbox:
            score_programs([problem], rows[:1], sandbox, Path(cache))
            start = time.perf_counter()
            verdicts = score_programs([problem], rows, sandbox, Path(cache))
            cost["sandbox" if isolation == "auto" else isolation] = 1000 * (time.perf_counter() - start) / programs
            assert all(verdict.plus == "pass" for verdict in verdicts)
    start = time.perf_counter()
    for _ in range(10):
        subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True)
    cost["python -c"] = 100 * (time.perf_counter() - start)
    return cost


def report(dataset: str, theirs: Timed, mine: Timed) -> None:
    """A line of the table, and every task whose verdict differs."""
    differ = sorted(task for task in theirs.verdicts if theirs.verdicts[task] != mine.verdicts[task])
    passed = [sum(plus for _, plus in timed.verdicts.values()) for timed in (theirs, mine)]
    cells = (
        dataset, len(mine.verdicts), f"{theirs.seconds:.1f}", f"{mine.seconds:.1f}",
        f"{theirs.seconds / mine.seconds:.1f}x", *passed, ", ".join(differ) or "none",
    )  # fmt: skip
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", choices=sorted(OVERRIDES), default=sorted(OVERRIDES))
    parser.add_argument("--samples", type=Path, help="a file of samples for the one dataset; default: the references")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--sandbox-only", action="store_true")
    parser.add_argument("--score", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.score:
        dataset, *places = given.score
        score(dataset, *map(Path, places))
        return
    if not given.sandbox_only:
        print("| problems | programs | EvalPlus s | ours s | ratio | plus, EvalPlus | plus, ours | differ |")
        print("|" + "---|" * 8)
        with tempfile.TemporaryDirectory() as folder:
            for dataset in given.datasets:
                scratch = Path(folder)
                samples = scratch / f"{dataset}.jsonl"
                if given.samples:
                    write_jsonl(samples, read_jsonl(given.samples))
                else:
                    reference_samples(dataset, samples)
                mine = ours(dataset, samples, scratch, given.repeats)
                report(dataset, evalplus(dataset, samples, scratch, given.repeats), mine)
    print("milliseconds a trivial program:", {name: round(cost, 2) for name, cost in sandbox_cost().items()})
    versions = {name: version(name) for name in ("evalplus", "numpy")}
    print(
        json.dumps({**versions, "python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()})
    )


if __name__ == "__main__":
    main()
