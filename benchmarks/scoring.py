"""Seconds to score programs: `evalplus.evaluate` against this project's judge, with the verdicts compared.

    HUMANEVAL_OVERRIDE_PATH=FILE MBPP_OVERRIDE_PATH=FILE python -m benchmarks.scoring
    python -m benchmarks.scoring --sandbox-only          # cost of isolation per program, in milliseconds

Both score the reference solutions of all problems, or `--samples`, in a fresh Python process: first *cold*, with no
expected outputs cached (both then run the reference solutions too), then *warm*, of which the fastest of `--repeats`
runs counts. They take turns. The floor of a warm run of the reference solutions is their own CPU time, evenly spread
over all cores; the table says what share of our time it is.
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
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from src.evaluation.grading.forms.expected_outputs import expected_outputs
from src.evaluation.grading.forms.problems import OVERRIDES, Problem, benchmark_path, load_problems
from src.evaluation.grading.grade import score_programs
from src.evaluation.sandbox.pool import Sandbox
from src.utils.jsonl import read_jsonl, write_jsonl

ROOT = Path(__file__).resolve().parents[1]
Verdicts = dict[str, tuple[bool, bool]]  # task: passes base, passes base and plus


@dataclass(frozen=True)
class Timed:
    """Verdicts, and the seconds of the first run and of the fastest later run."""

    verdicts: Verdicts
    cold: float
    warm: float


@dataclass
class Contender:
    """A command that scores a file of samples.

    Attributes:
        command: To run.
        output: Its output, removed before each run.
        seconds: Durations of its runs so far.
    """

    command: list[str]
    output: Path
    seconds: list[float] = field(default_factory=list)

    def run(self, scratch: Path) -> None:
        """Run it once more; its caches are kept in `scratch`."""
        environment = os.environ | {"XDG_CACHE_HOME": str(scratch / "cache"), "PYTHONPATH": str(ROOT)}
        self.output.unlink(missing_ok=True)
        start = time.perf_counter()
        subprocess.run(self.command, cwd=ROOT, env=environment, check=True, capture_output=True)
        self.seconds.append(time.perf_counter() - start)

    def timed(self, verdicts: Verdicts) -> Timed:
        """Result of one run."""
        return Timed(verdicts, self.seconds[0], min(self.seconds[1:]))


def compare(dataset: str, samples: Path, scratch: Path, repeats: int) -> tuple[Timed, Timed]:
    """`evalplus.evaluate`, which uses half the cores and compares in the programs' own processes; then `--score`."""
    theirs = Contender(
        [sys.executable, "-m", "evalplus.evaluate", "--dataset", dataset, "--samples", str(samples)],
        samples.with_name(samples.name.replace(".jsonl", "_eval_results.json")),
    )
    output = scratch / f"{dataset}-ours.json"
    places = [str(path) for path in (samples, scratch, output)]
    ours = Contender([sys.executable, "-m", "benchmarks.scoring", "--score", dataset, *places], output)
    for _ in range(1 + repeats):
        ours.run(scratch)
        theirs.run(scratch)
    rows = {task: results[0] for task, results in json.loads(theirs.output.read_text())["eval"].items()}
    passed = {task: (row["base_status"] == "pass", row["plus_status"] == "pass") for task, row in rows.items()}
    mine = {task: (base, plus) for task, base, plus in json.loads(output.read_text())}
    return theirs.timed({task: (base, base and plus) for task, (base, plus) in passed.items()}), ours.timed(mine)


def score(dataset: str, samples: Path, scratch: Path, out: Path) -> None:
    """One run of ours, in its own process."""
    with Sandbox() as sandbox:
        problems = load_problems(benchmark_path(dataset))
        verdicts = score_programs(problems, read_jsonl(samples), sandbox, scratch / "truth")
    out.write_text(json.dumps([(v.task_id, v.base == "pass", v.plus == "pass") for v in verdicts]))


def floor(problems: list[Problem], scratch: Path) -> float:
    """CPU seconds of the reference solutions by core, as measured when their outputs were computed."""
    with Sandbox() as sandbox:
        outputs = expected_outputs(problems, sandbox, scratch / "truth")
    return sum(found.seconds for found in outputs) / len(os.sched_getaffinity(0))


def reference_rows(problems: list[Problem]) -> list[dict[str, str]]:
    """The reference solutions as rows of a file of samples."""
    return [{"task_id": row.task_id, "solution": row.prompt + row.canonical_solution} for row in problems]


def known_rows(path: Path, problems: list[Problem]) -> list[dict[str, str]]:
    """The rows of a file whose problems the benchmark has (EvalPlus skips the others)."""
    known = {problem.task_id for problem in problems}
    return [row for row in read_jsonl(path) if row["task_id"] in known]


def sandbox_cost(programs: int = 300) -> dict[str, float]:
    """Milliseconds per trivial program, one after another: in the sandbox, without isolation, and as `python -c`."""
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


def report(dataset: str, theirs: Timed, mine: Timed, least: float | None) -> None:
    """A line of the table, and every task whose verdict differs."""
    differ = sorted(task for task in theirs.verdicts if theirs.verdicts[task] != mine.verdicts[task])
    passed = [sum(plus for _, plus in timed.verdicts.values()) for timed in (theirs, mine)]
    times = [
        cell
        for one, other in ((theirs.cold, mine.cold), (theirs.warm, mine.warm))
        for cell in (f"{one:.1f}", f"{other:.1f}", f"{one / other:.1f}x")
    ]
    times += ["-", "-"] if least is None else [f"{least:.1f}", f"{least / mine.warm:.0%}"]
    print(
        "| " + " | ".join(map(str, (dataset, len(mine.verdicts), *times, *passed, ", ".join(differ) or "none"))) + " |"
    )
    sys.stdout.flush()


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
        names = [f"{name}, {state}" for state in ("cold", "warm") for name in ("EvalPlus s", "ours s", "ratio")]
        names += ["floor s", "floor, share of ours"]
        print(f"| problems | programs | {' | '.join(names)} | plus, EvalPlus | plus, ours | differ |")
        print("|" + "---|" * 13)
        with tempfile.TemporaryDirectory() as folder:
            for dataset in given.datasets:
                scratch = Path(folder)
                samples = scratch / f"{dataset}.jsonl"
                problems = load_problems(benchmark_path(dataset))
                write_jsonl(samples, known_rows(given.samples, problems) if given.samples else reference_rows(problems))
                timed = compare(dataset, samples, scratch, given.repeats)
                report(dataset, *timed, None if given.samples else floor(problems, scratch))
    print("milliseconds per trivial program:", {name: round(cost, 2) for name, cost in sandbox_cost().items()})
    versions = {name: version(name) for name in ("evalplus", "numpy")}
    print(
        json.dumps({**versions, "python": platform.python_version(), "cores": os.cpu_count(), "load": os.getloadavg()})
    )


if __name__ == "__main__":
    main()
