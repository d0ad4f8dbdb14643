"""Functional correctness: which generated programs give the reference solution's answers (EvalPlus's pass and plus)."""

from __future__ import annotations

import dataclasses
import marshal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.evaluation.groundtruth import FULL_BYTES, SMALL_BYTES, Expected, Suite, Truth, ground_truths
from src.evaluation.oracles import Oracle
from src.evaluation.problems import Problem
from src.evaluation.programs import candidate_programs
from src.evaluation.sandbox import protocol
from src.evaluation.sandbox.decode import Undecodable, decode
from src.evaluation.sandbox.pool import Sandbox
from src.evaluation.sandbox.worker import End, Frame, Job, Worker, WorkerDied
from src.evaluation.sandboxed_sanitise import sanitise_in_sandbox
from src.utils.errors import UserError, first_differences
from src.utils.progress import progress_bar

PASS, FAIL, TIMEOUT = "pass", "fail", "timeout"
LOAD_SECONDS = 10.0  # CPU, for a program's top level with its imports
LONGEST_REASON = 300
SUITE_SECONDS = 60.0  # CPU, for a whole suite (EvalPlus's cap), more where the reference solution itself is slow


@dataclass(frozen=True)
class Verdict:
    """What one program achieved.

    Attributes:
        task_id: The problem.
        sample: Number of the program among those of its problem, from 0.
        base: `pass`, `fail` or `timeout` on the original tests.
        plus: The same on original and added tests together.
        detail: Why it did not pass; empty where it did.
        flaky: It ran out of time among other programs, and did not when run again alone.
    """

    task_id: str
    sample: int
    base: str
    plus: str
    detail: str = ""
    flaky: bool = False

    def row(self) -> dict[str, Any]:
        """The line of `verdicts.jsonl`."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class _Program:
    """A program to judge: its place among the results, its texts, and what it is judged by."""

    problem: Problem
    truth: Truth
    sample: int
    candidates: tuple[str, ...]


def score_programs(
    problems: Sequence[Problem],
    samples: Iterable[dict[str, Any]],
    sandbox: Sandbox,
    cache: Path | None = None,
    base_only: bool = False,
    sanitise: bool = False,
) -> list[Verdict]:
    """Run programs on their problems' tests and judge their outputs by EvalPlus's rules.

    Args:
        problems: The benchmark.
        samples: Dicts with `task_id` and `solution` (a whole program) or `completion` (see `candidate_programs`), in
            any order, any number a problem; those of other problems are an error.
        sandbox: Where they run.
        cache: Directory of expected outputs; None is the user's cache directory.
        base_only: Leave out the added tests; `plus` then equals `base`.
        sanitise: First reduce each text to what its entry point needs, as EvalPlus does with what it generates (but not
            with files of samples).

    Returns:
        One verdict a sample, in the order of `samples`.

    Raises:
        UserError: A sample belongs to no problem, or has no program.
    """
    rows = list(samples)
    by_id = {problem.task_id: problem for problem in problems}
    _check(rows, by_id)
    used = [by_id[task_id] for task_id in dict.fromkeys(row["task_id"] for row in rows)]
    truths = dict(zip((problem.task_id for problem in used), ground_truths(used, sandbox, cache), strict=True))
    counter: Counter[str] = Counter()
    programs = []
    for row in rows:
        problem = by_id[row["task_id"]]
        programs.append(
            _Program(problem, truths[problem.task_id], counter[problem.task_id], candidate_programs(row, problem))
        )
        counter[problem.task_id] += 1
    return _judge_all(_sanitised(programs, sandbox) if sanitise else programs, sandbox, base_only)


def flaky_tasks(verdicts: Iterable[Verdict]) -> list[str]:
    """Tasks with a program whose time ran out among others but not alone."""
    return sorted({verdict.task_id for verdict in verdicts if verdict.flaky})


def _check(rows: list[dict[str, Any]], by_id: dict[str, Problem]) -> None:
    wrong = []
    for number, row in enumerate(rows, 1):
        if row.get("task_id") not in by_id:
            wrong.append(f"sample {number} is for {row.get('task_id')!r}, which the benchmark lacks")
        elif not isinstance(row.get("solution", row.get("completion")), str):
            wrong.append(f"sample {number} ({row['task_id']}) has neither `solution` nor `completion` text")
    if wrong:
        raise UserError(first_differences("samples and benchmark do not fit", wrong))


def _sanitised(programs: list[_Program], sandbox: Sandbox) -> list[_Program]:
    texts = [(program.candidates[0], program.problem.entry_point) for program in programs]
    clean = sanitise_in_sandbox(texts, sandbox)
    return [dataclasses.replace(program, candidates=(text,)) for program, text in zip(programs, clean, strict=True)]


def _judge_all(programs: list[_Program], sandbox: Sandbox, base_only: bool) -> list[Verdict]:
    # Equal answers are judged once. The longest first: no core is left with a long one when the others are done.
    firsts = {
        (program.problem.task_id, program.candidates): index for index, program in reversed(list(enumerate(programs)))
    }
    order = sorted(firsts.values(), key=lambda index: -programs[index].truth.seconds)
    modules = {"numpy"} if any("numpy" in text for program in programs for text in program.candidates) else set()

    def judge(worker: Worker, index: int) -> Verdict:
        return _judge(worker, programs[index], sandbox, base_only)

    verdicts: dict[int, Verdict] = {}
    with progress_bar() as bar:
        task = bar.add_task("programs", total=len(order))
        verdicts.update(zip(order, sandbox.map(judge, order, modules, on_done=lambda: bar.advance(task)), strict=True))
        late = [index for index in order if TIMEOUT in (verdicts[index].base, verdicts[index].plus)]
        for index, again in zip(late, sandbox.map(judge, late, modules, workers=1), strict=True):
            same = (again.base, again.plus) == (verdicts[index].base, verdicts[index].plus)
            verdicts[index] = dataclasses.replace(again, flaky=not same)
    return [
        dataclasses.replace(verdicts[firsts[program.problem.task_id, program.candidates]], sample=program.sample)
        for program in programs
    ]


def _judge(worker: Worker, program: _Program, sandbox: Sandbox, base_only: bool) -> Verdict:
    problem, truth = program.problem, program.truth
    base, why = _run_suite(worker, program, problem.base_input, truth.base, sandbox)
    detail = f"base: {why}" if base != PASS else ""
    plus = base
    if base == PASS and not base_only:
        plus, why = _run_suite(worker, program, problem.plus_input, truth.plus, sandbox)
        detail = f"plus: {why}" if plus != PASS else ""
    return Verdict(problem.task_id, program.sample, base, plus, detail)


def _run_suite(worker: Worker, program: _Program, inputs: list[Any], suite: Suite, sandbox: Sandbox) -> tuple[str, str]:
    """Status and reason; large outputs that differ bit by bit are asked for again in full."""
    status, why = FAIL, "the sandbox ended twice"
    inline, deaths = SMALL_BYTES, 0
    while deaths < 2:
        judge = _Judge(Oracle(program.problem), inputs, suite)
        try:
            end = worker.run(_job(program, inputs, suite, sandbox, inline), judge)
        except WorkerDied:
            deaths += 1
            continue
        if judge.wants_full and inline < FULL_BYTES:
            inline = FULL_BYTES
            continue
        return judge.conclude(end)
    return status, why


def _job(program: _Program, inputs: list[Any], suite: Suite, sandbox: Sandbox, inline: int) -> Job:
    limits = [max(sandbox.min_seconds, sandbox.factor * seconds) for seconds in suite.seconds]
    longest = max(SUITE_SECONDS, sandbox.factor * sum(suite.seconds))
    return Job(
        candidates=program.candidates,
        entry_point=program.problem.entry_point,
        inputs=marshal.dumps(inputs, protocol.MARSHAL_VERSION),
        cpu_limits=(LOAD_SECONDS, *limits),
        cpu_total=LOAD_SECONDS + min(longest, sum(limits)),
        memory=sandbox.memory_mb << 20,
        inline=inline,
    )


class _Judge:
    """Compares a program's outputs with the expected ones as they arrive; false ends the program."""

    def __init__(self, oracle: Oracle, inputs: list[Any], suite: Suite) -> None:
        self.oracle = oracle
        self.inputs = inputs
        self.suite = suite
        self.right = 0
        self.wants_full = False
        self.why = ""

    def __call__(self, frame: Frame) -> bool:
        if frame.kind in (protocol.RAISED, protocol.UNUSABLE):
            where = f"input {self.right}: " if frame.kind == protocol.RAISED else ""
            self.why = where + frame.body[:LONGEST_REASON].decode("utf-8", "replace")
            return False
        if frame.index != self.right or self.right >= len(self.inputs):
            self.why = "output that no input asked for"
            return False
        if not self._is_right(frame, self.suite.expected[self.right]):
            self.why = f"input {self.right}: wrong output"
            return False
        self.right += 1
        return True

    def conclude(self, end: End) -> tuple[str, str]:
        """Status and reason once the program has ended."""
        if self.why:
            return FAIL, self.why
        if end.reason in (protocol.CPU_LIMIT, protocol.WALL_LIMIT):
            return TIMEOUT, f"input {self.right}: {end.reason}"
        if self.right == len(self.inputs):
            return PASS, ""
        return FAIL, f"input {self.right}: the program's process ended (wait status {end.status})"

    def _is_right(self, frame: Frame, expected: Expected) -> bool:
        if frame.kind == protocol.DIGEST:
            return self._is_right_by_digest(frame, expected)
        body = expected.body()
        if expected.exact and self.oracle.equal_is_right and frame.kind == expected.kind and frame.body == body:
            return True
        if body is None:
            return False
        try:
            output, wanted = decode(frame.kind, frame.body), decode(expected.kind, body)
        except Undecodable:
            return False
        first = self.suite.first_float
        return self.oracle.is_right(self.inputs[self.right], output, wanted, self.right > first, self.right >= first)

    def _is_right_by_digest(self, frame: Frame, expected: Expected) -> bool:
        if len(frame.body) != protocol.DIGEST_BODY.size:
            return False
        kind, size, digest = protocol.DIGEST_BODY.unpack(frame.body)
        if expected.exact and self.oracle.equal_is_right:
            if (kind, size, digest) == (expected.kind, expected.size, expected.digest):
                return True
        elif self.oracle.only_not_none:
            return expected.body() == b"T"
        self.wants_full = size <= FULL_BYTES and expected.packed is not None
        return False
