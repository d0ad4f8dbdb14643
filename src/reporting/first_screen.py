"""The first screen of a report: the verdict in one sentence, a small table, and what could change the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from src.evaluation.preflight.finding import by_severity
from src.evaluation.statistics.verdict import EQUIVALENT, MERGE, MIX, UNDECIDED, StudyVerdict
from src.reporting.format import average_change, average_points, interval, score
from src.reporting.names import listed, metric_label
from src.reporting.study_report import Models, StudyReport
from src.reporting.tables import headline_table, task_decimals, task_scores
from src.reporting.verdict_sentences import NOTHING, OUTCOMES

MOST_CHANGES = 4


@dataclass(frozen=True)
class FirstRow:
    """One model: (score, interval) of the headline metric of every task, and its average change."""

    label: str
    kind: str
    scores: tuple[tuple[str, str], ...]
    average: str


@dataclass(frozen=True)
class FirstScreen:
    """Contents of the first screen.

    Attributes:
        sentence: The verdict in one sentence.
        columns: (task, metric) of the scores.
        rows: Base, specialists, mixture and the chosen merges on test data.
        changes: (severity, words) of what could change the answer, the most serious first.
        more_changes: How many more there are.
    """

    sentence: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[FirstRow, ...]
    changes: tuple[tuple[str, str], ...]
    more_changes: int


def first_screen(report: StudyReport) -> FirstScreen:
    """The first screen of a study."""
    changes = list(dict.fromkeys(_changes(report)))
    return FirstScreen(
        sentence=plain_sentence(report.verdict, report.models),
        columns=tuple((task, metric_label(report.headline[task])) for task in report.tasks),
        rows=tuple(_rows(report)),
        changes=tuple(changes[:MOST_CHANGES]),
        more_changes=max(0, len(changes) - MOST_CHANGES),
    )


def headline_words(report: StudyReport) -> dict[str, list[Any]]:
    """The table of the first screen for the terminal: base, specialists, mixture and the best merge.

    Returns:
        `columns`, and `rows` of as many words.
    """
    best = report.models[report.verdict.merge.subject].label
    screen = first_screen(report)
    names = [f"{task} {metric}" for task, metric in screen.columns]
    rows = [
        [row.label, *(" ".join(part for part in cell if part) for cell in row.scores), row.average]
        for row in screen.rows
        if row.kind != "merge" or row.label == best
    ]
    return {"columns": ["model", *names, "average change"], "rows": rows}


def plain_sentence(verdict: StudyVerdict, models: Models) -> str:
    """The verdict in one sentence of plain words."""
    if not verdict.comparable:
        return NOTHING
    head = {
        MIX: "Mix the data",
        MERGE: "Merge the specialists",
        EQUIVALENT: "Take either: mixing and merging are equivalent",
        UNDECIDED: "Undecided",
    }[verdict.outcome]
    gap = verdict.difference
    ahead = "mixture" if gap.difference > 0 else "merge"
    ends = sorted((abs(gap.low), abs(gap.high))) if gap.low * gap.high > 0 else (gap.low, gap.high)
    said = (
        f"the {ahead} is ahead by {100 * abs(gap.difference):.1f} points ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})"
        if verdict.outcome in (MIX, MERGE)
        else f"the difference is {average_points(gap.difference)} points "
        f"({average_points(gap.low)} to {average_points(gap.high)})"
    )
    return (
        f"{head}: the mixture keeps {_kept(verdict.mixture.average)} of what one specialist per task reaches, the best "
        f"merge ({models[verdict.merge.subject].label}) {_kept(verdict.merge.average)}; {said}."
    )


def _kept(average: float) -> str:
    return f"{100 * (1 + average):.1f}%"


def _rows(report: StudyReport) -> Iterator[FirstRow]:
    scores = task_scores(report, "test")
    decimals = {task: task_decimals(report, "test", task) for task in report.tasks}
    for row in headline_table(report).rows:
        if row.model is None:
            continue
        cells = [scores.get((row.model.name, task)) for task in report.tasks]
        words = tuple(
            ("–", "") if cell is None else
            (score(cell.value, decimals[task]), interval(cell.low, cell.high, decimals[task]))
            for task, cell in zip(report.tasks, cells, strict=True)
        )  # fmt: skip
        yield FirstRow(row.label, row.kind, words, average_change(row.average))


def _changes(report: StudyReport) -> Iterator[tuple[str, str]]:
    verdict = report.verdict
    for finding in by_severity(report.findings):
        yield finding.severity, f"{finding.kind}: {finding.found}"
    decisive = [one for one in verdict.without if one.outcome != verdict.outcome]
    if decisive:
        names = listed([metric_label(one.metric[1]) for one in decisive])
        yield "caution", f"single metrics: without {names}, the outcome would be {OUTCOMES[decisive[0].outcome]}"
    if verdict.outcome == UNDECIDED and verdict.power.items:
        yield "note", f"size: {verdict.power.items:,} problems instead of {verdict.difference.n:,} would decide"
    if verdict.training_seeds == 1:
        yield "note", "seeds: one training seed; study.seeds=[0,1,2] shows how much another one changes"
