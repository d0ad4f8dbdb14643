"""Specialists that are none: below the base or below another specialist on their own benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from src.evaluation.preflight.facts import Subject
from src.evaluation.preflight.finding import Finding
from src.evaluation.statistics.scores import LOSSES


def check_specialists(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Yield specialists that another one, or the base, beats on a benchmark of their task.

    It is serious if all metrics of the benchmark say so.
    """
    measured = [subject for subject in subjects if subject.model is not None and subject.measured is not None]
    for subject in measured:
        assert subject.model is not None
        task = subject.model.task
        if subject.model.kind != "specialist" or task is None:
            continue
        for other in measured:
            assert other.model is not None
            rival = other.model.kind == "base" or (other.model.kind == "specialist" and other.model.task != task)
            if rival:
                yield from _below(subject, other, task)


def _below(subject: Subject, other: Subject, task: str) -> Iterator[Finding]:
    assert subject.measured is not None
    assert other.measured is not None
    for benchmark, node in subject.measured.benchmarks.items():
        keys = [key for key in subject.measured.means if key[0] == benchmark and key in other.measured.means]
        if node.get("task") != task or not keys:
            continue
        pairs = {metric: (subject.measured.means[key], other.measured.means[key]) for key in keys for metric in key[1:]}
        worse = {m: pair for m, pair in pairs.items() if (pair[0] > pair[1] if m in LOSSES else pair[0] < pair[1])}
        if worse:
            said = ", ".join(f"{metric} {ours:.4f} against {theirs:.4f}" for metric, (ours, theirs) in worse.items())
            yield Finding(
                "specialist below base" if other.model and other.model.kind == "base" else "specialist below another",
                "serious" if len(worse) == len(pairs) else "caution",
                f"{subject.name} on {benchmark}: {said} of {other.name}",
                "Scores are measured against the task's specialist: where it has learned nothing, every other model "
                "looks good, and merges inherit an update that harms.",
                f"train the {task} specialist again: strategy.learning_rate, strategy.epochs, its prompt",
            )
