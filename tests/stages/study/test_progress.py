"""Progress of a study: expectations from measured times of the same kind, and plain lines in a file."""

import re

from src.stages.study import progress as module
from src.stages.study.progress import StepTimes, StudyProgress
from src.stages.study.work import Step


def step(kind, label, seconds):
    class Named(Step):
        key = label

    return Named(kind, label, list, (), (), seconds)


def test_expected_times_come_from_steps_of_the_same_kind():
    """A training took 3 times what was planned, an evaluation half: 40 s become 120 and 20; a mixture is a training."""
    times = StepTimes()
    assert times.expected(step("mix", "m", 40)) is None
    times.add(step("specialist", "a", 10), 30.0)
    times.add(step("evaluation", "b", 10), 5.0)
    assert times.expected(step("specialist", "c", 40)) == 120
    assert times.expected(step("evaluation", "d", 40)) == 20
    assert times.expected(step("mix", "e", 20)) == 60
    assert times.expected(step("merges", "f", 20)) is None


def test_a_file_gets_plain_lines_with_times(monkeypatch, capsys):
    """Four steps of 10 s on two workers; the first took 100 s: 100 s are left of the other three (two run now)."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    steps = [step("specialist", f"training {name}", 10) for name in "abcd"]
    shown = StudyProgress()
    with shown.of(steps, workers=2):
        shown.started(steps[0])
        assert shown.left() == (False, 0)
        now[0] = 100.0
        shown.finished(steps[0])
        shown.started(steps[1])
        shown.started(steps[2])
        now[0] = 150.0
        assert shown.left() == (True, (100 + 50 + 50) / 2)
        now[0] = 200.4
        shown.finished(steps[1])
    said = capsys.readouterr().err.splitlines()
    clock = r"\d\d:\d\d:\d\d  "
    patterns = [
        r"training a: 100 s \(1 of 4 steps, about 2\.5 min left\)",
        r"worker 1: training b: begins, about 1\.7 min",
        r"worker 2: training c: begins, about 1\.7 min",
        r"training b: 100 s \(2 of 4 steps, about 50 s left\)",
    ]
    assert len(said) == len(patterns)
    for line, pattern in zip(said, patterns, strict=True):
        assert re.fullmatch(clock + pattern, line), line


def test_steps_that_were_finished_before_are_no_measurement(monkeypatch, capsys):
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)
    shown, one = StudyProgress(), step("mix", "training", 10)
    with shown.of([one]):
        shown.started(one)
        shown.finished(one)
    assert shown.left() == (True, 0)
    assert capsys.readouterr().err == ""
