"""The verdict in words, from its numbers: the same lines for the terminal and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from src.evaluation.statistics.bootstrap import Difference
from src.evaluation.statistics.scores import Metric
from src.evaluation.statistics.verdict import EQUIVALENT, MERGE, MIX, TIE, UNDECIDED, Comparison, StudyVerdict
from src.reporting.format import average_change, average_points, p_value
from src.reporting.names import benchmark_label, listed, metric_label
from src.reporting.study_report import Models, Side, StudyReport

NOTHING = (
    "No verdict: the specialists score 0 on every metric, so nothing can be compared with them. Train them longer."
)
OUTCOMES = {MIX: "mixture wins", MERGE: "merge wins", TIE: "tie", EQUIVALENT: "equivalent", UNDECIDED: "undecided"}


def verdict_lines(report: StudyReport) -> list[str]:
    """The verdict, which checkpoint to take, and what to know about the two; without a verdict, why there is none."""
    verdict = report.verdict
    if not verdict.comparable:
        return [NOTHING]
    lines = [
        verdict_sentence(verdict, report.models),
        checkpoint_sentence(verdict, report.sides),
        variation_sentence(verdict),
        without_sentence(verdict),
        *(choice_sentence(side) for side in report.sides),
    ]
    return [line for line in lines if line]


def verdict_record(report: StudyReport) -> dict[str, Any]:
    """Return the verdict for `run.json`: the outcome, its lines, and the numbers in them."""
    verdict = report.verdict
    keys = ("difference", "points", "equivalence", "margin", "variation", "power", "level", "training_seeds")
    found = asdict(verdict)
    return {
        "outcome": verdict.outcome,
        "findings": [finding.row() for finding in report.findings],
        "verdict": "\n".join(verdict_lines(report)),
        "mixture": found["mixture"],
        "merge": found["merge"] | {"method": verdict.method},
        **{key: found[key] for key in keys},
        "sides": [asdict(side) for side in report.sides],
    }


def verdict_sentence(verdict: StudyVerdict, models: Models) -> str:
    """The verdict as one paragraph."""
    if not verdict.comparable:
        return NOTHING
    merge = models[verdict.merge.subject].label
    head = {
        MIX: "Mix the data.",
        MERGE: f"Merge the specialists, with {merge}.",
        EQUIVALENT: f"Mixing and merging are equivalent: they differ by less than {100 * verdict.margin:g} points.",
        UNDECIDED: "Undecided: the test data do not separate mixing from merging.",
    }[verdict.outcome]
    gap, points = verdict.difference, verdict.points
    said = [
        head,
        f"Mixing keeps {kept(verdict.mixture.average)} of what one specialist per task reaches; the best merge "
        f"({merge}) keeps {kept(verdict.merge.average)}.",
        f"The difference is {_with_interval(gap, verdict.level)} over {_sample(verdict)}; {p_words(gap.p)}). In the "
        f"scores themselves it is {_with_interval(points, verdict.level)}).",
        _equivalence(verdict) if verdict.outcome == EQUIVALENT else "",
        power_sentence(verdict) if verdict.outcome == UNDECIDED else "",
        left_out_sentence(verdict.left_out),
    ]
    return " ".join(sentence for sentence in said if sentence)


def power_sentence(verdict: StudyVerdict) -> str:
    """Say what a study of this size can find, and how many more problems or seeds would decide."""
    power = verdict.power
    found = f"A study of this size finds a difference of {100 * power.detectable:.2f} points in 80% of the cases."
    ways = [f"{power.items:,} problems instead of {verdict.difference.n:,}"] if power.items else []
    if power.runs:
        ways.append(f"{power.runs} {verdict.variation.runs}s instead of {len(verdict.variation.by_run)}")
    if not ways:
        return f"{found} If the true difference is the one seen here, more problems alone would not decide."
    which = "equivalence" if power.equivalent else "a difference"
    return f"{found} If the true difference is the one seen here, {' or '.join(ways)} would show {which} as often."


def variation_sentence(verdict: StudyVerdict) -> str:
    """Say how much of the uncertainty is due to problems and how much to seeds."""
    variation = verdict.variation
    items = f"The choice of problems gives the difference a standard error of {100 * variation.items:.2f} points"
    if not variation.runs:
        return f"{items}. That of the training seed is unknown, since there is one: study.seeds=[0,1,2] shows it."
    gaps = listed([average_points(gap) for gap in variation.by_run])
    said = (
        f"Over {len(variation.by_run)} {variation.runs}s the difference is {gaps} points: beyond what problems "
        f"explain, a standard deviation of {100 * variation.deviation:.2f} points. {items}."
    )
    return said if verdict.training_seeds > 1 else f"{said} That of the training seed is unknown, since there is one."


def without_sentence(verdict: StudyVerdict) -> str:
    """Say which metrics decide the verdict on their own."""
    if not verdict.without:
        return ""
    decisive = [one for one in verdict.without if one.outcome != verdict.outcome]
    if not decisive:
        low, high = (pick(one.difference.difference for one in verdict.without) for pick in (min, max))
        return (
            f"No single metric decides: without any one of them, the verdict is the same and the difference between "
            f"{average_points(low)} and {average_points(high)} points."
        )
    said = [
        f"without {_metric(one.metric)} it would be {OUTCOMES[one.outcome]} "
        f"({average_points(one.difference.difference)} points, {average_points(one.difference.low)} to "
        f"{average_points(one.difference.high)})"
        for one in decisive
    ]
    return f"The verdict hangs on single metrics: {'; '.join(said)}."


def checkpoint_sentence(verdict: StudyVerdict, sides: Sequence[Side]) -> str:
    """Say which checkpoint to take and where it is."""
    places = {side.side: f"{side.checkpoint} ({side.chosen})" for side in sides}
    if not places:
        return ""
    if verdict.outcome in places:
        return f"Take {places[verdict.outcome]}."
    if verdict.outcome == EQUIVALENT:
        return f"Take either, the cheaper one (see the costs): {places[MIX]} or {places[MERGE]}."
    return f"The candidates are {places[MIX]} and {places[MERGE]}."


def choice_sentence(side: Side) -> str:
    """Say among how many a champion was chosen, and how much its choice flattered it."""
    if side.candidates < 2:
        return ""
    return (
        f"{side.chosen} was chosen among {side.candidates:,} on validation data, where its average was "
        f"{average_change(100 * side.validation)}; on test data it is {average_change(100 * side.test)} "
        f"({average_points(side.validation - side.test)} points of optimism, choice and other problems together)."
    )


def comparison_words(comparison: Comparison) -> str:
    """The outcome of a secondary comparison in two words."""
    return OUTCOMES[comparison.winner]


def p_words(p: float) -> str:
    """A p-value in words, e.g. `"p = 0.011"` or `"p < 0.001"`."""
    text = p_value(p)
    return f"p {text[0]} {text[1:]}" if text.startswith("<") else f"p = {text}"


def left_out_sentence(left_out: Sequence[Metric]) -> str:
    """Name the metrics that are left out of the average; empty if there are none."""
    if not left_out:
        return ""
    names = [_metric(metric) for metric in left_out]
    return f"Left out of the average, because the specialist itself scores 0: {listed(names)}."


def kept(average: float) -> str:
    """An average as a share of what the specialists reach: -0.05 is 95.0%."""
    return f"{100 * (1 + average):.1f}%"


def _with_interval(gap: Difference, level: float) -> str:
    """A difference in points; the parenthesis stays open for what follows."""
    ends = f"{average_points(gap.low)} to {average_points(gap.high)}"
    return f"{average_points(gap.difference)} points ({level:.0%} interval {ends}"


def _sample(verdict: StudyVerdict) -> str:
    problems = f"{verdict.difference.n:,} problems"
    if verdict.training_seeds > 1:
        return f"{problems} and {verdict.training_seeds} training seeds"
    return f"{problems}, for this training run"


def _equivalence(verdict: StudyVerdict) -> str:
    low, high = verdict.equivalence
    return (
        f"The {2 * verdict.level - 1:.0%} interval, {average_points(low)} to {average_points(high)}, lies within "
        f"{100 * verdict.margin:g} points of 0 (study.margin)."
    )


def _metric(metric: Metric) -> str:
    return f"{metric_label(metric[1])} on {benchmark_label(metric[0])}"
