"""A page of problems with their answers: those that two or more evaluations solve differently, or all of one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from src.evaluation.statistics.differences import Tally
from src.evaluation.statistics.scores import LOSSES
from src.reporting.format import score, visible
from src.reporting.highlight import highlight
from src.reporting.pages import TEMPLATES, render_page
from src.utils.files import write_text

LONGEST = 20_000  # characters of one text on the page
OPEN = 3  # problems that are shown unfolded
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """One run's answer to a problem; `mark` is its score, `good` whether it solves the problem, if that can be told."""

    run: str
    mark: str
    good: bool | None
    text: Markup


@dataclass(frozen=True)
class Card:
    """One problem: its answers, the test that tells them apart, and the choices of every filter that show it."""

    item: str
    benchmark: str
    outcome: str
    prompt: Markup
    answers: tuple[Answer, ...]
    facts: tuple[tuple[str, Markup], ...]
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Filter:
    """A set of radio buttons: (id, label, number of cards) each, the first one showing everything."""

    legend: str
    options: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class ProblemsPage:
    """Contents of the page."""

    title: str
    sentences: tuple[str, ...]
    findings: tuple[tuple[str, str], ...]
    filters: tuple[Filter, ...]
    cards: tuple[Card, ...]


def tally_sentence(reference: str, tally: Tally) -> str:
    """How two evaluations share the problems of a benchmark, in one sentence."""
    if is_pass(tally.metric):
        said = f"{tally.subject} solves {tally.better} that {reference} does not, {reference} solves {tally.worse}"
        return f"{tally.benchmark}: of {tally.items} problems, {said} that {tally.subject} does not ({tally.metric})."
    said = f"{tally.subject} is better on {tally.better} of {tally.items} items, {reference} on {tally.worse}"
    return f"{tally.benchmark}: {said} ({tally.metric})."


def write_differences(
    path: Path,
    reference: str,
    rows: Sequence[Row],
    tallied: Sequence[Tally],
    limit: int,
    findings: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the page of items that a reference and other evaluations score differently.

    Args:
        path: HTML file.
        reference: Name of the reference.
        rows: Rows of `differences`, for one or more subjects.
        tallied: Of every subject and benchmark.
        limit: Maximum number of problems per subject and benchmark.
        findings: (severity, sentence) of what may be wrong with the comparison, shown at the top.
    """
    shown, left_out = _limited(rows, limit)
    subjects = list(dict.fromkeys(tally.subject for tally in tallied))
    other = subjects[0] if len(subjects) == 1 else "the other run"
    labels = {"worse": f"only {reference}", "better": f"only {other}"}
    if not all(is_pass(row["metric"]) for row in shown):
        labels = {"worse": f"{reference} better", "better": f"{other} better"}
    entries = [
        (row, {"run": row["subject"], "benchmark": row["benchmark"], "outcome": labels[_direction(row)]})
        for row in shown
    ]
    sentences = [*(tally_sentence(reference, tally) for tally in tallied), *_left_out(left_out, "differences.csv")]
    _write(path, f"{reference} against {', '.join(subjects)}", sentences, findings, entries, _two_answers)


def write_answers(
    path: Path, subject: str, rows: Sequence[Row], limit: int, findings: Sequence[tuple[str, str]] = ()
) -> None:
    """Write the page of all items of one evaluation; see `write_differences`.

    Args:
        path: HTML file.
        subject: Name of the evaluation.
        rows: Rows of `answers`.
        limit: Maximum number of problems per benchmark.
        findings: See `write_differences`.
    """
    shown, left_out = _limited(rows, limit)
    entries = [(row, {"benchmark": row["benchmark"]} | _passed(row)) for row in shown]
    sentences = [*_means(rows), *_left_out(left_out, "answers.csv")]
    _write(path, f"Answers of {subject}", sentences, findings, entries, _one_answer)


def _write(
    path: Path,
    title: str,
    sentences: Sequence[str],
    findings: Sequence[tuple[str, str]],
    entries: Sequence[tuple[Row, dict[str, str]]],
    answers: Callable[[Row], tuple[Answer, ...]],
) -> None:
    filters, ids = _filters([tags for _, tags in entries])
    cards = tuple(_card(row, tags, ids, answers(row)) for row, tags in entries)
    page = ProblemsPage(title, tuple(sentences), tuple(findings), filters, cards)
    write_text(path, render_problems(page))


def render_problems(page: ProblemsPage) -> str:
    """The whole page; its policy lets no script run but its own, whatever an answer holds."""
    script = (TEMPLATES / "problems.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return render_page("problems.html.j2", page=page, script=Markup(script), policy=policy, open=OPEN)


def _limited(rows: Sequence[Row], limit: int) -> tuple[list[Row], int]:
    counted: dict[tuple[str, str], int] = {}
    shown = []
    for row in rows:
        key = row["subject"], row["benchmark"]
        counted[key] = counted.get(key, 0) + 1
        if counted[key] <= limit:
            shown.append(row)
    return shown, len(rows) - len(shown)


def _left_out(number: int, table: str) -> list[str]:
    return [f"{number} more are only in {table}; page_limit= shows more."] if number else []


def _means(rows: Sequence[Row]) -> list[str]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["benchmark"], row["metric"]), []).append(row)
    return [_mean(benchmark, metric, [row["value"] for row in found]) for (benchmark, metric), found in groups.items()]


def _mean(benchmark: str, metric: str, values: Sequence[float]) -> str:
    solved = f", {values.count(1)} of them solved" if is_pass(metric) else ""
    return f"{benchmark}: {metric} {_number(fmean(values), metric)} over {len(values)} items{solved}."


def _filters(tags: Sequence[Mapping[str, str]]) -> tuple[tuple[Filter, ...], dict[tuple[str, str], str]]:
    """One filter per kind of tag with two or more values, and the id of every choice."""
    filters, ids = list[Filter](), dict[tuple[str, str], str]()
    for kind in dict.fromkeys(kind for tag in tags for kind in tag):
        values = [tag[kind] for tag in tags if kind in tag]
        names = list(dict.fromkeys(values))
        for number, name in enumerate(names, 1):
            ids[kind, name] = f"{kind}-{number}"
        if len(names) > 1:
            options = [(ids[kind, name], name, values.count(name)) for name in names]
            filters.append(Filter(kind, ((f"{kind}-0", "all", len(tags)), *options)))
    return tuple(filters), ids


def _card(row: Row, tags: Mapping[str, str], ids: Mapping[tuple[str, str], str], answers: tuple[Answer, ...]) -> Card:
    two = "reference" in row
    names = [("input", "Failing input"), ("expected", "Expected")] if is_pass(row["metric"]) else []
    names += [] if names else [("expected", "Reference")]
    names += (
        [("reference_got", f"Got: {row['reference']}"), ("got", f"Got: {row['subject']}")] if two else [("got", "Got")]
    )
    facts = tuple((label, shown_text(row[key])) for key, label in names if str(row[key]))
    choices = tuple(ids[tag] for tag in tags.items())
    outcome = tags.get("outcome", f"{row['metric']} {_number(row['value'], row['metric'])}")
    prompt = shown_text(row["prompt"], code="def " in str(row["prompt"]))
    return Card(str(row["item"]), row["benchmark"], outcome, prompt, answers, facts, choices)


def _two_answers(row: Row) -> tuple[Answer, ...]:
    return (
        _answer(row["reference"], row["reference_value"], row["metric"], row["reference_answer"]),
        _answer(row["subject"], row["value"], row["metric"], row["answer"]),
    )


def _one_answer(row: Row) -> tuple[Answer, ...]:
    return (_answer(row["subject"], row["value"], row["metric"], row["answer"]),)


def _answer(run: str, value: float, metric: str, text: str) -> Answer:
    is_program = is_pass(metric)
    good = value == 1 if is_program and value in (0, 1) else None
    mark = {True: "passes", False: "fails", None: f"{metric} {_number(value, metric)}"}[good]
    return Answer(run, mark, good, shown_text(text, is_program) if text else Markup("(not recorded)"))


def _passed(row: Row) -> dict[str, str]:
    """The outcome of a program; the scores of texts have too many values to choose from."""
    names = {1.0: "passed", 0.0: "failed"}
    return {"outcome": names.get(row["value"], "passed in part")} if is_pass(row["metric"]) else {}


def _direction(row: Row) -> str:
    gains = row["value"] > row["reference_value"]
    return "better" if gains != (row["metric"] in LOSSES) else "worse"


def _number(value: float, metric: str) -> str:
    return f"{value:.4f}" if metric in LOSSES else score(value)


def is_pass(metric: str) -> bool:
    """True for a metric of programs that pass or fail."""
    return metric.startswith("pass@")


def shown_text(text: object, code: bool = False) -> Markup:
    """A text as HTML, escaped and not too long; a program is highlighted."""
    full = str(text).rstrip() if code else str(text)
    shown = highlight(full[:LONGEST]) if code else Markup.escape(visible(full[:LONGEST]))
    return shown + (f"\n... {len(full) - LONGEST} more characters" if len(full) > LONGEST else "")
