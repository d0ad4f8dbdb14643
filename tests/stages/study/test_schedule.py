"""Steps in the order of their needs, the longest path first; a failure stops only what needs it."""

from __future__ import annotations

import signal
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from src.stages.job import Job
from src.stages.study.executor import SerialExecutor
from src.stages.study.progress import StudyProgress
from src.stages.study.schedule import longest_paths, run_steps
from src.stages.study.work import Step
from src.utils.errors import Interrupted, UserError

ORDER: list[str] = []


def note(jobs):
    """A stage that notes its jobs; one named `bad` fails, `bug` has a bug, `stop` is interrupted."""
    [job] = jobs
    [name] = job.overrides
    ORDER.append(name)
    if name.startswith("bad"):
        raise UserError(f"{name}: density=2")
    if name == "bug":
        raise ZeroDivisionError("ours")
    if name == "stop":
        raise Interrupted(signal.SIGTERM)
    return [Path(name)]


def step(name: str, *needs: Step, seconds: float = 1.0) -> Step:
    job = object.__new__(Job)  # its config plays no part
    for field, value in {"script": "train", "overrides": (name,), "cfg": None}.items():
        object.__setattr__(job, field, value)
    return Step("base", name, note, (job,), tuple(need.key for need in needs), seconds)


class Lazy:
    """Two workers whose futures end only when they are looked at twice."""

    workers = 2

    def __init__(self) -> None:
        self.most, self.open, self.stopped = 0, 0, False

    def submit(self, function, *arguments):
        self.open += 1
        self.most = max(self.most, self.open)
        executor, looks = self, iter([False, True])

        class Looked(Future):
            def done(self):
                if not next(looks, True):
                    return False
                executor.open -= 1
                self.set_result(function(*arguments))
                return True

        return Looked()

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _empty():
    ORDER.clear()


def run(*steps: Step, executor=None):
    return run_steps(steps, executor or SerialExecutor(), StudyProgress())


def test_the_longest_chain_of_remaining_work_goes_first():
    base = step("base")
    short, long = step("short", base, seconds=5), step("long", base, seconds=3)
    end = step("end", long, seconds=4)
    paths = longest_paths({each.key: each for each in (base, short, long, end)})
    assert {key.split()[-1]: value for key, value in paths.items()} == {"base": 8, "short": 5, "long": 7, "end": 4}
    run(end, short, long, base)
    assert ORDER == ["base", "long", "short", "end"]


def test_ready_steps_run_side_by_side_and_no_more_than_there_are_workers():
    base = step("base")
    executor = Lazy()
    results = run(base, *(step(f"s{n}", base) for n in range(5)), executor=executor)
    assert ORDER[0] == "base"
    assert executor.most == 2
    assert len(results.places) == 6


def test_equal_steps_of_several_cells_are_one():
    run(step("base"), step("base"), step("other"))
    assert sorted(ORDER) == ["base", "other"]


def test_a_failure_stops_only_what_needs_it_and_is_named_at_the_end(capsys):
    base = step("base")
    bad = step("bad", base, seconds=9)
    after = step("after", bad)
    last = step("last", after)
    results = run(base, bad, after, last, step("good", base))
    assert ORDER == ["base", "bad", "good"]
    assert [each.label for each in results.left] == ["after", "last"]
    with pytest.raises(UserError, match=r"1 step of the study failed, and 2 that need .*: bad: bad: density=2"):
        results.require()
    said = capsys.readouterr().err
    assert "  bad: bad: density=2" in said
    assert "    python train.py bad" in said  # the command that runs just this job


def test_a_bug_of_ours_keeps_its_traceback():
    with pytest.raises(RuntimeError, match=r"bug:\n(.|\n)*ZeroDivisionError: ours"):
        run(step("bug")).require()


def test_an_interrupted_step_stops_the_study():
    executor = Lazy()
    with pytest.raises(Interrupted):
        run(step("stop"), *(step(f"s{n}") for n in range(5)), executor=executor)
    assert executor.stopped
    assert "s4" not in ORDER


def test_a_worker_that_dies_fails_its_step_alone():
    class Dying(SerialExecutor):
        def submit(self, function, *arguments):
            future = super().submit(function, *arguments)
            if ORDER[-1] == "killed":
                future = Future()
                future.set_exception(BrokenProcessPool())
            return future

    results = run(step("killed", seconds=2), step("good"), executor=Dying())
    assert [each.label for each in results.failed] == ["killed"]
    with pytest.raises(UserError, match=r"killed: its process was killed.*executor\.workers"):
        results.require()
